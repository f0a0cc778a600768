package accessory

import (
	"strings"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/kamal"
)

// A Plan is what has to happen to make the accessory what its spec wants. It
// is data, made from the spec and what was observed alone.
type Plan struct {
	// Why says what is not as wanted, in words for logs; empty: converged.
	Why []string
	// Replace: a new container takes the place of what is there. Without it,
	// what is there fits, and has only to be found ready and tidied up.
	Replace bool
	// Pull: the image is not there, or the registry is to be asked anyway.
	Pull bool
	// Old is the last container that was ready: it is put back if the new one
	// fails. Nil: there is none.
	Old *docker.Container
	// Remove is a container that was never found ready, nil if there is none.
	Remove *docker.Container
	// Carried are anonymous volumes that the new container takes over, as binds.
	Carried []string
}

// Converged says that there is nothing to do.
func (p Plan) Converged() bool { return len(p.Why) == 0 }

// Build compares what is wanted with what is there. The same input gives the
// same plan.
func Build(want Spec, have Observed) Plan {
	p := Plan{Why: have.Drift()}
	// A mark that is not finished is of a create that died: what it started
	// was never found ready.
	unproven := have.Aside != nil || have.Mark != nil && have.Mark.State == kamal.MarkCreating
	if unproven && have.Running() && len(p.Why) == 0 {
		p.Why = append(p.Why, "a create was not finished")
	}
	replace := func(why string) { p.Why, p.Replace = append(p.Why, why), true }
	switch {
	case have.Current == nil:
		replace("there is no container " + want.ContainerName())
	case !have.Running():
		replace("the container " + want.ContainerName() + " does not run")
	default:
		d := want.Differs(have)
		if !want.secretsArrived(have) {
			d = append(d, "secrets")
		}
		if len(d) > 0 {
			replace("other " + strings.Join(d, ", "))
		}
	}
	p.Old = have.Aside
	if !p.Replace {
		return p
	}
	p.Pull = want.PullAlways || docker.FindImage(want.Image, have.Snapshot.Images) == nil
	if unproven {
		p.Remove = have.Current
	} else {
		p.Old = have.Current
	}
	data := p.Old
	if data == nil {
		data = p.Remove
	}
	p.Carried = want.carried(data)
	return p
}

// removeArgv removes the container Remove. Its own anonymous volumes stay where
// they may hold something: where the new container takes them over, or where it
// was ever started.
func (p Plan) removeArgv() []string {
	argv := []string{"docker", "rm", "--force"}
	if p.Old != nil && p.Remove.Status() == "created" {
		argv = append(argv, "--volumes")
	}
	return append(argv, p.Remove.ID)
}
