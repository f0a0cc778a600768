package accessory

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/kamal"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/secret"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

// giveUp ends a replacement that failed: it looks why, removes the new
// container, and puts the old one back, in one call. It returns the failure.
//
// It trusts nothing that the failed call should have done: a connection that
// was lost tells nothing about how far it came.
func (j *job) giveUp(ctx context.Context, cause error) error {
	f := j.failure(cause)
	var late *notReady
	if errors.As(cause, &late) {
		f.Step, f.Err = fmt.Sprintf("wait up to %s until the container is ready", late.bound), nil
		f.Cause = late.why
	}
	old := j.plan.Old
	var unmade *notMade
	if errors.As(cause, &unmade) && old != nil {
		return j.dropUnmade(ctx, f)
	}
	if !j.touched && old == nil {
		f.Running, f.Next = "the container "+j.name()+", which is not ready", "see its log on the server: docker logs "+j.name()
		return f
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTime+j.Spec.DeployTimeout)
	defer cancel()

	b := j.batch("look why the new container failed, and give it up")
	name := sshexec.Quote(j.name())
	settle := docker.Settle(j.name())
	if old != nil {
		// A call that was cut off early left the old container its name.
		settle.Script = fmt.Sprintf("[ \"$(docker container inspect -f '{{.Id}}' %s 2>/dev/null)\" != %s ] || exit 0\n", name, old.ID) + settle.Script
	}
	b.Add("settle", settle)
	b.Add("inspect", sshexec.Step{Title: "inspect " + j.name(), Script: "docker container inspect " + name, KeepGoing: true})
	b.Add("logs", sshexec.Step{Title: "read its log", Script: "docker logs --tail 15 " + name + " 2>&1", KeepGoing: true})
	keep := ""
	if old != nil {
		keep = old.ID
	}
	b.Add("rm", sshexec.Step{Title: "remove the new container", Script: fmt.Sprintf(
		`for c in %s %s; do id=$(docker container inspect -f '{{.Id}}' "$c" 2>/dev/null) || continue; [ "$id" = %s ] || docker rm --force --volumes "$id" || exit; done`,
		name, sshexec.Quote(j.next), sshexec.Quote(keep))})
	j.dropMounts(b)
	if old != nil {
		b.Add("rename", sshexec.Step{Title: "give the old container its name back", Script: fmt.Sprintf(
			`[ "$(docker container inspect -f '{{.Name}}' %[1]s)" = /%[2]s ] || docker rename %[1]s %[2]s`, old.ID, name)})
		b.Run("start", "start the old container again", "docker", "start", old.ID)
		ready := readyStep(old.ID, j.Spec.Ready, j.Spec.DeployTimeout)
		ready.Title, ready.KeepGoing = "wait until the old container is ready", true
		b.Add("ready", ready)
	} else {
		j.addUndo(b)
	}
	res, err := j.change(ctx, b)
	j.explain(f, b, res, interrupted(cause))
	switch {
	case err != nil:
		f.Running = "not as it was before: " + err.Error()
		f.Next = "apply again: it looks at what is there before it does anything."
	case old == nil:
		f.Running = "nothing of this accessory; the data that this run created was removed again"
	case b.Done(res, "ready"):
		f.Running = fmt.Sprintf("the old container was put back and is ready (%s)", old.Config.Image)
	default:
		f.Running = fmt.Sprintf("the old container was put back and started (%s), but is not ready yet", old.Config.Image)
	}
	return f
}

// dropUnmade ends a replacement whose new container was not made. Nothing that
// was there before was touched, and nothing of it is touched now.
func (j *job) dropUnmade(ctx context.Context, f *fleet.Failure) error {
	f.Running = "nothing, as before: no container was touched"
	if j.have.Running() {
		f.Running = fmt.Sprintf("the old container, which was not touched and serves on (%s)", j.have.Current.Config.Image)
	}
	if f.Next = fleet.AdviceFor(f.Err); f.Next == "" {
		f.Next = "mend what the server complains of, and apply again."
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTime)
	defer cancel()
	b := j.batch("remove what was there for the new container only")
	j.dropMounts(b)
	b.Add("unlock", kamal.Unlock(j.Spec.Service, j.fleet.Run))
	// What stays because this fails, the next apply removes.
	res, _ := j.change(ctx, b)
	j.locked = !b.Done(res, "unlock")
	return f
}

