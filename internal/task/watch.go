package task

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

const (
	// patience is how long a server that does not answer any more is tried again.
	patience = time.Minute
	// retryAfter is the pause between two tries.
	retryAfter = 2 * time.Second
	// grace is what a command gets to end after SIGTERM.
	grace = 10 * time.Second
)

// Exit codes of waitStep.
const (
	// notThere: there is no such container, or it was never started and is gone now.
	notThere = 3
	// tooLong: the job had not ended in time.
	tooLong = 124
)

// waitStep waits for the end of a job, at most bound from its start on. With
// stop, one that takes longer is stopped.
//
// It waits in short turns: timeout leaves the process group that ends with the
// client, and what it runs would stay behind for as long as the job runs.
func waitStep(container string, bound time.Duration, stop bool) sshexec.Step {
	end := ""
	if stop {
		end = fmt.Sprintf("docker stop -t %d \"$c\" >/dev/null; ", int(grace.Seconds()))
	}
	return sshexec.Step{Title: "wait for the end of the job " + container, KeepGoing: true, Script: fmt.Sprintf(`
c=%s; until=
while :; do
  now=$(date +%%s)
  if s=$(docker container inspect -f '{{.State.Status}} {{.State.StartedAt}}' "$c" 2>/dev/null); then
    case $s in
      created\ *) docker rm "$c" >/dev/null && exit %d;;
      running\ *|paused\ *|restarting\ *) ;;
      *) exit 0;;
    esac
    [ -n "$until" ] || { start=$(date -d "${s#* }" +%%s 2>/dev/null) || start=$now; until=$((start + %d)); }
  elif ids=$(docker ps --all --quiet --filter "name=^/$c\$") && [ -z "$ids" ]; then
    exit %d
  fi # else docker does not answer: it may be starting again
  left=$((${until:-$((now + 10))} - now))
  [ $left -gt 0 ] || { %sexit %d; }
  [ $left -le 10 ] || left=10
  timeout $left docker wait "$c" >/dev/null 2>&1 || sleep 0.5
done`, sshexec.Quote(container), notThere, seconds(bound), notThere, end, tooLong)}
}

func seconds(d time.Duration) int { return max(1, int(d.Round(time.Second)/time.Second)) }

// addWatch adds the steps that wait for a job and read what became of it. They
// change nothing that cannot be seen again: the container stays.
func (j *job) addWatch(b *fleet.Batch, container string, stop bool) {
	b.Add("wait", waitStep(container, j.Spec.Timeout, stop))
	// It may be removed between its end and this look.
	b.Add("inspect", sshexec.Step{Title: "inspect the job", Script: fmt.Sprintf(
		`docker container inspect %[1]s && exit
ids=$(docker ps --all --quiet --filter name="^/"%[1]s\$) && [ -z "$ids" ] && exit %[2]d
exit 1`, sshexec.Quote(container), notThere)})
	b.Add("output", sshexec.Step{Title: "read the end of its output", KeepGoing: true,
		Script: fmt.Sprintf("docker logs --tail %d %s 2>&1 | tail -c 65536", shownLines+1, sshexec.Quote(container))})
}

// errNeverMade says that a docker run was cut off before it made its container.
var errNeverMade = errors.New("the container was not made")

// A notStarted says that docker did not start the container.
type notStarted struct{ err error }

func (e *notStarted) Error() string { return e.err.Error() }

func (e *notStarted) Unwrap() error { return e.err }

// follow makes the call first, which starts a job and waits for it, or only
// waits (nil). Where the contact to the server is lost on the way, it looks
// again and goes on waiting: what was started is never started again here.
//
// The error is errNeverMade where that is certain; a *notStarted; or what
// keeps the outcome from being seen: then underWay says what may go on.
func (j *job) follow(ctx context.Context, first *fleet.Batch, container string, stop bool) (Outcome, error) {
	b, made := first, first == nil
	if made {
		j.underWay = container
	}
	lastSeen := time.Now()
	for {
		if b == nil {
			b = j.batch("wait for the job")
			j.addWatch(b, container, stop)
		}
		res, err := j.server.Change(ctx, b.Call)
		if made = made || b.Done(res, "run"); made {
			j.underWay = container
		}
		if err == nil {
			o, err := j.outcome(b, res, container, made)
			var failed *notStarted
			if err == nil || errors.Is(err, errNeverMade) || errors.As(err, &failed) {
				j.underWay = ""
			}
			return o, err
		}
		var cut *sshexec.InterruptedError
		if errors.As(err, &cut) {
			// It may have begun: from now on it is only waited for.
			j.underWay, lastSeen, b = container, time.Now(), nil
		}
		if !lostContact(err) || time.Since(lastSeen) > patience || fleet.Pause(ctx, retryAfter) != nil {
			return Outcome{}, err
		}
	}
}

// lostContact says that a call came to no end because of the connection, and
// may be answered when it is made again.
func lostContact(err error) bool {
	var cut *sshexec.InterruptedError
	var start *sshexec.StartError
	return errors.As(err, &cut) || errors.As(err, &start) || fleet.IsUnreachable(err)
}

// outcome reads what a call with addWatch's steps saw. made says that the
// container was made for certain.
func (j *job) outcome(b *fleet.Batch, res *sshexec.Result, container string, made bool) (Outcome, error) {
	if run := b.Result(res, "run"); run.Ran && run.ExitCode != 0 {
		return Outcome{}, &notStarted{b.Failed(res)}
	}
	wait := b.Result(res, "wait")
	switch {
	case wait.Ran && wait.ExitCode == notThere && made:
		return Outcome{Container: container, Gone: true}, nil
	case wait.Ran && wait.ExitCode == notThere:
		return Outcome{}, errNeverMade
	case b.Result(res, "inspect").ExitCode == notThere:
		return Outcome{Container: container, Gone: true}, nil
	case wait.Ran && wait.ExitCode != 0 && wait.ExitCode != tooLong:
		return Outcome{}, &sshexec.StepError{Server: res.Server, Call: res.Call, StepResult: wait}
	}
	if err := b.Failed(res); err != nil {
		return Outcome{}, err
	}
	list, err := docker.ParseContainers(b.Result(res, "inspect").Stdout)
	if err == nil && len(list) != 1 {
		err = fmt.Errorf("docker shows %d containers for %s", len(list), container)
	}
	if err != nil {
		return Outcome{}, err
	}
	return outcomeOf(list[0], wait.ExitCode == tooLong, quote(string(b.Result(res, "output").Stdout), j.fleet.Redact)), nil
}
