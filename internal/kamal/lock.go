package kamal

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

// AutomaticLock is Kamal's message for the lock of a deploy: `kamal deploy
// --lock-wait` waits for a lock with this message and for no other.
const AutomaticLock = "Automatic deploy lock"

// A LockHolder is who holds an app's lock on a server.
type LockHolder struct {
	App string
	// Details is what Kamal wrote, decoded: "Locked by: … at …\nVersion: …\nMessage: …".
	Details string
	// Run is the provider's run that holds the lock, or "" if Kamal does.
	Run string
	// Age is the time since the run's last sign of life, by the server's clock.
	Age time.Duration
}

// Automatic says that a deploy holds the lock, so that waiting makes sense.
func (h LockHolder) Automatic() bool { return strings.Contains(h.Details, "Message: "+AutomaticLock) }

// LockTaken is the exit code of a Lock step when another one holds the lock.
// Its standard output is then what ParseLock reads.
const LockTaken = 75

// Lock is the step that takes an app's lock as Kamal does, so that each waits
// for the other. A lock of the provider whose run is dead is taken over, one
// of Kamal's never. The exit code is LockTaken where it is held.
//
// A lock of the provider without the run's name was left by one that died, or
// found the disk full, in the middle of taking it: it is dead after a while too.
//
// flock keeps two runs from taking over the same dead lock; Kamal doesn't know
// it, and need not: mkdir decides between it and us.
func Lock(app, run, by, version string, now time.Time) sshexec.Step {
	text := fmt.Sprintf("Locked by: %s at %s\nVersion: %s\nMessage: %s", by, now.UTC().Format(time.RFC3339), version, AutomaticLock)
	details := base64.StdEncoding.EncodeToString([]byte(text))
	dir := LockDir(app)
	return sshexec.Step{
		Title: "take the deploy lock of " + app,
		Script: fmt.Sprintf(`
dir=%s run=%s
putdir .kamal && exec 9>>.kamal/lock.flock && mine .kamal/lock.flock && flock 9 || exit 1
if ! mkdir "$dir" 2>/dev/null; then
  [ -d "$dir" ] || { mkdir "$dir"; exit 1; }
  sign=$dir/run; [ ! -f "$sign" ] || [ -s "$sign" ] || sign=$dir
  age=$(( $(date +%%s) - $(stat -c %%Y "$sign" 2>/dev/null || date +%%s) ))
  holder=$(cat "$dir/run" 2>/dev/null)
  if [ "$holder" != "$run" ] && { [ -z "$holder" ] && [ "$sign" != "$dir" ] || [ "$age" -le %d ]; }; then
    printf '%%s\n%%s\n' "$holder" "$age"; base64 -d < "$dir/details" 2>/dev/null
    exit %d
  fi
fi
printf '%%s\n' "$run" > "$dir/run" && printf '%%s\n' %s > "$dir/details" && mine "$dir" "$dir/run" "$dir/details" || { rm -r "$dir"; exit 1; }`,
			sshexec.Quote(dir), sshexec.Quote(run), int(Dead.Seconds()), LockTaken, sshexec.Quote(details)),
	}
}

// ParseLock reads what a Lock step with exit code LockTaken printed.
func ParseLock(app, stdout string) LockHolder {
	h := LockHolder{App: app}
	var seconds, rest string
	h.Run, rest, _ = strings.Cut(stdout, "\n")
	// A run that died in the middle of taking the lock left no details.
	seconds, h.Details, _ = strings.Cut(rest, "\n")
	h.Details = strings.TrimSpace(h.Details)
	if s, err := strconv.Atoi(seconds); err == nil {
		h.Age = time.Duration(s) * time.Second
	}
	return h
}

// HoldsLock is the step that ends a call when the lock is no longer the run's:
// it stands before each effect, because a run that was cut off for long may
// have been taken for dead.
func HoldsLock(app, run string) sshexec.Step {
	return sshexec.Step{
		Title:  "check that the deploy lock of " + app + " is still ours",
		Script: fmt.Sprintf(`f=%s; [ "$(cat "$f")" = %s ] && touch -c "$f"`, sshexec.Quote(LockDir(app)+"/run"), sshexec.Quote(run)),
	}
}

// Unlock is the step that gives the lock back, if it still is the run's.
func Unlock(app, run string) sshexec.Step {
	return sshexec.Step{
		Title: "give the deploy lock of " + app + " back",
		Script: fmt.Sprintf(`dir=%s; [ "$(cat "$dir/run" 2>/dev/null)" != %s ] || rm -r "$dir"`,
			sshexec.Quote(LockDir(app)), sshexec.Quote(run)),
	}
}

// SignOfLife is the step by which a run tells that it lives: it touches the
// files, locks and unfinished marks, that still are the run's. It makes none: a
// lock that is given back at the same moment would be left, with nobody's name.
func SignOfLife(run string, files ...string) sshexec.Step {
	return sshexec.Step{
		Title:  "give a sign of life",
		Script: "for f in " + sshexec.Join(files...) + `; do ! grep -qsF ` + sshexec.Quote(run) + ` "$f" || touch -c "$f"; done`,
	}
}

// Audit is the step that writes a line to the app's audit log as Kamal does;
// tags are performer, destination, role. It never fails a deploy.
func Audit(app string, now time.Time, tags []string, message string) sshexec.Step {
	line := "[" + now.UTC().Format(time.RFC3339) + "]"
	for _, t := range tags {
		if t != "" {
			line += " [" + t + "]"
		}
	}
	line += " " + message
	f := sshexec.Quote(AuditLog(app))
	return sshexec.Step{
		Title:     "write the audit log",
		Script:    "putdir .kamal && printf '%s\\n' " + sshexec.Quote(line) + " >> " + f + " && mine " + f,
		KeepGoing: true,
	}
}
