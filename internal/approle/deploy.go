package approle

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/kamal"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/secret"
)

// A Deployment is one roll-out of a role.
type Deployment struct {
	Spec Spec
	// Servers are taken in this order.
	Servers []string
	// Joining are those of Servers that the role's state doesn't have yet: what
	// somebody else has deployed there is refused.
	Joining []string
	// Leaving are servers that the role runs on and no longer should.
	Leaving []string
	// Recorded are the containers that the state knows, by server.
	Recorded map[string]string
	// Create is a first deploy: it refuses what somebody else has deployed,
	// and undoes itself when it fails.
	Create bool
	// ImportID is the id to tell users who should import instead.
	ImportID string
}

// A Report is what a roll-out left.
type Report struct {
	// Instances are by server; a server without the role has none.
	Instances map[string]Instance
	// Unseen are the servers that could not be asked after a failure: what
	// the state said about them is all that is known.
	Unseen []string
	// Began are the servers on which a failed roll-out left a container of its
	// own, whether it serves or could not be taken away.
	Began    []string
	Warnings []Warning
}

// A Warning is something that did not stop the roll-out.
type Warning struct{ Summary, Detail string }

// Deploy rolls a role out over its servers. Whatever happens, the Report says
// what is there afterwards; an error is a *fleet.Failure for each server that
// failed, joined.
//
// After a failed Create nothing is left; Report.Instances is empty then,
// unless the clean-up itself failed.
func Deploy(ctx context.Context, f *fleet.Fleet, d Deployment) (Report, error) {
	done, err := f.QueueApp(ctx, d.Spec.Role.App())
	if err != nil {
		return Report{Unseen: slices.Concat(d.Servers, d.Leaving)}, err
	}
	defer done()
	r := newRollout(f, d)
	stop := r.keepAlive(ctx)
	err = r.run(ctx)
	r.close(ctx, err)
	stop()
	return r.report(ctx, err), err
}

// rollout is a Deployment under way.
type rollout struct {
	Deployment
	fleet *fleet.Fleet
	// sites are the servers of the roll-out in Servers' order, leaving those that leave.
	sites, leaving []*site

	mu       sync.Mutex
	warnings []Warning
}

// site is one server in a roll-out. Only one goroutine at a time works on it.
type site struct {
	name   string
	server *fleet.Server
	have   Observed
	plan   Plan
	// locked: the deploy lock is ours there.
	locked bool
	// image is the one that the new container runs.
	image *docker.Image
	// started: the call that starts the new container was made. newID is the
	// container's id, "" where that is not known.
	started bool
	newID   string
	// mount holds the new container's secret files.
	mount secret.Mount
	// assets: those of the new version are there, before it has started.
	assets bool
	// before is the target that the proxy had before the switch; "" if none.
	before string
	// unprobed: sshd forbids to ask the new container; kamal-proxy does it.
	unprobed bool
	// switched: the new container serves, or for a role without a port: is ready.
	switched bool
	// failure is that of a server which was switched all the same, nil else.
	failure *fleet.Failure
	// cleanupErr is what kept a failed create from being undone.
	cleanupErr error
	// gone: the server is no longer there.
	gone     bool
	instance *Instance
}

func newRollout(f *fleet.Fleet, d Deployment) *rollout {
	r := &rollout{Deployment: d, fleet: f}
	for _, n := range d.Servers {
		r.sites = append(r.sites, &site{name: n, server: f.Server(n)})
	}
	for _, n := range d.Leaving {
		r.leaving = append(r.leaving, &site{name: n, server: f.Server(n)})
	}
	return r
}

func (r *rollout) all() []*site { return append(slices.Clone(r.sites), r.leaving...) }

func (r *rollout) warn(summary, detail string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.warnings = append(r.warnings, Warning{summary, detail})
}

// what says what the roll-out is about, for errors.
func (r *rollout) what() string { return "deploy " + r.Spec.Role.Prefix() + " " + r.Spec.Version() }

