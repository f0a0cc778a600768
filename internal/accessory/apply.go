package accessory

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/kamal"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

// A Change is what is to be done with an accessory.
type Change struct {
	Spec   Spec
	Server string
	// MachineID is the machine that the state knows the accessory on; "" for a create.
	MachineID string
	// Create refuses what somebody else has made, and undoes itself when it fails.
	Create bool
	// ImportID is the id to tell users who should import instead.
	ImportID string
}

// A Warning is something that did not stop the work.
type Warning struct{ Summary, Detail string }

// Apply makes the accessory what its spec wants. State is what is there
// afterwards; nil where that could not be seen, and after a failed create,
// which leaves nothing. An error is a *fleet.Failure.
func Apply(ctx context.Context, f *fleet.Fleet, c Change) (*State, []Warning, error) {
	done, err := f.QueueApp(ctx, c.Spec.Service)
	if err != nil {
		return nil, nil, err
	}
	defer done()
	j := &job{Change: c, fleet: f, server: f.Server(c.Server)}
	stop := f.KeepAlive(ctx, j.server, c.Spec.Service, kamal.MarkPath(MarkKind, c.Spec.ContainerName()))
	defer stop()
	err = j.run(ctx)
	if err == nil && j.state == nil {
		if j.state = j.look(ctx); j.state == nil {
			err = j.failure(errors.New("the container could not be seen after the work was done"))
		}
	}
	if err == nil {
		return j.state, j.warnings, nil
	}
	j.unlock(ctx)
	if c.Create {
		return nil, j.warnings, err
	}
	return j.look(ctx), j.warnings, err
}

// job is a Change under way.
type job struct {
	Change
	fleet  *fleet.Fleet
	server *fleet.Server
	have   Observed
	plan   Plan
	locked bool
	image  *docker.Image
	// fresh is the data that this run creates, as in kamal.Mark.Created.
	fresh []string
	// newID is the container that is to be ready, "" before it is there.
	newID string
	// next is the new container's name until it takes the old one's place.
	next string
	// mounts hold the new container's secret files.
	mounts mounts
	// touched: the call that stops the old container was made.
	touched  bool
	state    *State
	warnings []Warning
}

func (j *job) warn(summary, detail string) {
	j.warnings = append(j.warnings, Warning{summary, detail})
}

func (j *job) name() string { return j.Spec.ContainerName() }

func (j *job) run(ctx context.Context) error {
	if err := j.lock(ctx); err != nil {
		return j.failure(err)
	}
	if f := j.check(); f != nil {
		return j.complete(f)
	}
	j.plan = Build(j.Spec, j.have)
	if j.plan.Converged() {
		if st, ok := j.have.State(); ok {
			j.state = &st
		}
		j.unlock(ctx)
		return nil
	}
	if j.plan.Replace {
		if err := j.prepare(ctx); err != nil {
			return err
		}
	}
	if err := j.start(ctx); err != nil {
		return j.giveUp(ctx, err)
	}
	if err := j.finish(ctx); err != nil {
		if interrupted(err) {
			// The new container is ready, and may be the one that serves by now.
			f := j.failure(err)
			f.Running, f.Next = "the new container, which is ready", "apply again: it finishes what is left to do."
			return f
		}
		return j.giveUp(ctx, err)
	}
	return nil
}

// lock takes the deploy lock, looks at the server, and finds out which data
// is not there yet.
func (j *job) lock(ctx context.Context) error {
	res, snap, locked, err := j.fleet.LockApp(ctx, j.server, j.Spec.Service, j.Spec.Name, missingData(j.Spec))
	j.locked = locked
	if err != nil {
		return err
	}
	if j.have, err = Observe(snap, j.Spec.Service, j.Spec.Name); err != nil {
		return err
	}
	j.have.DeadLock = false // the lock that was dead is ours now
	j.fresh = strings.FieldsFunc(res.Out(1), func(r rune) bool { return r == '\n' })
	return nil
}

// missingData prints, as lines of kamal.Mark.Created, the volumes and
// directories that are not there.
func missingData(s Spec) sshexec.Step {
	script := ":"
	for _, v := range s.namedVolumes() {
		script += "\ndocker volume inspect " + sshexec.Quote(v) + " >/dev/null 2>&1 || printf '%s\\n' " + sshexec.Quote("volume "+v)
	}
	for _, d := range s.madeDirectories("$PWD") {
		script += "\nd=" + quoteHome(d) + `; [ -e "$d" ] || printf 'directory %s\n' "$d"`
	}
	return sshexec.Step{Title: "look which volumes and directories are there", Script: script}
}

// quoteHome quotes a path that may begin with the variable $PWD, the SSH user's home.
func quoteHome(p string) string {
	if rest, ok := strings.CutPrefix(p, "$PWD"); ok {
		return `"$PWD"` + sshexec.Quote(rest)
	}
	return sshexec.Quote(p)
}

