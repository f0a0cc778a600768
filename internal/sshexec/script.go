package sshexec

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Markers cut the two output streams into steps. A marker is
// \036 NONCE ' ' KIND ' ' CODE \036 and is written to both streams. The \036 is
// made by printf and never stands in the script, so a step that prints its own
// script (or a `ps`) cannot forge one.
const (
	markSeparator = '\036'
	markBegin     = "b" // the script was parsed whole and begins
	markEnd       = "e" // the last step that runs is over, and the watchdog
	markSudo      = "s" // the sudo stage begins
	markNoSudo    = "x" // sudo refused; nothing has run
	// A number is the index of the step that ended, with its exit code.
)

// plainCommand starts the shell for root. Every login shell understands it.
const plainCommand = "exec /bin/sh -s"

// stagedCommand starts the shell for everyone else: it runs the first line of
// its input, which starts the shell that runs the rest. That keeps the request
// free of quotes, backslashes and secrets, and `read` takes no byte more than
// the line.
const stagedCommand = `exec /bin/sh -c 'IFS= read -r L; eval "$L"'`

func newNonce() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

var shellName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// checkCall refuses what a shell cannot carry, before anything is sent.
func checkCall(call Call) error {
	for _, v := range call.Vars {
		if !shellName.MatchString(v.Name) {
			return fmt.Errorf("%s: %q is no shell variable name", call.Title, v.Name)
		}
		if strings.IndexByte(v.Value, 0) >= 0 {
			return fmt.Errorf("%s: the value of %s has a NUL byte, which a shell cannot carry", call.Title, v.Name)
		}
	}
	if strings.IndexByte(call.Environment+call.Prelude, 0) >= 0 {
		return fmt.Errorf("%s: the prelude has a NUL byte", call.Title)
	}
	for _, s := range call.Steps {
		if strings.IndexByte(s.Script, 0) >= 0 {
			return fmt.Errorf("%s: the script of step %q has a NUL byte", call.Title, s.Title)
		}
	}
	return nil
}

// buildScript returns the script of a call. All of it is one function, so that
// a syntax error anywhere, or a script cut off on its way, runs nothing.
func buildScript(call Call, nonce string) string {
	var b strings.Builder
	// The sudo stage gives the SSH user's home and ids as arguments; without
	// it the user is root.
	b.WriteString(`export LC_ALL=C KAMAL_UID="${2-0}" KAMAL_GID="${3-0}"
export HOME="${1-$HOME}"
set --
_kamal_mark() { printf '\036` + nonce + ` %s %s\036' "$1" "$2"; printf '\036` + nonce + ` %s %s\036' "$1" "$2" >&2; }
_kamal_main() {
exec 3<&0 </dev/null
cd "${HOME:?}" || return
`)
	// The watchdog ends the process group when the client goes: sshd neither
	// passes signals on to root's processes nor ends them with the channel.
	// The client keeps stdin open until the end marker.
	b.WriteString(`(trap '' TERM HUP; while IFS= read -r _kamal_x <&3; do :; done; kill -TERM 0; sleep 2; kill -KILL 0) >/dev/null 2>&1 &
_kamal_w=$!
exec 3<&-
`)
	if call.Environment != "" {
		b.WriteString(call.Environment + "\n")
	}
	for _, v := range call.Vars {
		b.WriteString(v.Name + "=" + singleQuote(v.Value) + "\n")
		if v.Export {
			b.WriteString("export " + v.Name + "\n")
		}
	}
	if call.Prelude != "" {
		b.WriteString(call.Prelude + "\n")
	}
	b.WriteString("_kamal_steps() {\n:\n")
	for i, s := range call.Steps {
		// A subshell, so that exit, exec, set -e and ${X?} end the step and
		// not the call. The colon makes an empty script or a mere comment
		// legal; what follows stands on its own line for the same reason.
		n := strconv.Itoa(i)
		b.WriteString("(\n:\n" + s.Script + "\n)\n_kamal_r=$?; _kamal_mark " + n + " $_kamal_r\n")
		if !s.KeepGoing {
			b.WriteString("[ $_kamal_r = 0 ] || return 0\n")
		}
	}
	// After the end marker the client closes stdin: the watchdog must be gone
	// by then, or it would end what the steps left running on purpose.
	b.WriteString(`}
set +e
_kamal_mark ` + markBegin + ` 0
_kamal_steps
kill -KILL $_kamal_w
wait $_kamal_w
_kamal_mark ` + markEnd + ` 0
}
_kamal_main; exit 0
`)
	return b.String()
}

// singleQuote quotes always, so that an assignment cannot be taken for
// anything else (~ and : would be expanded in one without quotes).
func singleQuote(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// stageLine returns the first line of input for stagedCommand: it becomes root
// by sudo, or stays the user who may use docker as they are, and starts the
// shell that reads the script. With a password the second line of input is it.
//
// `exec sudo -n` would not do: without a terminal sudo's time stamp belongs to
// the parent process. Nor would `sudo -S` on the script: where sudo asks for
// nothing the shell would run the password, where it is wrong sudo would take
// the next lines as further guesses.
func stageLine(nonce string, password bool) string {
	mark := func(kind string) string {
		return fmt.Sprintf(`printf '\036%s %%s 0\036' %s; printf '\036%s %%s 0\036' %s >&2; `, nonce, kind, nonce, kind)
	}
	const shell = `/bin/sh -s -- "$HOME" "$U" "$G"`
	s := `export LC_ALL=C; U=$(id -u); G=$(id -g); `
	if password {
		s += `IFS= read -r PW; `
	}
	s += mark(markSudo)
	s += `if [ "$U" = 0 ]; then exec ` + shell + `; fi; `
	if password {
		s += `sudo -n true </dev/null >/dev/null 2>&1 || printf '%s\n' "$PW" | sudo -S -p '' -v; V=$?; `
		s += `if sudo -n true </dev/null >/dev/null 2>&1; then unset PW; sudo -n -- ` + shell + `; exit; fi; `
		// Accepted, and yet sudo asks again: timestamp_timeout=0.
		s += `if [ "$V" = 0 ]; then { printf '%s\n' "$PW"; exec cat; } | sudo -k -S -p '' -- ` + shell + `; exit; fi; unset PW; `
	} else {
		s += `if sudo -n true </dev/null >/dev/null; then sudo -n -- ` + shell + `; exit; fi; `
	}
	// Whoever is in group docker needs no sudo to use docker.
	s += `case " $(id -nG) " in *" docker "*) exec ` + shell + `;; esac; `
	s += mark(markNoSudo) + `exit 97`
	return s + "\n"
}