func (r *rollout) run(ctx context.Context) error {
	if err := r.lockAll(ctx); err != nil {
		return err
	}
	if err := r.checkAll(); err != nil {
		return err
	}
	var swaps []*site
	for _, s := range r.sites {
		s.plan = Build(r.Spec, s.have)
		if !s.plan.Swap {
			continue
		}
		if c := s.have.Snapshot.Container(s.plan.Name); c != nil && !r.Spec.Role.Owns(c.ContainerName(), c.Labels()) {
			return r.failure(s, "", "a container that is not the role's has the name of the new one: "+c.ContainerName()+" ("+c.Config.Image+", "+c.Status()+")",
				"rename or remove it, if nobody needs it: docker rename "+c.ContainerName()+" OTHER", nil)
		}
		swaps = append(swaps, s)
	}
	// Everything that can fail without touching what runs comes before the
	// first change on any server.
	if err := fleet.Each(swaps, func(s *site) error { return r.prepare(ctx, s) }); err != nil {
		return err
	}
	if len(swaps) > 1 && r.Spec.AssetPath != "" {
		// A page of the first server's new container may ask the last one's old
		// container. One server gets its assets as its container starts.
		if err := fleet.Each(swaps, func(s *site) error { return r.prepareAssets(ctx, s) }); err != nil {
			return err
		}
	}
	if err := r.roll(ctx); err != nil {
		return err
	}
	return fleet.Each(r.leaving, func(s *site) error { return r.leave(ctx, s) })
}

// roll takes the servers in order, boot.limit at a time.
func (r *rollout) roll(ctx context.Context) error {
	names := make([]string, len(r.sites))
	bySite := map[string]*site{}
	for i, s := range r.sites {
		names[i], bySite[s.name] = s.name, s
	}
	for i, group := range r.Spec.Boot.groups(names) {
		if i > 0 && r.Spec.Boot.Wait > 0 {
			if err := fleet.Pause(ctx, r.Spec.Boot.Wait); err != nil {
				return r.stopRolling(ctx, &fleet.Failure{What: r.what(), Step: "wait between two groups of servers", Err: err, Running: r.running()})
			}
		}
		sites := make([]*site, len(group))
		for j, n := range group {
			sites[j] = bySite[n]
		}
		err := fleet.Each(sites, func(s *site) error {
			switch {
			case s.plan.Swap:
				return r.swap(ctx, s)
			case !s.plan.Converged():
				return r.settle(ctx, s)
			}
			return nil
		})
		if err != nil {
			return r.stopRolling(ctx, err)
		}
	}
	return nil
}

// stopRolling ends a roll-out at the first group that failed. Who interrupts an
// apply wants it to end, so then the servers stay as they are: each serves the
// old version or the new one, and the next apply goes on.
func (r *rollout) stopRolling(ctx context.Context, err error) error {
	if r.Create || r.Spec.Boot.Halt || errors.Is(context.Cause(ctx), context.Canceled) {
		return err
	}
	return errors.Join(err, r.putBack(ctx))
}

// keepAlive gives signs of life on the locked servers, so that nobody takes
// this run for dead, until stop is called: also while an interrupted run puts
// servers back and tidies up.
func (r *rollout) keepAlive(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	sites := r.all() // the run may shorten its list meanwhile
	files := []string{kamal.LockDir(r.Spec.Role.App()) + "/run", kamal.MarkPath(MarkKind, r.Spec.Role.Prefix())}
	if !r.Create {
		files = files[:1]
	}
	wg.Go(func() {
		for fleet.Pause(ctx, kamal.Beat) == nil {
			// A beat that fails is followed by the next; the steps check the lock before each effect.
			_ = fleet.Each(sites, func(s *site) error {
				if !r.isLocked(s) {
					return nil
				}
				_, err := s.server.Read(ctx, fleet.SignOfLife(r.fleet.Run, files...))
				return err
			})
		}
	})
	return func() { cancel(); wg.Wait() }
}

func (r *rollout) isLocked(s *site) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return s.locked
}

func (r *rollout) setLocked(s *site, locked bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s.locked = locked
}

// running says what serves now, for errors that concern all servers.
func (r *rollout) running() string {
	var lines []string
	for _, s := range r.sites {
		lines = append(lines, s.name+": "+s.runningNow(r.Spec))
	}
	return strings.Join(lines, "\n")
}

// old is the container that ran before and is there to go back to, nil if there is none.
func (s *site) old() *docker.Container {
	if !s.have.Running() || s.plan.removes(s.have.Current.ID) {
		return nil
	}
	return s.have.Current
}

// runningNow says what serves on a server.
func (s *site) runningNow(spec Spec) string {
	old := s.old()
	switch {
	case s.switched:
		return "the new version, container " + s.plan.Name
	case old != nil && spec.Boot.StopFirst && s.started:
		return "the old version was started again, container " + old.ContainerName()
	case old != nil:
		return fmt.Sprintf("the old version goes on as before, container %s (%s)", old.ContainerName(), old.Config.Image)
	case s.have.Snapshot != nil && s.have.Hidden() != "":
		return "not known, without docker"
	case s.have.Snapshot == nil:
		return "what ran before, nothing was changed"
	default:
		return "nothing of this role ran before, and nothing does now"
	}
}
