// Package secret is how secret values travel into a container, and how a
// change of them is seen without keeping them.
package secret

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/crypto/scrypt"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

// The limits of what arrives in a container, in bytes. The kernel's for one
// variable is 128 KiB with its name; the sum shares 2 MiB with arguments;
// docker reads env files line by line, up to 64 KiB each.
const (
	maxOne  = 131071
	maxAll  = 1 << 20
	maxLine = 65535
)

// A Set holds secret values by the name of their environment variable.
type Set map[string]string

// Names are the names in order.
func (s Set) Names() []string { return slices.Sorted(maps.Keys(s)) }

// Check says which values can't arrive in a container unchanged, and why; the
// text never holds a value. Nil: all can.
func (s Set) Check() error {
	all := 0
	for _, name := range s.Names() {
		value := s[name]
		all += len(name) + len(value) + 2
		switch {
		case !isName(name):
			return fmt.Errorf("%q is no name for an environment variable", name)
		case strings.ContainsRune(value, 0):
			return fmt.Errorf("the value of %s has a NUL byte, which no environment variable can hold", name)
		case !utf8.ValidString(value):
			return fmt.Errorf("the value of %s is not UTF-8: docker would change it without a word. Encode it, say as base64", name)
		case len(name)+1+len(value) > maxOne:
			return fmt.Errorf("%s has %d bytes with its name: the kernel takes %d at the most", name, len(name)+1+len(value), maxOne)
		case !plain(name) && strings.ContainsAny(value, "\r\n"):
			return fmt.Errorf("the value of %s has a line break, which a variable of this name can't carry: rename it", name)
		case !plain(name) && len(name)+1+len(value) > maxLine:
			return fmt.Errorf("%s has %d bytes with its name: a variable of this name can have %d", name, len(name)+1+len(value), maxLine)
		}
	}
	if all > maxAll {
		return fmt.Errorf("the values have %d bytes together: %d is the most", all, maxAll)
	}
	return nil
}

// isName says that docker takes name for a variable's name, as it is: in an env
// file it would cut off white space and a byte order mark before it, and take a
// line that begins with # for a comment.
func isName(name string) bool {
	bad := func(r rune) bool { return r == '=' || unicode.IsSpace(r) || unicode.IsControl(r) }
	return name != "" && utf8.ValidString(name) && !strings.ContainsFunc(name, bad) &&
		!strings.HasPrefix(name, "#") && !strings.HasPrefix(name, "\ufeff")
}

// A shell carries a variable through its environment into docker's, which
// works for shell names that neither the shell nor docker itself acts upon.
var (
	shellName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	meant     = regexp.MustCompile(`^(DOCKER_.*|BUILDKIT_.*|LD_.*|LC_.*|LANG|LANGUAGE|PATH|HOME|PWD|OLDPWD|SHELL|USER|ENV|BASH.*|SHELLOPTS|SHLVL|FUNCNEST|GLOBIGNORE|POSIXLY_CORRECT|HIST.*|IFS|PS[0-9]|UID|EUID|PPID|GROUPS|DIRSTACK|OPTIND|OPTARG|OPTERR|S?RANDOM|LINENO|SECONDS|EPOCH.*|FUNCNAME|PIPESTATUS|MAIL.*|CDPATH|TMPDIR|TMOUT|HOSTNAME|GO.*|HTTPS?_PROXY|NO_PROXY|https?_proxy|no_proxy|XDG_.*|SSH_.*|KAMAL_.*|SECRET_FILE|_.*)$`)
)

func plain(name string) bool { return shellName.MatchString(name) && !meant.MatchString(name) }

// EnvNames are the variables that `docker run --env NAME` takes from its environment.
func (s Set) EnvNames() []string {
	return slices.DeleteFunc(s.Names(), func(n string) bool { return !plain(n) })
}

// Vars are the variables for a call with a `docker run`: they travel on the
// script's standard input.
func (s Set) Vars() []sshexec.Var {
	var vars []sshexec.Var
	var file strings.Builder
	for _, n := range s.Names() {
		if plain(n) {
			vars = append(vars, sshexec.Var{Name: n, Value: s[n], Export: true, Secret: true})
		} else {
			file.WriteString(n + "=" + s[n] + "\n")
		}
	}
	if file.Len() > 0 {
		vars = append(vars, sshexec.Var{Name: "SECRET_FILE", Value: file.String(), Secret: true})
	}
	return vars
}

// InFile says that some variables have names that docker can only read from a
// file: then RunScript gives them to it on its standard input.
func (s Set) InFile() bool { return len(s.EnvNames()) < len(s) }

// RunScript is the script of a `docker run` that Vars belong to. argv is the
// command with the EnvNames in it; "docker", "run" come first.
func (s Set) RunScript(argv []string) string {
	if !s.InFile() {
		return sshexec.Join(argv...)
	}
	with := append([]string{argv[0], argv[1], "--env-file", "/dev/stdin"}, argv[2:]...)
	return `printf '%s' "$SECRET_FILE" | ` + sshexec.Join(with...)
}

// KamalFile is the content of the env file that the Kamal CLI reads for `kamal
// app exec`. Such a file can't carry line breaks; they are written as Kamal
// writes them, as the two characters \n.
func (s Set) KamalFile() string {
	if len(s) == 0 {
		return "\n"
	}
	var b strings.Builder
	for _, n := range s.Names() {
		b.WriteString(n + "=" + strings.NewReplacer("\n", `\n`, "\r", `\r`).Replace(s[n]) + "\n")
	}
	return b.String()
}

// NewSalt returns a salt for Digest.
func NewSalt() []byte {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	return b
}

// Digest tells values apart without telling them: a salted hash that takes a
// few milliseconds, so that a weak secret isn't found from a state by trying
// words quickly. The name is part of it.
func Digest(salt []byte, name, value string) string {
	key := fmt.Appendf(nil, "v1:%d:%s:%s", len(name), name, value)
	// The parameters are right by construction, and errors come of those alone.
	sum, err := scrypt.Key(key, salt, 1<<12, 8, 1, 16)
	if err != nil {
		panic(err)
	}
	return hex.EncodeToString(sum)
}
