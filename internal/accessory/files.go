package accessory

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path"
	"regexp"
	"strconv"
	"strings"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/secret"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

// A File is a file that the container sees.
type File struct {
	// Path is where the container sees it.
	Path string
	// Content of a Secret file is known while it is applied only.
	Content string
	Secret  bool
	// Mode is octal, Owner "user[:group]" or "".
	Mode, Owner string
	// Seen is set, in place of Content, where only the server knows that: of an
	// import that could not take it over.
	Seen Seen
}

// Seen tells a file by a sum.
type Seen struct {
	// Local is where it is on the server.
	Local string
	// Content is the SHA-256 of its content in hex. Where it is "", Own is the
	// sum of a file that this provider made.
	Content, Own string
}

// filesDir holds the accessory's files, below the SSH user's home.
func (s Spec) filesDir() string { return s.ContainerName() + "/files" }

// local is where a file that is not secret is kept, relative to the SSH user's
// home. Its content is part of the path: the old container goes on seeing the
// old file, and a change of a file shows as another mount.
func (f File) local(s Spec) string {
	return s.filesDir() + "/" + f.sum() + path.Clean("/"+f.Path)
}

// sum is the sum of what a file is, in 12 hex digits.
func (f File) sum() string {
	if f.Seen.Own != "" {
		return f.Seen.Own
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%s", f.Mode, f.Owner, f.Content))
	return hex.EncodeToString(sum[:6])
}

// contentSum is the SHA-256 of the content in hex.
func (f File) contentSum() string {
	if f.Seen.Content != "" {
		return f.Seen.Content
	}
	sum := sha256.Sum256([]byte(f.Content))
	return hex.EncodeToString(sum[:])
}

// placeholder is what stands for content that isn't known. Earlier builds wrote
// it without the place.
var placeholder = regexp.MustCompile(`^\(content not seen(?:: sha256 ([0-9a-f]{64})|[:,] sum ([0-9a-f]{12}))(?: of (.+))?\)$`)

// Placeholder stands for content that isn't known, in a state and in a
// configuration that was generated from it.
func (s Seen) Placeholder() string {
	if s.Content != "" {
		return fmt.Sprintf("(content not seen: sha256 %s of %s)", s.Content, s.Local)
	}
	return fmt.Sprintf("(content not seen: sum %s of %s)", s.Own, s.Local)
}

// ParsePlaceholder reads what Placeholder wrote; false: it is content.
func ParsePlaceholder(content string) (Seen, bool) {
	m := placeholder.FindStringSubmatch(content)
	if m == nil {
		return Seen{}, false
	}
	return Seen{Content: m[1], Own: m[2], Local: m[3]}, true
}

// unwritable refuses a file of which only the server knows the content: nothing
// may be written in its place.
func (f File) unwritable(server string) string {
	if f.Seen == (Seen{}) {
		return ""
	}
	where := f.Seen.Local
	if where == "" {
		where = "a mount of the container"
	}
	return fmt.Sprintf("the content of %s is only on the server, in %s: this text stands for it since the import. See it with `ssh %s cat %s`, and write it as content, or as secret_content if nobody may see it", f.Path, where, server, where)
}

func (f File) bind(s Spec, home string) string {
	return home + "/" + f.local(s) + ":" + f.Path
}

// same says that two files are one, as far as it can be told without the
// content of a secret one: that is compared as other secrets are.
func (f File) same(g File) bool {
	if f.Secret || g.Secret {
		return f.Secret == g.Secret && f.Path == g.Path && f.Mode == g.Mode && f.Owner == g.Owner
	}
	if f.Seen.Content != "" || g.Seen.Content != "" {
		// One is Kamal's, whose mode and owner are as they are.
		return f.Path == g.Path && f.contentSum() == g.contentSum()
	}
	return f.Path == g.Path && f.sum() == g.sum()
}

// secretName is the name of a secret file on the server, where nothing tells
// its content, not even a sum of it: what can be seen of the file from outside
// is all there. i tells the accessory's files apart.
func (f File) secretName(i int) string {
	return strconv.Itoa(i) + "," + f.Mode + "," + strings.ReplaceAll(f.Owner, ":", "+")
}

// secretFile is the file behind the name that secretName gave it.
func secretFile(name, path string) File {
	parts := strings.SplitN(name, ",", 3)
	if len(parts) < 3 {
		return File{Path: path, Secret: true}
	}
	return File{Path: path, Secret: true, Mode: parts[1], Owner: strings.ReplaceAll(parts[2], "+", ":")}
}

// mountOwner tells the secret files of the accessory from others of the app.
func (s Spec) mountOwner() string { return "accessory-" + s.Name }

// mounts hold the secret files of one container: secrets are those under
// secret.MountPoint, files those of Spec.Files.
type mounts struct{ secrets, files secret.Mount }

// newMounts are new places for the secret files of a container.
func (s Spec) newMounts() mounts {
	_, asFiles := s.Secrets.Split(s.AsFiles)
	files := secret.Set{}
	for i, f := range s.Files {
		if f.Secret {
			files[f.secretName(i)] = f.Content
		}
	}
	return mounts{secret.NewMount(s.Service, s.mountOwner(), asFiles), secret.NewMount(s.Service, s.mountOwner(), files)}
}

// dirs are the base names of the places.
func (m mounts) dirs() []string {
	var out []string
	for _, one := range []secret.Mount{m.secrets, m.files} {
		if !one.Empty() {
			out = append(out, path.Base(one.Dir))
		}
	}
	return out
}

func (m mounts) binds(s Spec, home string) []string {
	var out []string
	if !m.secrets.Empty() {
		out = append(out, m.secrets.Bind(home))
	}
	for i, f := range s.Files {
		if f.Secret {
			out = append(out, home+"/"+m.files.Dir+"/"+f.secretName(i)+":"+f.Path)
		}
	}
	return out
}

// addMounts writes the secret files of the new container.
func (j *job) addMounts(b *fleet.Batch) {
	for _, m := range []secret.Mount{j.mounts.secrets, j.mounts.files} {
		if !m.Empty() {
			b.Call.Vars = append(b.Call.Vars, m.Vars()...)
			b.Add("secrets", m.Step())
		}
	}
	for i, f := range j.Spec.Files {
		if f.Secret {
			b.Add("file", f.own(j.mounts.files.Dir+"/"+f.secretName(i)))
		}
	}
}

// own gives a file on the server its mode and owner.
func (f File) own(local string) sshexec.Step {
	q := sshexec.Quote(local)
	script := "chmod " + sshexec.Quote(f.Mode) + " " + q
	if f.Owner != "" {
		script += " && chown " + sshexec.Quote(f.Owner) + " " + q
	}
	return sshexec.Step{Title: "give the file " + f.Path + " its mode and owner", Script: script}
}

// removeOldMounts removes the secret files that the container doesn't have
// which is the accessory now.
func (j *job) removeOldMounts() sshexec.Step {
	keep := j.mounts.dirs()
	if !j.plan.Replace && j.have.Current != nil {
		for _, m := range j.have.Snapshot.SecretMounts(*j.have.Current) {
			keep = append(keep, m.Base)
		}
	}
	return secret.RemoveMounts(j.Spec.Service, j.Spec.mountOwner(), keep)
}
