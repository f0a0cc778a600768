package server

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

// maxWait bounds the wait for cloud-init, and the one for a package manager.
const maxWait = 10 * time.Minute

// A Result is what a server is like after Apply.
type Result struct {
	Snapshot *fleet.Snapshot
	Warnings []string
}

// Apply makes a server as wanted: one remote call to look, once cloud-init is
// through, and one to change what differs. Errors are *fleet.Failure.
func Apply(ctx context.Context, on *fleet.Server, want Spec) (*Result, error) {
	const tries = 3
	for try := 1; ; try++ {
		snap, err := look(ctx, on)
		if err != nil {
			return nil, err
		}
		plan, err := NewPlan(want, snap)
		if err != nil {
			return nil, notPossible(on.Name, err)
		}
		if len(plan.Steps) == 0 {
			return &Result{Snapshot: snap, Warnings: plan.Warnings}, nil
		}
		after, err := change(ctx, on, plan)
		if errors.Is(err, errChanged) && try < tries {
			continue
		}
		if err != nil {
			return nil, err
		}
		rest, err := NewPlan(want, after)
		if err != nil {
			return nil, notPossible(on.Name, err)
		}
		if len(rest.Steps) > 0 {
			return nil, &fleet.Failure{What: what, Server: on.Name,
				Cause: "everything went through, and yet this is still to do: " + titles(rest.Steps),
				Next:  "look for something else that changes the server, then apply again."}
		}
		return &Result{Snapshot: after, Warnings: plan.Warnings}, nil
	}
}

const (
	what      = "set up the server"
	untouched = "what ran before: nothing was changed."
)

// errChanged says that daemon.json was changed between looking and writing.
var errChanged = errors.New("daemon.json was changed by somebody else meanwhile")

func look(ctx context.Context, on *fleet.Server) (*fleet.Snapshot, error) {
	wait := waitFor(ctx)
	res, snap, err := on.Observe(ctx, sshexec.Call{
		Title: "look at the server",
		Vars:  []sshexec.Var{seconds(wait)},
		Steps: []sshexec.Step{{Title: waitForCloudInit, Script: cloudInitDone}},
	})
	if err != nil {
		return nil, &fleet.Failure{What: what, Server: on.Name, Err: err}
	}
	if snap == nil {
		return nil, stepFailed(on.Name, res, wait)
	}
	return snap, nil
}

func change(ctx context.Context, on *fleet.Server, plan *Plan) (*fleet.Snapshot, error) {
	wait := waitFor(ctx)
	res, snap, err := on.Observe(ctx, sshexec.Call{
		Title:   "set up Docker",
		Vars:    []sshexec.Var{seconds(wait), {Name: "DAEMON_JSON", Value: plan.DaemonJSON}, {Name: "INSTALL_SCRIPT", Value: plan.Script}},
		Prelude: prelude,
		Steps:   plan.Steps,
	})
	if err != nil {
		return nil, &fleet.Failure{What: what, Server: on.Name, Err: err}
	}
	if snap == nil {
		return nil, stepFailed(on.Name, res, wait)
	}
	return snap, nil
}

// waitFor is how long a step may wait for others: most of the time that is
// left, so that there is time to say who is waited for.
func waitFor(ctx context.Context) time.Duration {
	wait := maxWait
	if end, ok := ctx.Deadline(); ok {
		wait = min(wait, time.Until(end)*4/5)
	}
	return max(wait, time.Second).Truncate(time.Second)
}

func seconds(d time.Duration) sshexec.Var {
	return sshexec.Var{Name: "WAIT", Value: strconv.Itoa(int(d.Seconds()))}
}

func notPossible(server string, err error) error {
	f := &fleet.Failure{What: what, Server: server, Cause: err.Error(), Running: untouched}
	var p *PreflightError
	if errors.As(err, &p) {
		f.Next = p.Next
	}
	return f
}

// stepFailed tells why a call ended early.
func stepFailed(server string, res *sshexec.Result, wait time.Duration) error {
	err := res.Err()
	var step *sshexec.StepError
	if !errors.As(err, &step) {
		return &fleet.Failure{What: what, Server: server, Err: errors.New("the server gave no answer")}
	}
	f := &fleet.Failure{What: what, Server: server, Step: step.Title}
	seen := strings.TrimSpace(string(step.Stdout))
	switch step.ExitCode {
	case exitBusy:
		f.Cause = fmt.Sprintf("it was not free after %s: %s", wait, seen)
		f.Next = "see what keeps it busy, then apply again; or give it more time in timeouts."
		switch step.Title {
		case waitForCloudInit:
			f.Cause = fmt.Sprintf("cloud-init still runs after %s:\n%s", wait, seen)
			f.Running = untouched
		case waitForPackages:
			f.Running = untouched
		}
	case exitChanged:
		f.Err = errChanged
		f.Next = "apply again."
	case exitNotRoot:
		f.Cause = "the SSH user is not root and can't use sudo, only Docker."
		f.Next = "let the user run sudo without a password, give sudo_password in the provider's ssh block, or log in as root."
	default:
		f.Err = err
		f.Running = "what the server ran before; an apply takes up the work where it ended."
		f.Next = daemonAdvice(string(step.Stderr))
	}
	return f
}

// daemonAdvice says what to do about the words of dockerd's log that don't tell; "" for others.
func daemonAdvice(log string) string {
	if strings.Contains(log, "userland-proxy-path is not set") {
		return "take \"userland-proxy\" out of " + daemonFile + ", or out of docker.daemon_json: true is the default, " +
			"and where the file says so itself, Docker starts with it and then reads no change of it until it is restarted. Then apply again."
	}
	return ""
}

func titles(steps []sshexec.Step) string {
	var t []string
	for _, s := range steps {
		t = append(t, s.Title)
	}
	return strings.Join(t, ", ")
}
