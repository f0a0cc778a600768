package proxy

import (
	"context"
	"errors"
	"strings"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/kamal"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

// Remove removes kamal-proxy from a server, unless it serves what this
// provider did not deploy. It returns the services of the provider's own that
// it served. Their routes and certificates stay in the volume, so that a
// kamal-proxy that is booted again serves them again. One that is gone already is
// removed. Errors are *fleet.Failure.
func Remove(ctx context.Context, on *fleet.Server) (served []string, err error) {
	failure := func(err error) *fleet.Failure {
		return &fleet.Failure{What: "remove kamal-proxy", Server: on.Name, Err: err}
	}
	done, err := on.QueueProxy(ctx)
	if err != nil {
		return nil, failure(err)
	}
	defer done()
	const tries = 3
	for try := 1; ; try++ {
		_, snap, err := on.Observe(ctx, sshexec.Call{Title: "look at kamal-proxy"})
		if err != nil {
			return nil, failure(err)
		}
		if snap.Docker.Installed && !snap.Docker.Running {
			f := failure(nil)
			f.Cause = "Docker does not run there, so nobody can tell what kamal-proxy serves. " + snap.Docker.Failure
			f.Next = "start Docker on the server, then destroy again."
			return nil, f
		}
		entries, err := entriesOf(snap)
		if err != nil {
			return nil, failure(err)
		}
		ours, others := divide(entries, snap)
		if len(others) > 0 {
			f := failure(nil)
			f.Cause = "it serves what this provider did not deploy: " + strings.Join(others, ", ") + "."
			f.Running = "kamal-proxy with all its routes: nothing was changed."
			f.Next = "remove these first (`kamal app remove`, or `docker exec kamal-proxy kamal-proxy remove NAME` on the server). " +
				"To have Terraform forget kamal-proxy and leave it running: terraform state rm ADDRESS."
			return nil, f
		}
		var steps []sshexec.Step
		if snap.Proxy.Container != nil {
			steps = append(steps, sshexec.Step{Title: "stop and remove kamal-proxy", Script: removeContainer(snap.Proxy.Sum)})
		}
		if snap.Mark(containerMark, Container) != nil {
			steps = append(steps, kamal.RemoveMark(containerMark, Container))
		}
		if len(steps) == 0 {
			return nil, nil
		}
		res, err := on.Change(ctx, sshexec.Call{Title: "remove kamal-proxy", Steps: steps})
		if err != nil {
			return nil, failure(err)
		}
		var step *sshexec.StepError
		if err := res.Err(); errors.As(err, &step) {
			if step.ExitCode == fleet.RoutesChanged && try < tries {
				continue
			}
			return nil, failure(err)
		}
		return ours, nil
	}
}

// Services are the names of what kamal-proxy serves, by a snapshot.
func Services(snap *fleet.Snapshot) ([]string, error) {
	entries, err := entriesOf(snap)
	ours, others := divide(entries, snap)
	return append(ours, others...), err
}

// divide tells the provider's services from those of others, by its marks.
func divide(entries []Entry, snap *fleet.Snapshot) (ours, others []string) {
	for _, e := range entries {
		if snap.Mark(MarkKind, e.Name) != nil {
			ours = append(ours, e.Name)
		} else {
			others = append(others, e.Name)
		}
	}
	return ours, others
}