// start makes the new container, then puts the old one aside, starts the new
// one in its place, and waits until it is ready. What docker refuses in the
// new one's options it refuses while the old one still runs: a *notMade.
func (j *job) start(ctx context.Context) error {
	if !j.plan.Replace {
		j.newID, j.image = j.have.Current.ID, j.have.Image
		b := j.batch("wait for the container")
		b.Add("ready", readyStep(j.newID, j.Spec.Ready, j.Spec.DeployTimeout))
		res, err := j.change(ctx, b)
		return asNotReady(err, b.Result(res, "ready"), j.Spec.DeployTimeout)
	}
	b := j.batch("replace the container")
	env := j.Spec.EnvSecrets()
	b.Call.Vars = env.Vars()
	state := kamal.MarkOwned
	if j.Create {
		state = kamal.MarkCreating
	}
	b.Add("mark", kamal.WriteMark(j.mark(state, j.fresh)))
	j.addFiles(b)
	j.mounts = j.Spec.newMounts()
	j.addMounts(b)
	switch network := j.Spec.Network; {
	case network == kamal.Network:
		b.Add("network", kamal.MakeNetwork())
	case network != "default" && !strings.Contains(network, ":"): // neither that nor container:NAME can be inspected
		b.Run("network", "look for the network "+network, "docker", "network", "inspect", "--format", "{{.Id}}", network)
	}
	j.removeUnstarted(b)
	j.next = j.name() + unstarted + fleet.Random(16)
	run := j.Spec.run(j.server.Address(), j.have.Snapshot.Facts.Home, j.fleet.Run, j.mounts, j.plan.Carried)
	// If this run dies now, a restart of docker must not start it beside the old one.
	policy := run.Restart
	run.Name, run.Restart = j.next, "no"
	b.Add("create", sshexec.Step{Title: "make the container " + j.name(), Script: env.RunScript(run.CreateArgv())})
	if c := j.plan.Remove; c != nil {
		b.Run("remove", "remove "+c.ContainerName()+", which was never found ready", j.plan.removeArgv()...)
	}
	if c := j.plan.Old; c != nil {
		b.Run("stop", "stop the old container", "docker", "stop", "-t", strconv.Itoa(seconds(j.Spec.StopTimeout)), c.ID)
		if c.ContainerName() == j.name() {
			b.Run("aside", "put the old container aside", "docker", "rename", c.ID, j.name()+aside+fleet.Random(16))
		}
	}
	b.Run("rename", "give the new container its name", "docker", "rename", j.next, j.name())
	if policy != run.Restart {
		b.Run("restart", "set its restart policy", "docker", "update", "--restart", policy, j.name())
	}
	b.Run("start", "start the container "+j.name(), "docker", "start", j.name())
	b.Add("ready", readyStep(j.name(), j.Spec.Ready, j.Spec.DeployTimeout))
	j.touched = true
	res, err := j.change(ctx, b)
	if err != nil && res != nil && !b.Done(res, "create") {
		return &notMade{err}
	}
	j.newID = b.Out(res, "create")
	return asNotReady(err, b.Result(res, "ready"), j.Spec.DeployTimeout)
}

// removeUnstarted removes what runs left that died before they stopped anything.
func (j *job) removeUnstarted(b *fleet.Batch) {
	for _, c := range j.have.Unstarted {
		b.Run("unstarted", "remove "+c.ContainerName()+", which was never started", "docker", "rm", "--force", "--volumes", c.ID)
	}
}

// A notMade says that the new container was not made, and the old one not touched.
type notMade struct{ err error }

func (e *notMade) Error() string { return e.err.Error() }

func (e *notMade) Unwrap() error { return e.err }

// addFiles makes the directories and writes the files.
func (j *job) addFiles(b *fleet.Batch) {
	home := j.have.Snapshot.Facts.Home
	for _, d := range j.Spec.madeDirectories(home) {
		script := "mkdir -p " + sshexec.Quote(d)
		if rest, ok := strings.CutPrefix(d, home+"/"); ok {
			script = "putdir " + sshexec.Quote(rest)
		}
		b.Add("directory", sshexec.Step{Title: "make the directory " + d, Script: script})
	}
	for _, f := range j.Spec.Files {
		if f.Secret {
			continue // see addMounts
		}
		local := f.local(j.Spec)
		b.Add("file", sshexec.Step{Title: "write the file " + f.Path,
			Script: "printf '%s' " + sshexec.Quote(f.Content) + " | put " + sshexec.Quote(local)}, f.own(local))
	}
}

// batch begins a call that ends at once if the deploy lock is no longer ours.
func (j *job) batch(title string) *fleet.Batch {
	b := fleet.NewBatch(title)
	b.Add("lock", kamal.HoldsLock(j.Spec.Service, j.fleet.Run))
	return b
}

// change runs a batch; the error is the transport's or the failed step's.
func (j *job) change(ctx context.Context, b *fleet.Batch) (*sshexec.Result, error) {
	res, err := j.server.Change(ctx, b.Call)
	if err != nil {
		return nil, err
	}
	return res, b.Failed(res)
}

// mark is the owner mark, with what was created before and now.
func (j *job) mark(state string, created []string) kamal.Mark {
	m := kamal.Mark{Kind: MarkKind, Name: j.name(), State: state, Run: j.fleet.Run, By: j.fleet.By, At: time.Now().UTC()}
	if j.have.Mark != nil {
		m.Created = slices.Clone(j.have.Mark.Created)
	}
	m.Created = slices.Compact(slices.Sorted(slices.Values(append(m.Created, created...))))
	return m
}

func (j *job) audit(message string) sshexec.Step {
	return kamal.Audit(j.Spec.Service, time.Now(), []string{j.fleet.By, j.Spec.Name}, message)
}

// failure is the error of the accessory's server for err.
func (j *job) failure(err error) *fleet.Failure {
	var f *fleet.Failure
	if !errors.As(err, &f) {
		f = &fleet.Failure{Server: j.Server, Err: err}
	}
	return j.complete(f)
}

// complete adds to a failure what all of them say.
func (j *job) complete(f *fleet.Failure) *fleet.Failure {
	f.What = "replace the accessory " + j.name()
	if j.Create {
		f.What = "create the accessory " + j.name()
	}
	if f.Running == "" {
		f.Running = "what ran before, nothing was changed"
	}
	return f
}

func interrupted(err error) bool {
	var i *sshexec.InterruptedError
	return errors.As(err, &i) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || fleet.IsUnreachable(err)
}
