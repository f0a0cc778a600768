package task

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/kamal"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/secret"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

// finish takes a job's outcome, now that it is here. Only then does its
// container go: on a connection that died without a word the script runs to
// its end, and a container that it had removed would look as if nothing had
// run.
func (j *job) finish(ctx context.Context, o Outcome) (*State, error) {
	j.concluded = append(j.concluded, o.Container)
	if !o.Succeeded() {
		j.tidy(ctx, fmt.Sprintf("Task %s failed with exit code %d", j.Name, o.ExitCode))
		return nil, j.ended(o)
	}
	j.tidy(ctx, "Ran task "+j.Name)
	st := &State{RanAt: o.Finished.UTC(), MachineID: j.have.Snapshot.Facts.MachineID, Secrets: j.Secrets}
	if o.Finished.IsZero() {
		st.RanAt = time.Now().UTC()
	}
	if c := j.plan.Adopt; c == nil {
		st.Digest = j.image.DigestOf(j.Image)
	} else {
		j.warnAdopted(o)
		if image := j.have.Snapshot.Image(c.InspectResponse.Image); image != nil {
			st.Digest = image.DigestOf(c.Config.Image)
		}
		st.Secrets = secret.Set{}
		had := j.have.Snapshot.Secrets(*c)
		for name := range j.Secrets {
			if value, ok := had[name]; ok {
				st.Secrets[name] = value
			}
		}
	}
	return st, nil
}

// warnAdopted tells that nothing was started.
func (j *job) warnAdopted(o Outcome) {
	how := "had ended"
	if j.plan.Adopt.Running() {
		how = "was still running, and was waited for"
	}
	j.warn(fmt.Sprintf("The task %s was not started again on %s", j.ID(), j.server.Name),
		fmt.Sprintf("An earlier apply with the same triggers and configuration started it, in the container %s, and was cut off. Its job %s: %s. It is taken for this apply's.",
			o.Container, how, o.Words(j.Timeout)))
}

// tidy removes the containers whose outcome was seen and the secret files of
// all but those whose was not, and gives the lock back. audit is a line for
// the audit log, or "".
func (j *job) tidy(ctx context.Context, audit string) {
	if !j.locked {
		return
	}
	j.locked = false // whatever becomes of it, it is done once
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTime)
	defer cancel()
	b := j.batch("remove the container and give the deploy lock back")
	for _, name := range j.concluded {
		// Without a look first, docker rm complains of one that is gone.
		q := sshexec.Quote(name)
		b.Add("rm", sshexec.Step{Title: "remove the container " + name, KeepGoing: true,
			Script: "! docker container inspect " + q + " >/dev/null 2>&1 || docker rm --force --volumes " + q + " >/dev/null"})
	}
	if j.have.Snapshot != nil {
		b.Add("files", secret.RemoveMounts(j.App(), j.mountOwner(), j.filesInUse()))
	}
	if audit != "" {
		b.Add("audit", kamal.Audit(j.App(), time.Now(), []string{j.fleet.By, j.Destination, j.Name}, audit))
	}
	b.Add("unlock", kamal.Unlock(j.App(), j.fleet.Run))
	res, err := j.server.Change(ctx, b.Call)
	for again := false; ; again = true {
		if err == nil && again && !b.Done(res, "lock") {
			return // the call that was given up has come to its end
		}
		if err == nil || !lostContact(err) || fleet.Pause(ctx, retryAfter) != nil {
			break
		}
		res, err = j.server.Change(ctx, b.Call)
	}
	if err == nil {
		err = res.Err()
	}
	if err != nil {
		j.warn("Not everything could be tidied up on "+j.server.Name,
			fmt.Sprintf("%v\n\nThe container of a job that has ended may be left there, and the deploy lock ~/%s. The next run of this provider takes it over after %s; for the Kamal CLI, release it with `kamal lock release`.",
				err, kamal.LockDir(j.App()), kamal.Dead))
	}
}

// filesInUse are the directories of secret files of jobs that are not concluded.
func (j *job) filesInUse() []string {
	var keep []string
	for _, c := range j.have.Jobs {
		if slices.Contains(j.concluded, c.ContainerName()) {
			continue
		}
		for _, m := range j.have.Snapshot.SecretMounts(c) {
			keep = append(keep, m.Base)
		}
	}
	return keep
}

// ended is the failure of a job that ended, and not well.
func (j *job) ended(o Outcome) *fleet.Failure {
	f := j.failure(nil)
	f.Step = "wait for the end of the command"
	f.Cause = o.Words(j.Timeout)
	if j.plan.Adopt != nil {
		f.Cause = "an earlier apply with the same triggers and configuration started the command and was cut off: " + f.Cause
	}
	if o.Output != "" {
		f.Cause += ".\nThe end of its output:" + indented(o.Output)
	}
	f.Running = "the command has ended; nothing else was changed: what depends on the task was not applied."
	f.Next = o.advice()
	return f
}

// indented is a text on lines of its own, which no CLI wraps.
func indented(text string) string {
	if text == "" {
		return ""
	}
	return "\n    " + strings.ReplaceAll(text, "\n", "\n    ")
}

// failure is the error of the task's server for err.
func (j *job) failure(err error) *fleet.Failure {
	var f *fleet.Failure
	if !errors.As(err, &f) {
		f = &fleet.Failure{Err: err}
	}
	f.What, f.Server = "run the task "+j.ID(), j.server.Name
	if errors.Is(err, context.Canceled) {
		f.Cause = "the apply was interrupted by hand"
	}
	if j.underWay != "" {
		f.Running = fmt.Sprintf("the job goes on in the container %s as far as anybody knows, and nobody waits for it. It keeps the app's deploy lock for the time being.", j.underWay)
		f.Next = fmt.Sprintf("apply again: it waits for the job's end and takes its outcome, and does not start it a second time (it may have to wait %s for the lock first). "+
			"To stop the job, on the server: docker stop %s", kamal.Dead, j.underWay)
	}
	var start *notStarted
	if errors.As(err, &start) {
		f.Err, f.Running = start.err, "nothing: the command was not started, and what depends on the task was not applied."
		f.Cause, f.Next = startTrouble(start.err)
	}
	if f.Running == "" {
		f.Running = "nothing of the task: the command was not started, and what depends on it was not applied."
	}
	return f
}

// startTrouble explains a docker run that failed; docker's words stand above.
func startTrouble(err error) (cause, next string) {
	var step *sshexec.StepError
	if !errors.As(err, &step) {
		return "", ""
	}
	switch step.ExitCode {
	case 126, 127:
		o := Outcome{ExitCode: step.ExitCode}
		return o.why(), o.advice()
	}
	return "docker refused to run the container, in its words above", "mend what docker complains of, and apply again."
}
