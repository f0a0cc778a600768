package approle

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/kamal"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/proxy"
)

// MarkKind is the kind of the owner marks of roles; their name is the role's prefix.
const MarkKind = "role"

// Observed is what is there of a role on one server.
type Observed struct {
	Server string
	Role   kamal.Role
	// Current is the container that is the role: the running one that the
	// proxy sends traffic to, else the running one that the state knows (a
	// newer one may be what a run that died left half-booted), else the newest
	// running one, else the recorded one, else the newest. Nil: there is none.
	Current *docker.Container
	// Others are the role's other containers, newest first.
	Others []docker.Container
	// Image is Current's, nil if it is gone from the server.
	Image *docker.Image
	// Entry is the role's service at kamal-proxy, nil if there is none.
	Entry    *proxy.Entry
	Mark     *kamal.Mark
	DeadLock bool
	// SecretNames are the variables in the role's env file on the server.
	SecretNames []string
	Snapshot    *fleet.Snapshot
}

// Observe finds a role in a snapshot. recorded is the id of the container that
// the state knows, or "".
func Observe(snap *fleet.Snapshot, role kamal.Role, recorded string) (Observed, error) {
	o := Observed{Server: snap.Server, Role: role, Snapshot: snap, Mark: snap.Mark(MarkKind, role.Prefix())}
	if snap.Proxy.Container != nil {
		entries, err := proxy.ParseState(snap.Proxy.State)
		if err != nil {
			return o, fmt.Errorf("the state file of kamal-proxy on %s: %w", snap.Server, err)
		}
		o.Entry = proxy.Find(entries, role.Prefix())
	}
	o.SecretNames = snap.EnvNames[kamal.RoleEnvFile(role)]
	for _, l := range snap.Locks {
		o.DeadLock = o.DeadLock || (l.App == role.App() && l.Run != "" && l.Age > kamal.Dead)
	}

	var all []docker.Container
	for _, c := range snap.Containers {
		if role.Owns(c.ContainerName(), c.Labels()) {
			all = append(all, c)
		}
	}
	slices.SortFunc(all, func(a, b docker.Container) int {
		return cmp.Or(b.CreatedAt().Compare(a.CreatedAt()), strings.Compare(a.ID, b.ID))
	})
	i := current(all, o.Entry, recorded)
	if i < 0 {
		return o, nil
	}
	c := all[i]
	o.Current, o.Image = &c, snap.Image(c.InspectResponse.Image)
	o.Others = slices.Delete(all, i, i+1)
	return o, nil
}

func current(newestFirst []docker.Container, entry *proxy.Entry, recorded string) int {
	tests := []func(docker.Container) bool{
		func(c docker.Container) bool { return c.Running() && entry != nil && targets(entry, c.ShortID()) },
		func(c docker.Container) bool { return c.Running() && c.ID == recorded },
		docker.Container.Running,
		func(c docker.Container) bool { return c.ID == recorded },
		func(docker.Container) bool { return true },
	}
	for _, test := range tests {
		if i := slices.IndexFunc(newestFirst, test); i >= 0 {
			return i
		}
	}
	return -1
}

func targets(e *proxy.Entry, shortID string) bool {
	return slices.ContainsFunc(e.Targets(), func(t string) bool { return strings.HasPrefix(t, shortID+":") || t == shortID })
}

// Running says that the role runs on the server.
func (o Observed) Running() bool { return o.Current != nil && o.Current.Running() }

// Hidden says why nobody can tell what there is of the role: docker is on the
// server and doesn't answer, so that its containers are not known. "" else.
func (o Observed) Hidden() string {
	if d := o.Snapshot.Docker; d.Installed && !d.Running {
		return "docker does not answer: " + d.Failure
	}
	return ""
}

// serves says that kamal-proxy sends the role's traffic to Current.
func (o Observed) serves() bool {
	return o.Entry != nil && o.Current != nil && targets(o.Entry, o.Current.ShortID())
}

// unfinished says that Current is what a run left that began to create the
// role and died: nobody knows whether it was ever ready.
func (o Observed) unfinished() bool {
	return o.Mark != nil && o.Mark.State == kamal.MarkCreating && o.Current != nil &&
		o.Current.Labels()[kamal.LabelRun] == o.Mark.Run && !o.serves()
}

// neverServed says that c, which does not run, is what a run left that died
// before it switched to it: Current ran already when c was started, and still
// is what serves. What only may be so has served.
func (o Observed) neverServed(c docker.Container) bool {
	if o.Current == nil || c.ID == o.Current.ID || c.Labels()[kamal.LabelRun] == "" ||
		o.Current.StartedAt().IsZero() || !c.StartedAt().After(o.Current.StartedAt()) {
		return false
	}
	return o.serves() || o.Entry == nil && o.Running()
}

// leftover says that Current is a run's of this provider: where no mark tells
// its owner, that run died, or failed on another server, before the state had it.
func (o Observed) leftover() bool {
	return o.Current != nil && o.Current.Labels()[kamal.LabelRun] != ""
}

// stale are the running containers of the role besides Current: of a run that died, or started by hand.
func (o Observed) stale() []docker.Container {
	var out []docker.Container
	for _, c := range o.Others {
		if c.Running() {
			out = append(out, c)
		}
	}
	return out
}

// An Instance is what the state says about a role on one server.
type Instance struct {
	Container string
	Image     string
	Digest    string
	Running   bool
	MachineID string
	// Drift are sentences on what is not as it should be and shows nowhere else; empty is right.
	Drift []string
}

// Instance describes what is there of the role that spec wants. differs are
// the names of the attributes in which the server's container differs from the
// state.
func (o Observed) Instance(spec Spec, differs []string) (Instance, bool) {
	if o.Current == nil {
		return Instance{}, false
	}
	in := Instance{
		Container: o.Current.ID,
		Image:     o.Current.Config.Image,
		Running:   o.Running(),
		MachineID: o.Snapshot.Facts.MachineID,
	}
	if docker.SameRef(spec.Image, in.Image) {
		in.Image = spec.Image // in the configuration's spelling, which the plan promised
	}
	if o.Image != nil {
		in.Digest = o.Image.DigestOf(in.Image)
	}
	for _, d := range differs {
		in.Drift = append(in.Drift, "other "+d)
	}
	for _, c := range o.stale() {
		in.Drift = append(in.Drift, "another container of the role runs: "+c.ContainerName())
	}
	if spec.AppPort > 0 && o.Entry != nil && in.Running && !o.serves() {
		in.Drift = append(in.Drift, "kamal-proxy sends traffic to "+strings.Join(o.Entry.Targets(), ", "))
	}
	if o.unfinished() {
		in.Drift = append(in.Drift, "a run that died did not finish creating it")
	}
	if o.DeadLock {
		in.Drift = append(in.Drift, "a run that died left the deploy lock of "+spec.Role.App())
	}
	return in, true
}

// EntryPort is the port of the target that kamal-proxy sends the role's traffic to; 0 if there is none.
func (o Observed) EntryPort() int {
	if o.Entry == nil || len(o.Entry.Targets()) == 0 {
		return 0
	}
	_, port, _ := strings.Cut(o.Entry.Targets()[0], ":")
	n, _ := strconv.Atoi(port)
	return n
}
