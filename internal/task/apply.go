package task

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/kamal"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/secret"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

// cleanupTime bounds what is done after a failure.
const cleanupTime = time.Minute

// A State is what is kept of a run that succeeded.
type State struct {
	// RanAt is when the command ended, by the server's clock.
	RanAt             time.Time
	Digest, MachineID string
	// Secrets are the spec's secrets as the command had them; without those
	// of which nobody knows it.
	Secrets secret.Set
}

// A Warning is something that did not stop the work.
type Warning struct{ Summary, Detail string }

// Apply runs the command, or takes the outcome of a run of it that was cut
// off. An error is a *fleet.Failure.
func Apply(ctx context.Context, f *fleet.Fleet, server string, spec Spec) (*State, []Warning, error) {
	done, err := f.QueueApp(ctx, spec.App())
	if err != nil {
		return nil, nil, err
	}
	defer done()
	j := &job{Spec: spec, fleet: f, server: f.Server(server)}
	stop := f.KeepAlive(ctx, j.server, spec.App())
	defer stop()
	st, err := j.run(ctx)
	if err != nil && j.underWay == "" {
		// A job that goes on keeps the lock: it is as if its run still held it.
		j.tidy(ctx, "")
	}
	return st, j.warnings, err
}

// job is a run under way.
type job struct {
	Spec
	fleet  *fleet.Fleet
	server *fleet.Server
	have   Observed
	plan   Plan
	image  *docker.Image
	locked bool
	// underWay is the container of a job that may be running with nobody who
	// waits for it, "" if there is none.
	underWay string
	// concluded are the containers whose outcome was seen.
	concluded []string
	warnings  []Warning
}

func (j *job) warn(summary, detail string) {
	j.warnings = append(j.warnings, Warning{summary, detail})
}

func (j *job) run(ctx context.Context) (*State, error) {
	if err := j.lock(ctx); err != nil {
		return nil, j.failure(err)
	}
	if f := j.have.Snapshot.NoDocker(); f != nil {
		return nil, j.failure(f)
	}
	j.plan = Build(j.Spec, j.have)
	j.hide()
	for _, c := range j.plan.Unstarted {
		j.concluded = append(j.concluded, c.ContainerName())
	}
	if err := j.waitForOthers(ctx); err != nil {
		return nil, err
	}
	if err := j.concludeEarlier(ctx); err != nil {
		return nil, err
	}
	var o Outcome
	var err error
	if c := j.plan.Adopt; c != nil {
		o, err = j.follow(ctx, nil, c.ContainerName(), true)
	} else if err = j.prepare(ctx); err == nil {
		o, err = j.start(ctx)
	}
	if err != nil {
		return nil, j.failure(err)
	}
	return j.finish(ctx, o)
}

// lock takes the deploy lock and looks at the server.
func (j *job) lock(ctx context.Context) error {
	_, snap, locked, err := j.fleet.LockApp(ctx, j.server, j.App(), "task "+j.Name)
	j.locked = locked
	if err == nil {
		j.have = Observe(snap, j.Spec)
	}
	return err
}

// hide registers for redaction the values of the jobs that were found: a
// secret that has changed since may stand in their output.
func (j *job) hide() {
	for _, c := range j.have.Jobs {
		had := j.have.Snapshot.Secrets(c)
		for _, name := range slices.Concat(j.Secrets.Names(), j.have.Snapshot.SecretNames(c)) {
			j.fleet.AddSecret(had[name])
		}
	}
}

// waitForOthers waits for other tasks' jobs, and leaves them to their tasks.
func (j *job) waitForOthers(ctx context.Context) error {
	for _, c := range j.plan.Others {
		o, err := j.follow(ctx, nil, c.ContainerName(), false)
		if err != nil {
			return j.failure(err)
		}
		if o.TimedOut {
			return j.failure(&fleet.Failure{Step: "wait for a job of the task " + c.Labels()[LabelTask],
				Cause: fmt.Sprintf("a job of another task of the app still runs, in the container %s, more than %s after it was started; two tasks of an app never run at once", c.ContainerName(), j.Timeout),
				Next:  "apply that task, which takes its outcome; or stop it: docker stop " + c.ContainerName()})
		}
	}
	return nil
}

