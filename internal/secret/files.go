package secret

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/kamal"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

// MountPoint is where a container finds the secrets that it gets as files: the
// place that images know from Docker's swarm and Compose.
const MountPoint = "/run/secrets"

// maxFile bounds one file, in bytes: it travels in a script.
const maxFile = 1 << 20

var fileName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*$`)

// Split parts secrets into those that go into the environment and those that
// are handed over as files, by the names of the latter.
func (s Set) Split(files []string) (env, asFiles Set) {
	for name, value := range s {
		to := &env
		if slices.Contains(files, name) {
			to = &asFiles
		}
		if *to == nil {
			*to = Set{}
		}
		(*to)[name] = value
	}
	return env, asFiles
}

// CheckFiles says which secrets can't be handed over as files, and why; the
// text never holds a value. Nil: all can.
func (s Set) CheckFiles() error {
	for _, name := range s.Names() {
		if !fileName.MatchString(name) {
			return fmt.Errorf("%q can't be the name of a file in %s", name, MountPoint)
		}
		if err := CheckFile(name, s[name]); err != nil {
			return err
		}
	}
	return nil
}

// CheckFile says why a value can't be handed over as a file called name; nil: it can.
func CheckFile(name, value string) error {
	switch {
	case strings.ContainsRune(value, 0):
		return fmt.Errorf("the value of %s has a NUL byte, which no script can carry. Encode it, say as base64", name)
	case len(value) > maxFile:
		return fmt.Errorf("the value of %s has %d bytes: %d is the most", name, len(value), maxFile)
	}
	return nil
}

// A Mount is a directory on a server with the secret files of one container.
// Its files can be read by every user of the container, as programs drop root
// before they read them; on the server they are in a directory that only the
// SSH user and root can enter.
type Mount struct {
	// Dir is relative to the SSH user's home. It is another one for each
	// container, so that the one that is put back has its own values.
	Dir string
	// Files are by name.
	Files Set
}

// dirOf holds the Mounts of an app.
func dirOf(app string) string { return kamal.AppDir(app) + "/secrets" }

// NewMount names a new directory for files of a container of owner, which is
// unique within the app: "role-web", "accessory-db". No files: an empty Mount.
func NewMount(app, owner string, files Set) Mount {
	if len(files) == 0 {
		return Mount{}
	}
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return Mount{Dir: dirOf(app) + "/" + owner + "." + hex.EncodeToString(b[:]), Files: files}
}

// Empty says that there are no files.
func (m Mount) Empty() bool { return len(m.Files) == 0 }

// variable is the shell variable that carries a file's content. Secrets of the
// environment never have such a name: see meant.
func (m Mount) variable(i int) string {
	return "_kamal_" + strings.ReplaceAll(path.Ext(m.Dir), ".", "") + "_" + strconv.Itoa(i)
}

// Vars are the variables of a call with Step: they travel on the script's standard input.
func (m Mount) Vars() []sshexec.Var {
	var vars []sshexec.Var
	for i, name := range m.Files.Names() {
		vars = append(vars, sshexec.Var{Name: m.variable(i), Value: m.Files[name], Secret: true})
	}
	return vars
}

// Step writes the files. It needs kamal.RunPrelude.
func (m Mount) Step() sshexec.Step {
	dir := sshexec.Quote(m.Dir)
	script := fmt.Sprintf("d=%s; p=%s\nputdir \"$p\" && chmod 700 \"$p\" && mkdir \"$d\" && chmod 755 \"$d\" && mine \"$d\" || exit 1", dir, sshexec.Quote(path.Dir(m.Dir)))
	for i, name := range m.Files.Names() {
		script += fmt.Sprintf("\nprintf '%%s' \"$%s\" | put \"$d\"/%s && chmod 444 \"$d\"/%s || exit 1", m.variable(i), sshexec.Quote(name), sshexec.Quote(name))
	}
	return sshexec.Step{Title: "write the secret files", Script: script}
}

// Bind is the volume that shows the files to the container, for a server where
// the SSH user's home is home.
func (m Mount) Bind(home string) string { return home + "/" + m.Dir + ":" + MountPoint + ":ro" }

// Env is own and a variable NAME_FILE for each file, as many images want it;
// where own has one, it stays.
func (m Mount) Env(own map[string]string) map[string]string {
	out := map[string]string{}
	for name := range m.Files {
		out[name+"_FILE"] = MountPoint + "/" + name
	}
	maps.Copy(out, own)
	return out
}

// IsFileVariable says that a variable of a container is one that Env adds for
// one of the files with these names.
func IsFileVariable(name, value string, files []string) bool {
	of, ok := strings.CutSuffix(name, "_FILE")
	return ok && slices.Contains(files, of) && value == MountPoint+"/"+of
}

// InDir says whether a path, relative to the SSH user's home, is the directory
// of a Mount or a file in one, and gives the directory's base name.
func InDir(p string) (base string, ok bool) {
	parts := strings.Split(p, "/") // .kamal/apps/APP/secrets/BASE[/FILE]
	if len(parts) < 5 || len(parts) > 6 || parts[0]+"/"+parts[1] != path.Dir(kamal.AppDir("x")) || parts[3] != "secrets" {
		return "", false
	}
	return parts[4], true
}

// Remove is the step that removes the directory.
func (m Mount) Remove() sshexec.Step {
	return sshexec.Step{Title: "remove the secret files", KeepGoing: true,
		Script: fmt.Sprintf("rm -rf %s; rmdir %s %s 2>/dev/null || :", sshexec.Quote(m.Dir), sshexec.Quote(path.Dir(m.Dir)), sshexec.Quote(path.Dir(path.Dir(m.Dir))))}
}

// OwnedBy says that a directory, relative to the SSH user's home, holds files
// of a container of owner.
func OwnedBy(dir, app, owner string) bool { return strings.HasPrefix(dir, dirOf(app)+"/"+owner+".") }

// RemoveMounts is the step that removes the owner's directories but those
// whose base names are in keep.
func RemoveMounts(app, owner string, keep []string) sshexec.Step {
	dir := sshexec.Quote(dirOf(app))
	return sshexec.Step{Title: "remove old secret files", KeepGoing: true, Script: fmt.Sprintf(
		`for d in %s/%s.*; do case " %s " in *" ${d##*/} "*) ;; *) rm -rf "$d";; esac; done; rmdir %s %s 2>/dev/null || :`,
		dir, sshexec.Quote(owner), strings.Join(keep, " "), dir, sshexec.Quote(kamal.AppDir(app)))}
}
