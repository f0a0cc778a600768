package task

import (
	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
)

// A Plan is what has to happen until the command has run. It is data, made
// from the spec and what was observed alone.
type Plan struct {
	// Others are jobs of other tasks of the app: they are waited for, because
	// two tasks of an app never run at once, and left for their own tasks.
	Others []docker.Container
	// Earlier are jobs of this task that ran something else: they are waited
	// for, their outcome is told, and they go.
	Earlier []docker.Container
	// Unstarted are containers that docker made and did not start before
	// their run was cut off: nothing has run in them, and they go.
	Unstarted []docker.Container
	// Adopt is the job of a run that was cut off that is the wanted one: its
	// outcome is this run's. Nil: the command is yet to be run.
	Adopt *docker.Container
	// Pull: the image is not there, or the registry is to be asked anyway.
	Pull bool
}

// Build compares what is wanted with what is there. The same input gives the
// same plan.
func Build(want Spec, have Observed) Plan {
	p := Plan{Others: have.Others}
	for _, c := range have.Jobs {
		if c.Status() == "created" {
			p.Unstarted = append(p.Unstarted, c)
		} else {
			p.Earlier = append(p.Earlier, c)
		}
	}
	// The last one alone can be the wanted one: one that ran before another
	// was started is not what its triggers are now.
	if n := len(p.Earlier); n > 0 && want.is(have.Snapshot, p.Earlier[n-1]) {
		p.Adopt, p.Earlier = &p.Earlier[n-1], p.Earlier[:n-1]
		return p
	}
	p.Pull = want.PullAlways || docker.FindImage(want.Image, have.Snapshot.Images) == nil
	return p
}

// is says whether a job is the wanted one: what it runs, and what it is
// triggered by, as far as its container tells.
func (s Spec) is(snap *fleet.Snapshot, job docker.Container) bool {
	if job.Labels()[LabelKey] != s.Key() {
		return false
	}
	if s.SecretsVersion != "" {
		return true
	}
	had := snap.Secrets(job)
	for _, name := range s.SecretTriggers {
		if value, known := had[name]; known && value != s.Secrets[name] {
			return false
		}
	}
	return true
}