// concludeEarlier waits for jobs of this task that were cut off and are not
// what is wanted now, and tells what became of them.
func (j *job) concludeEarlier(ctx context.Context) error {
	for _, c := range j.plan.Earlier {
		o, err := j.follow(ctx, nil, c.ContainerName(), true)
		if err != nil {
			return j.failure(err)
		}
		j.concluded = append(j.concluded, o.Container)
		if o.TimedOut {
			f := j.ended(o)
			f.Cause = "a job of an earlier apply, with other triggers, secrets or another configuration, still ran: " + f.Cause
			f.Next = "see what it has left undone. The next apply runs the command as it is configured now."
			return f
		}
		j.warn(fmt.Sprintf("An earlier job of the task %s was found on %s", j.ID(), j.server.Name),
			"It was cut off from its apply, and had other triggers, secrets or another configuration: "+o.Words(j.Timeout)+"."+indented(o.Output)+
				"\n\nIts container was removed, and the command was run as it is configured now.")
	}
	return nil
}

// prepare gets the image and looks at it.
func (j *job) prepare(ctx context.Context) error {
	if j.image = docker.FindImage(j.Image, j.have.Snapshot.Images); j.plan.Pull {
		image, err := j.fleet.Pull(ctx, j.server, j.holdsLock(), j.Image)
		if err != nil {
			f := j.failure(err)
			f.Next = docker.PullAdvice(j.Image, j.server.Name, j.fleet.Logins, err)
			return f
		}
		j.image = image
	}
	problem := "the image " + j.Image + " is not there after the pull"
	if j.image != nil {
		problem = j.image.Problem(j.Image, j.Command, j.have.Snapshot.Docker.Arch)
	}
	if problem == "" {
		return nil
	}
	return &fleet.Failure{Step: "check the image before it is run", Cause: problem, Next: "mend the image, and apply again."}
}

// start runs the command in a new container and waits for its end, in one
// call. The container's name stays the same in all tries, so that docker
// itself refuses to run it twice.
func (j *job) start(ctx context.Context) (Outcome, error) {
	name := j.containerName(fleet.Random(12))
	for try := 1; ; try++ {
		o, err := j.follow(ctx, j.startCall(name), name, true)
		var failed *notStarted
		switch {
		case errors.Is(err, errNeverMade) && try < 3:
			continue
		case errors.As(err, &failed):
			if try > 1 {
				// The name may be taken because a call that was given up was slow.
				if o, again := j.follow(ctx, nil, name, true); again != nil || !o.Gone {
					return o, again
				}
			}
			j.concluded = append(j.concluded, name) // docker may have made it
		}
		return o, err
	}
}

func (j *job) startCall(name string) *fleet.Batch {
	env, files := j.Secrets.Split(j.AsFiles)
	mount := secret.NewMount(j.App(), j.mountOwner(), files)
	b := j.batch("run the command")
	b.Call.Vars = slices.Concat(env.Vars(), mount.Vars())
	if !mount.Empty() {
		b.Add("files", mount.Step())
	}
	if j.Network == kamal.Network {
		b.Add("network", kamal.MakeNetwork())
	}
	run := j.Spec.run(name, j.server.Address(), j.have.Snapshot.Facts.Home, j.fleet.Run, mount, j.image.Labels())
	b.Add("run", sshexec.Step{Title: "run the container " + name, Script: env.RunScript(run.Argv())})
	j.addWatch(b, name, true)
	return b
}

// batch begins a call that ends at once if the deploy lock is no longer ours.
func (j *job) batch(title string) *fleet.Batch {
	b := fleet.NewBatch(title)
	b.Add("lock", j.holdsLock())
	return b
}

func (j *job) holdsLock() sshexec.Step { return kamal.HoldsLock(j.App(), j.fleet.Run) }