// dropMounts removes the secret files of the new container.
func (j *job) dropMounts(b *fleet.Batch) {
	for _, m := range []secret.Mount{j.mounts.secrets, j.mounts.files} {
		if !m.Empty() {
			b.Add("mount", m.Remove())
		}
	}
}

// addUndo takes away what a failed create made. Nobody has used its data: the
// container was never ready.
func (j *job) addUndo(b *fleet.Batch) {
	b.Add("data", removeData(j.fresh)...)
	b.Add("files", j.removeFiles())
	if j.Create {
		b.Add("mark", kamal.RemoveMark(MarkKind, j.name()))
	}
}

// explain adds to a failure what was seen of the new container. cut says that
// nobody waited for it to the end: that it isn't ready yet is no fault of it.
func (j *job) explain(f *fleet.Failure, b *fleet.Batch, res *sshexec.Result, cut bool) {
	list, err := docker.ParseContainers(b.Result(res, "inspect").Stdout)
	if err != nil || len(list) != 1 || j.plan.Old != nil && list[0].ID == j.plan.Old.ID {
		return
	}
	c := list[0]
	var lines []string
	if st := c.State; st != nil {
		switch {
		case st.OOMKilled:
			lines = append(lines, "the kernel killed the container for want of memory (OOM)")
			f.Next = "raise `memory`, or give the server more memory or a swap file."
		case st.Status == "created" && cut:
			lines = append(lines, "the new container was made and not started yet")
		case st.Status == "created":
			lines = append(lines, "docker could not start the container: its command can't be executed, or a mount or a port is not to be had")
			f.Next = "see docker's words above; check `ports`, `command` and `volumes`."
		case !st.Running || c.RestartCount > 0:
			lines = append(lines, "the container ended instead of getting ready")
			f.Next = "see its last log lines above: most often a variable is missing, or the data is of another version."
		case cut:
			lines = append(lines, "the container ran, and was given up because nobody could wait for it any longer")
		default:
			lines = append(lines, "the container runs, but did not get ready in time")
			f.Next = "see its last log lines above; if it only starts slowly, raise deploy_timeout."
		}
		lines = append(lines, fmt.Sprintf("  Container: %s, exit code %d, restarts %d, out of memory %t", st.Status, st.ExitCode, c.RestartCount, st.OOMKilled))
	}
	if logs := strings.TrimSpace(b.Out(res, "logs")); logs != "" {
		lines = append(lines, "  The container's last log lines:\n    "+strings.ReplaceAll(logs, "\n", "\n    "))
	}
	f.Cause = strings.TrimSpace(f.Cause + "\n" + strings.Join(lines, "\n"))
}

// removeFiles removes the accessory's files and what is empty without them.
func (j *job) removeFiles() sshexec.Step {
	app := sshexec.Quote(kamal.AppDir(j.Spec.Service))
	mounts := secret.RemoveMounts(j.Spec.Service, j.Spec.mountOwner(), nil)
	return sshexec.Step{Title: "remove the accessory's files", Script: mounts.Script + "; rm -rf " + sshexec.Quote(j.Spec.filesDir()) +
		"; rm -f " + sshexec.Quote(j.Spec.EnvFile()) + "; rmdir " + sshexec.Quote(j.name()) + " " + app + "/env/accessories " + app + "/env " + app + " 2>/dev/null; :"}
}

// removeData removes data that was created, as kamal.Mark.Created has it. What
// docker refuses, because another container uses it, stays.
func removeData(created []string) []sshexec.Step {
	var steps []sshexec.Step
	for _, c := range created {
		kind, name, _ := strings.Cut(c, " ")
		q := sshexec.Quote(name)
		switch kind {
		case "volume":
			steps = append(steps, sshexec.Step{Title: "remove the volume " + name, KeepGoing: true,
				Script: "! docker volume inspect " + q + " >/dev/null 2>&1 || docker volume rm " + q})
		case "directory":
			steps = append(steps, sshexec.Step{Title: "remove the directory " + name, KeepGoing: true, Script: "rm -rf " + q})
		}
	}
	return steps
}
