package task

import (
	"context"
	"fmt"
	"strings"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/kamal"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/secret"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

// Remove takes away what a run that was cut off has left of a task, in one
// call: as a rule nothing is there. A server that is gone is no error for the
// same reason.
func Remove(ctx context.Context, f *fleet.Fleet, server string, spec Spec) ([]Warning, error) {
	done, err := f.QueueApp(ctx, spec.App())
	if err != nil {
		return nil, err
	}
	defer done()
	j := &job{Spec: spec, fleet: f, server: f.Server(server)}
	res, _, locked, err := f.LockApp(ctx, j.server, j.App(), "task "+j.Name,
		j.removeJobs(), secret.RemoveMounts(j.App(), j.mountOwner(), nil), kamal.Unlock(j.App(), f.Run))
	switch {
	case fleet.IsGone(err):
		j.warn(server+" does not answer, and the task "+j.ID()+" was forgotten there",
			fmt.Sprintf("%v\n\nIf a job of the task was cut off there, it may still run, in a container named %s.", err, j.containerName("*")))
		return j.warnings, nil
	case err != nil:
		j.locked = locked
		j.tidy(ctx, "")
		failure := j.failure(err)
		failure.What, failure.Running = "remove the task "+j.ID(), "what ran before"
		return j.warnings, failure
	}
	if found := res.Out(1); found != "" {
		j.warn(fmt.Sprintf("A job of the task %s was removed from %s", j.ID(), server),
			"It was cut off from its apply, and nobody has seen how it ended (its container and what it was doing):\n  "+strings.ReplaceAll(found, "\n", "\n  "))
	}
	return j.warnings, nil
}

// removeJobs stops and removes the task's containers, and prints each.
func (j *job) removeJobs() sshexec.Step {
	return sshexec.Step{Title: "remove what is left of the task " + j.ID(), Script: fmt.Sprintf(`
command -v docker >/dev/null 2>&1 || exit 0
ids=$(docker ps --all --quiet --filter %s) || exit
[ -n "$ids" ] || exit 0
docker container inspect -f '{{slice .Name 1}}: {{.State.Status}}, exit code {{.State.ExitCode}}' $ids
docker stop -t %d $ids >/dev/null; docker rm --force --volumes $ids >/dev/null`,
		sshexec.Quote("label="+LabelTask+"="+j.ID()), int(grace.Seconds()))}
}
