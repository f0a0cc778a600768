package accessory

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/kamal"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/proxy"
)

// MarkKind is the kind of the owner marks of accessories; their name is the container's.
const MarkKind = "accessory"

// aside is between the accessory's name and random digits in the name of a
// container that was put aside for its successor.
const aside = "_replaced_"

// unstarted is between the accessory's name and random digits in the name of a
// container that does not have its place yet.
const unstarted = "_next_"

// Observed is what is there of an accessory on its server.
type Observed struct {
	// Current is the container with the accessory's name; where a run died
	// before it started a new one, the one that it put aside. Nil: none.
	Current *docker.Container
	// Aside is the container that a run that died put aside and did not
	// remove: its successor, Current, was never found ready. Nil: none.
	Aside *docker.Container
	// Unstarted are containers that runs which died made and never started.
	Unstarted []docker.Container
	// Foreign: Current is no accessory by its labels.
	Foreign bool
	// Image is Current's, nil if it is gone from the server.
	Image *docker.Image
	// Entry is the service at kamal-proxy, nil if there is none.
	Entry    *proxy.Entry
	Mark     *kamal.Mark
	DeadLock bool
	// SecretNames are the variables in the accessory's env file on the server.
	SecretNames []string
	Snapshot    *fleet.Snapshot
}

// Observe finds an accessory in a snapshot. An error says that kamal-proxy's
// state makes no sense.
func Observe(snap *fleet.Snapshot, service, name string) (Observed, error) {
	spec := Spec{Service: service, Name: name}
	full := spec.ContainerName()
	o := Observed{Snapshot: snap, Mark: snap.Mark(MarkKind, full), SecretNames: snap.EnvNames[spec.EnvFile()]}
	if snap.Proxy.Container != nil {
		entries, err := proxy.ParseState(snap.Proxy.State)
		if err != nil {
			return o, fmt.Errorf("the state file of kamal-proxy on %s: %w", snap.Server, err)
		}
		o.Entry = proxy.Find(entries, full)
	}
	for _, l := range snap.Locks {
		o.DeadLock = o.DeadLock || (l.App == service && l.Run != "" && l.Age > kamal.Dead)
	}
	for i := range snap.Containers {
		switch c := &snap.Containers[i]; {
		case c.ContainerName() == full:
			o.Current = c
			_, isRole := c.Labels()[kamal.LabelRole]
			o.Foreign = isRole || c.Labels()[kamal.LabelService] != full
		case strings.HasPrefix(c.ContainerName(), full+aside) && c.Labels()[kamal.LabelService] == full:
			if o.Aside == nil || c.CreatedAt().After(o.Aside.CreatedAt()) {
				o.Aside = c
			}
		case strings.HasPrefix(c.ContainerName(), full+unstarted) && c.Labels()[kamal.LabelService] == full && c.Status() == "created":
			o.Unstarted = append(o.Unstarted, *c)
		}
	}
	if o.Current == nil {
		o.Current, o.Aside = o.Aside, nil
	}
	if o.Current != nil {
		o.Image = snap.Image(o.Current.InspectResponse.Image)
	}
	return o, nil
}

// Running says that the accessory runs.
func (o Observed) Running() bool {
	return o.Current != nil && o.Current.Running() && !strings.Contains(o.Current.ContainerName(), aside)
}

// Drift are sentences on what is not as it should be and shows in no other
// attribute. appPort is 0 for an accessory that gets no requests from
// kamal-proxy by its configuration.
func (o Observed) Drift() []string {
	var out []string
	if o.Aside != nil {
		out = append(out, "a replacement was not finished: its old container is still there as "+o.Aside.ContainerName())
	}
	for _, c := range o.Unstarted {
		out = append(out, "a replacement was not finished: its new container was never started and is still there as "+c.ContainerName())
	}
	if o.Entry != nil && o.Running() && !o.isTarget() {
		out = append(out, "kamal-proxy sends traffic to "+strings.Join(o.Entry.Targets(), ", "))
	}
	if o.DeadLock {
		out = append(out, "a run that died left the deploy lock")
	}
	return out
}

func (o Observed) isTarget() bool {
	return slices.ContainsFunc(o.Entry.Targets(), func(t string) bool { return strings.HasPrefix(t, o.Current.ShortID()+":") })
}

// EntryPort is the port of the target at kamal-proxy; 0 if there is none.
func (o Observed) EntryPort() int {
	if o.Entry == nil || len(o.Entry.Targets()) == 0 {
		return 0
	}
	_, port, _ := strings.Cut(o.Entry.Targets()[0], ":")
	n, _ := strconv.Atoi(port)
	return n
}

// A State is what is kept of an accessory's container.
type State struct {
	Container, Digest, MachineID string
	Running                      bool
	Drift                        []string
}

// State describes what is there; false where there is nothing.
func (o Observed) State() (State, bool) {
	if o.Current == nil {
		return State{}, false
	}
	st := State{Container: o.Current.ID, MachineID: o.Snapshot.Facts.MachineID, Running: o.Running(), Drift: o.Drift()}
	if o.Image != nil {
		st.Digest = o.Image.DigestOf(o.Current.Config.Image)
	}
	return st, true
}
