package server

import (
	"context"
	"errors"
	"strings"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

// removeDocker takes away what installDocker brings. Data, configuration and
// what else came with it stay; so does a Docker that came another way.
var removeDocker = `
set -- $(dpkg-query --show --showformat '${db:Status-Abbrev} ${Package}\n' docker.io docker-cli 2>/dev/null | sed -n 's/^ii  *//p')
[ $# -gt 0 ] || { command -v dockerd >/dev/null 2>&1 && exit 77; exit 0; }
packages_free
PACKAGES=$*; export PACKAGES DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l
` + fleet.ToTheEnd(`apt-get -qq -y -o DPkg::Lock::Timeout=30 remove $PACKAGES`)

const exitForeign = 77 // Docker is not the distribution's

const whatRemove = "remove Docker"

// RemoveDocker removes Docker's packages, unless a container runs. What Docker
// kept in /var/lib/docker stays on the disk.
func RemoveDocker(ctx context.Context, on *fleet.Server) error {
	_, snap, err := on.Observe(ctx, sshexec.Call{Title: "look at the server"})
	if err != nil {
		return &fleet.Failure{What: whatRemove, Server: on.Name, Err: err}
	}
	if snap.Docker.Installed && !snap.Docker.Running {
		return &fleet.Failure{What: whatRemove, Server: on.Name,
			Cause: "Docker does not answer there, so nobody can tell whether containers run. " + snap.Docker.Failure,
			Next:  "start Docker on the server, or set remove_docker_on_destroy = false and apply that before you destroy."}
	}
	var running []string
	for _, c := range snap.Containers {
		if c.Running() {
			running = append(running, c.ContainerName())
		}
	}
	if len(running) > 0 {
		return &fleet.Failure{What: whatRemove, Server: on.Name,
			Cause:   "containers run there: " + strings.Join(running, ", "),
			Running: "all of them, as before.",
			Next:    "stop them first, or set remove_docker_on_destroy = false and apply that before you destroy."}
	}
	wait := waitFor(ctx)
	res, err := on.Change(ctx, sshexec.Call{
		Title: "remove Docker", Prelude: prelude, Vars: []sshexec.Var{seconds(wait)},
		Steps: []sshexec.Step{
			{Title: "check that we are root", Script: checkRoot},
			{Title: "remove Docker's packages", Script: removeDocker},
		},
	})
	if err != nil {
		return &fleet.Failure{What: whatRemove, Server: on.Name, Err: err}
	}
	var step *sshexec.StepError
	if errors.As(res.Err(), &step) {
		if step.ExitCode == exitForeign {
			return &fleet.Failure{What: whatRemove, Server: on.Name,
				Cause: "it was not installed from the distribution's package docker.io.",
				Next:  "remove it by hand if it shall go, and set remove_docker_on_destroy = false."}
		}
		f := &fleet.Failure{}
		if errors.As(stepFailed(on.Name, res, wait), &f) {
			f.What = whatRemove
		}
		return f
	}
	return nil
}
