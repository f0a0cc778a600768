package engine

import (
	"context"
	"strings"
	"time"
)

// warned is the text of warnings.
func warned[W ~struct{ Summary, Detail string }](list []W) string {
	var text strings.Builder
	for _, each := range list {
		w := struct{ Summary, Detail string }(each)
		text.WriteString(w.Summary + "\n" + w.Detail + "\n")
	}
	return text.String()
}

// beforeDocker makes docker on the server run a script before it does a command
// that begins with these words, until afterDocker or the test's end.
func (e *engine) beforeDocker(command, script string) {
	e.Helper()
	e.s.SSH(e, `cat > /usr/local/bin/docker <<'END'
#!/bin/sh
case "$*" in "`+command+`"*) `+script+`;; esac
exec /usr/bin/docker "$@"
END
chmod 755 /usr/local/bin/docker`)
	e.Cleanup(e.afterDocker)
}

// afterDocker ends beforeDocker.
func (e *engine) afterDocker() {
	e.Helper()
	e.s.SSH(e, "rm -f /usr/local/bin/docker /root/reached")
}

// reaches waits until a script succeeds on the server; the work under way must
// not end before.
func (e *engine) reaches(u *under, what, script string) {
	e.Helper()
	eventually(e, time.Minute, what, func() bool {
		_, err := e.s.Run(context.Background(), script)
		return err == nil || !u.running()
	})
	if !u.running() {
		e.Fatalf("it was over before this was seen: %s: %v", what, u.err)
	}
}

// dies kills a run, waits until nothing is left of the calls that it had under
// way on the server, which nobody else may have any on, and makes its lock on
// an app look as old as it will be soon.
func (e *engine) dies(r *run, u *under, app string) {
	e.Helper()
	r.kill()
	_ = u.wait() // whatever it says, nobody hears it
	eventually(e, time.Minute, "the end of the call", func() bool {
		_, err := e.s.Run(context.Background(), "! pgrep -f '^/bin/sh -s$'")
		return err == nil
	})
	e.ages(app)
}

// ages makes the lock of a run that died look as old as it will be soon.
func (e *engine) ages(app string) {
	e.Helper()
	e.s.SSH(e, "touch -d '1 minute ago' .kamal/lock-"+app+"/run")
}

// holds says that a text is in the log.
func (l *log) holds(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.text.String(), text)
}

// mustHide fails the test if one of the values is in a run's log; shorter ones
// are found there by accident.
func (e *engine) mustHide(r *run, values ...string) {
	e.Helper()
	for _, v := range values {
		if len(strings.TrimSpace(v)) >= 12 {
			r.log.mustNotHold(e, v)
		}
	}
}
