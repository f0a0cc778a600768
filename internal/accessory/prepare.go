package accessory

import (
	"context"
	"fmt"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/kamal"
)

// check refuses what must not begin, before anything is changed.
func (j *job) check() *fleet.Failure {
	f := &fleet.Failure{Server: j.Server}
	snap, mark, c := j.have.Snapshot, j.have.Mark, j.have.Current
	if none := snap.NoDocker(); none != nil {
		return none
	}
	for _, file := range j.Spec.Files {
		if why := file.unwritable(j.Server); why != "" {
			f.Cause, f.Next = why, "fill it in, and apply again."
			return f
		}
	}
	switch {
	case j.MachineID != "" && j.MachineID != snap.Facts.MachineID:
		f.Cause = fmt.Sprintf("%s is another machine (machine-id %s) than the one that the accessory and its data are on (%s)", j.Server, snap.Facts.MachineID, j.MachineID)
		f.Next = "move the data yourself and apply with -replace=ADDRESS, which removes the accessory on the old server and creates it on the new one; its data stays where it is. If `server` is not meant to change, set it back."
		return f
	case c == nil:
		return nil
	case j.have.Foreign:
		f.Cause = fmt.Sprintf("a container that is not an accessory has the name %s (%s, %s)", c.ContainerName(), c.Config.Image, c.Status())
		f.Next = "rename or remove it, if nobody needs it: docker rename " + c.ContainerName() + " OTHER"
		return f
	case !j.Create:
		return nil
	case mark != nil && mark.State == kamal.MarkCreating:
		if mark.Run == j.fleet.Run || mark.Unfinished() {
			return nil
		}
		f.Cause = fmt.Sprintf("another run (by %s, since %s) is creating this accessory", mark.By, mark.At.Format(time.RFC3339))
		f.Next = "wait for it to end."
		return f
	}
	owner := "by hand or by Kamal"
	if mark != nil {
		owner = "by " + mark.By + " with this provider, from another configuration or state"
	}
	f.Cause = fmt.Sprintf("the accessory is there already: container %s (%s), made %s. Two configurations can't own one accessory", c.ContainerName(), c.Status(), owner)
	f.Next = "to take it over without a restart, import it: tofu import ADDRESS '" + j.ImportID + "' (or terraform import). To run beside it, use another name."
	return f
}

// prepare gets the image and looks at it. Nothing that runs is touched.
func (j *job) prepare(ctx context.Context) error {
	if e := j.have.Entry; e != nil && j.port() > 0 {
		// Better now than when the old container is down.
		if _, err := e.DeployArgv(j.target("preflight")); err != nil {
			f := j.failure(nil)
			f.Step, f.Cause = "look at the accessory's service at kamal-proxy", err.Error()
			f.Next = "take out of the service what this version of the provider does not know, or use one that knows it."
			return f
		}
	}
	if j.image = docker.FindImage(j.Spec.Image, j.have.Snapshot.Images); j.plan.Pull {
		image, err := j.fleet.Pull(ctx, j.server, kamal.HoldsLock(j.Spec.Service, j.fleet.Run), j.Spec.Image)
		if err != nil {
			f := j.failure(err)
			f.Next = docker.PullAdvice(j.Spec.Image, j.Server, j.fleet.Logins, err)
			return f
		}
		j.image = image
	}
	problem := "the image " + j.Spec.Image + " is not there after the pull"
	if j.image != nil {
		problem = j.image.Problem(j.Spec.Image, j.Spec.Command, j.have.Snapshot.Docker.Arch)
	}
	if problem == "" {
		return nil
	}
	f := j.failure(nil)
	f.Step, f.Cause, f.Next = "check the image before it is run", problem, "mend the image or the command, and apply again."
	return f
}
