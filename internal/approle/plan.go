package approle

import (
	"slices"
	"strings"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
)

// A Plan is what has to happen on one server to make the role what its spec
// wants. It is data, made from the spec and what was observed alone.
type Plan struct {
	Server string
	// Why says what is not as wanted, in words for logs; empty: converged.
	Why []string
	// Swap: a new container takes the place of Old.
	Swap bool
	// Pull: the image is not there, or the registry is to be asked anyway.
	Pull bool
	// Name is the new container's.
	Name string
	// Rename is a container that has the new one's name and is kept: it is the
	// one that serves, or a stopped one of the same version.
	Rename *docker.Container
	// Remove are containers that no one needs, left by a run that died: one
	// that has the new one's name and never served, and what an unfinished
	// create made.
	Remove []docker.Container
	// Old are the running containers to stop once the new one serves.
	Old []docker.Container
	// Target is the container that the proxy's entry has to point to; nil with
	// Swap (it does not exist yet) and where there is no entry.
	Target *docker.Container
}

// Converged says that there is nothing to do.
func (p Plan) Converged() bool { return len(p.Why) == 0 }

// Build compares what is wanted with what is there. The same input gives the
// same plan.
func Build(want Spec, have Observed) Plan {
	p := Plan{Server: have.Server, Name: want.Role.ContainerName(want.Version())}
	switch {
	case have.Current == nil:
		p.swap("there is no container of the role")
	case have.unfinished():
		p.swap("a run that died did not finish creating it")
	case !have.Running():
		p.swap("the container " + have.Current.ContainerName() + " does not run")
	default:
		d := want.Differs(have)
		if !want.secretsArrived(have) {
			d = append(d, "secrets")
		}
		if len(d) > 0 {
			p.swap("other " + strings.Join(d, ", "))
		}
	}
	if !p.Swap {
		p.settle(want, have)
		return p
	}
	p.Pull = want.PullAlways || docker.FindImage(want.Image, have.Snapshot.Images) == nil
	for _, c := range have.all() {
		current := c.ID == have.Current.ID
		switch {
		case current && have.unfinished(), !current && c.Running() && c.ContainerName() == p.Name,
			// docker run was cut off before it started the container.
			c.ContainerName() == p.Name && (c.Status() == "created" || have.neverServed(c)):
			p.Remove = append(p.Remove, c)
		case c.ContainerName() == p.Name:
			p.Rename = &c
		}
		if c.Running() && !p.removes(c.ID) {
			p.Old = append(p.Old, c)
		}
	}
	return p
}

func (p Plan) removes(id string) bool {
	return slices.ContainsFunc(p.Remove, func(c docker.Container) bool { return c.ID == id })
}

func (p *Plan) swap(why string) {
	p.Swap = true
	p.Why = append(p.Why, why)
}

// settle is for a server whose container fits: what a run that died left.
func (p *Plan) settle(want Spec, have Observed) {
	if want.AppPort > 0 && have.Entry != nil && !have.serves() {
		p.Why = append(p.Why, "kamal-proxy sends traffic elsewhere")
		p.Target = have.Current
	}
	p.Old = have.stale()
	for _, c := range p.Old {
		p.Why = append(p.Why, "another container of the role runs: "+c.ContainerName())
	}
	if have.DeadLock {
		p.Why = append(p.Why, "a run that died left its lock")
	}
}

// all are the role's containers, Current first.
func (o Observed) all() []docker.Container {
	if o.Current == nil {
		return o.Others
	}
	return append([]docker.Container{*o.Current}, o.Others...)
}
