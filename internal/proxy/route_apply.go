package proxy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/kamal"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

const (
	// hostWait bounds the wait for another route to give up a host, as one in the same apply may be about to.
	hostWait = 30 * time.Second
	// hostPoll is how often it is looked for.
	hostPoll = 2 * time.Second
	// attempts bounds how often a change is planned anew because somebody
	// else changed kamal-proxy meanwhile, or the connection was lost.
	attempts = 8
	// cleanupTime bounds what is done after a failure or an interruption.
	cleanupTime = time.Minute
)

// A RouteChange brings a route to what is wanted, on all its servers.
type RouteChange struct {
	Route Route
	// Was is the route's service before, "" where there was none or it is the same.
	Was     string
	Servers []string
	// Known are the servers on which the state has the route, with their
	// machine-ids ("" where not known). On all other machines an entry of the
	// service that is there already is refused.
	Known map[string]string
	// Leaving are servers that have the route and no longer should.
	Leaving []string
	// Create: nothing is in the state yet, so that a failure undoes everything.
	Create bool
}

// A RouteReport says what is there afterwards.
type RouteReport struct {
	// Instances are by server; a server without the route has none.
	Instances map[string]*Instance
	// Unseen are the servers that could not be asked after a failure.
	Unseen   []string
	Warnings []RouteWarning
}

// A RouteWarning is something that did not stop the change.
type RouteWarning struct{ Summary, Detail string }

// ApplyRoute makes the change, on all servers at once; a server that has what
// is wanted isn't touched. Whatever would refuse the change on one of them is
// looked for on all of them before anything is changed. An error is a
// *fleet.Failure for each server that failed, joined.
func ApplyRoute(ctx context.Context, f *fleet.Fleet, c RouteChange) (RouteReport, error) {
	a := &routeApply{RouteChange: c, fleet: f, id: fleet.Random(16)}
	for _, n := range c.Servers {
		a.sites = append(a.sites, &routeSite{name: n, server: f.Server(n)})
	}
	for _, n := range c.Leaving {
		a.leaving = append(a.leaving, &routeSite{name: n, server: f.Server(n)})
	}
	err := a.run(ctx)
	if err != nil && c.Create {
		a.undo(ctx)
	}
	return a.report(ctx, err), err
}

// routeApply is a RouteChange under way.
type routeApply struct {
	RouteChange
	fleet *fleet.Fleet
	// id names this change in marks: one process may make several.
	id             string
	sites, leaving []*routeSite

	mu       sync.Mutex
	warnings []RouteWarning
}

// routeSite is one server of a change. Only one goroutine at a time works on it.
type routeSite struct {
	name   string
	server *fleet.Server
	// fresh: the state doesn't have the route there yet, a mark says that it is being created.
	fresh bool
	// marked: this run wrote its mark, what is there may be its own.
	marked bool
	// cut: the outcome of the last change is not known.
	cut bool
	// snap is what was seen last.
	snap *fleet.Snapshot
	// refused is why nothing was begun; done: what is wanted is there.
	refused error
	done    bool
	// gone: the server is no longer there.
	gone bool
}

func (a *routeApply) warn(summary, detail string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.warnings = append(a.warnings, RouteWarning{summary, detail})
}

func (a *routeApply) what() string { return "route " + a.Route.where() + " to " + a.Route.Service }

func (a *routeApply) run(ctx context.Context) error {
	if err := a.check(ctx); err != nil {
		return err
	}
	stop := a.keepAlive(ctx)
	err := fleet.Each(a.sites, func(s *routeSite) error {
		err := a.bring(ctx, s, false)
		s.done = err == nil
		return a.failure(s, err)
	})
	stop()
	switch {
	case err == nil:
		err = a.finish(ctx)
	case a.moves():
		// The state goes on with the old service, so the next run must be
		// free to take over what has moved already.
		a.abandon(ctx)
	case !a.Create:
		err = errors.Join(err, a.finish(ctx))
		a.abandon(ctx)
	}
	if err != nil {
		return err
	}
	a.leaving = slices.DeleteFunc(a.leaving, a.renamed)
	return fleet.Each(a.leaving, func(s *routeSite) error { return a.leave(ctx, s) })
}

// moves says that the route goes from one service to another.
func (a *routeApply) moves() bool { return a.Was != "" && a.Was != a.Route.Service }

// isFresh says that the state doesn't have the route on the server's machine.
func (a *routeApply) isFresh(s *routeSite) bool {
	if a.Create || a.moves() {
		return true
	}
	if _, ok := a.Known[s.name]; ok {
		return false
	}
	id := s.snap.Facts.MachineID
	return id == "" || !slices.Contains(slices.Collect(maps.Values(a.Known)), id)
}

// renamed says that a server that leaves the list is still in it by another name.
func (a *routeApply) renamed(s *routeSite) bool {
	id := a.Known[s.name]
	return id != "" && slices.ContainsFunc(a.sites, func(o *routeSite) bool { return o.snap != nil && o.snap.Facts.MachineID == id })
}

// check refuses what must not begin, on all servers, before anything is changed.
func (a *routeApply) check(ctx context.Context) error {
	_ = fleet.Each(a.sites, func(s *routeSite) error {
		s.refused = a.bring(ctx, s, true)
		return nil
	})
	var err error
	machines := map[string]string{}
	for _, s := range a.sites {
		err = errors.Join(err, a.failure(s, s.refused))
		if s.snap == nil {
			continue
		}
		id := s.snap.Facts.MachineID
		if other := machines[id]; other != "" && id != "" {
			err = errors.Join(err, &fleet.Failure{What: a.what(), Server: s.name,
				Cause: fmt.Sprintf("%s and %s are the same machine (machine-id %s)", other, s.name, id),
				Next:  "name each machine once in servers."})
		}
		machines[id] = s.name
	}
	return err
}

// bring brings one server to what is wanted, or only checks that it could.
func (a *routeApply) bring(ctx context.Context, s *routeSite, dry bool) error {
	until := time.Now().Add(hostWait)
	var held error
	for n := 1; ; n++ {
		again, err := a.try(ctx, s, dry)
		var r *refusal
		switch {
		case err == nil && !again:
			return nil
		case errors.As(err, &r) && r.held && time.Now().Before(until):
			held, n = err, 0
			if fleet.Pause(ctx, hostPoll) != nil {
				return held
			}
		case held != nil && ctx.Err() != nil && !s.cut:
			// Time ran out during a look: what it waited for says more than where it was cut.
			return held
		case again && n < attempts:
		case err == nil:
			return fmt.Errorf("kamal-proxy's routes were changed by others %d times in a row", n)
		default:
			return err
		}
		// Others may have changed the server without this process.
		s.server.Changed()
	}
}

// try looks at a server and does what is to be done there. again says that
// things changed meanwhile, or that the outcome is not known.
func (a *routeApply) try(ctx context.Context, s *routeSite, dry bool) (again bool, err error) {
	done, err := s.server.QueueProxy(ctx)
	if err != nil {
		return false, err
	}
	defer done()
	snap, err := s.server.Snapshot(ctx)
	if err != nil {
		return false, err
	}
	s.snap = snap
	s.fresh = a.isFresh(s)
	if err := a.mayOwn(s); err != nil {
		return false, err
	}
	step, err := planRoute(a.Route, a.Was, snap)
	if err != nil || dry || (step == nil && !s.fresh) {
		return false, err
	}
	b := a.call(s, step)
	s.marked = s.marked || s.fresh
	res, after, err := s.server.Observe(ctx, b)
	s.cut = err != nil
	var cut *sshexec.InterruptedError
	if errors.As(err, &cut) && ctx.Err() == nil {
		return true, err
	}
	if err != nil {
		return false, err
	}
	for i := range res.Steps {
		if res.Steps[i].ExitCode == fleet.RoutesChanged {
			return true, nil
		}
	}
	if err := res.Err(); err != nil {
		return false, a.explain(ctx, s, step, err)
	}
	s.snap = after
	if left, err := planRoute(a.Route, a.Was, after); err != nil || left != nil {
		return true, err
	}
	return false, nil
}

// call is the remote call that does a step; it observes the server too.
func (a *routeApply) call(s *routeSite, step *routeStep) sshexec.Call {
	c := sshexec.Call{Title: a.what(), Prelude: certificatePrelude}
	if m := s.snap.Mark(MarkKind, a.Route.Service); s.fresh {
		c.Steps = append(c.Steps, a.mark(kamal.MarkCreating))
	} else if m == nil || m.State != kamal.MarkOwned {
		c.Steps = append(c.Steps, a.mark(kamal.MarkOwned))
	}
	if step != nil {
		c.Vars = step.vars
		c.Steps = append(c.Steps, changeStep(step.sum, step.title, step.lines...))
	}
	if a.moves() {
		c.Steps = append(c.Steps, kamal.RemoveMark(MarkKind, a.Was))
	}
	if s.fresh && len(a.sites) == 1 {
		c.Steps = append(c.Steps, a.mark(kamal.MarkOwned))
	}
	return c
}

func (a *routeApply) mark(state string) sshexec.Step {
	return kamal.WriteMark(kamal.Mark{Kind: MarkKind, Name: a.Route.Service, State: state, Run: a.id, By: a.fleet.By, At: time.Now().UTC()})
}

// mayOwn refuses a route that somebody else has on a server.
func (a *routeApply) mayOwn(s *routeSite) error {
	if !s.fresh {
		return nil
	}
	m := s.snap.Mark(MarkKind, a.Route.Service)
	switch {
	case m != nil && (m.Run == a.id || m.Unfinished() || m.State == kamal.MarkGivenUp):
		return nil
	case m != nil && m.State == kamal.MarkCreating:
		return &refusal{cause: fmt.Sprintf("another run (by %s, since %s) is creating this route", m.By, m.At.Format(time.RFC3339)), next: "wait for it to end."}
	}
	i, err := ObserveRoute(a.Route.Service, s.snap)
	if err != nil || i == nil {
		return err
	}
	owner := "by hand or by Kamal"
	if m != nil {
		owner = "by " + m.By + " with this provider, from another resource, configuration or state"
	}
	return &refusal{
		cause: fmt.Sprintf("kamal-proxy has the service %s already: %s, deployed %s. Two configurations can't own one route", a.Route.Service, i.Route.where(), owner),
		next: fmt.Sprintf("to take it over, import it: tofu import ADDRESS '%s@%s' (or terraform import). It restarts nothing.",
			a.Route.Service, strings.Join(a.Servers, ",")),
	}
}

// abandon lets the next run take over at once what this one could not finish.
func (a *routeApply) abandon(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTime)
	defer cancel()
	file := sshexec.Quote(kamal.MarkPath(MarkKind, a.Route.Service))
	step := sshexec.Step{Title: "leave the mark to the next run", Script: "! grep -qs " + sshexec.Quote(a.id) + " " + file + " || touch -d @0 " + file}
	_ = fleet.Each(a.sites, func(s *routeSite) error {
		if s.marked {
			// Without it the next run waits until the mark is old.
			_, _ = s.server.Change(ctx, sshexec.Call{Title: a.what(), Steps: []sshexec.Step{step}})
		}
		return nil
	})
}

// finish says that what was created is complete, where not said before.
func (a *routeApply) finish(ctx context.Context) error {
	return fleet.Each(a.sites, func(s *routeSite) error {
		if !s.marked || !s.done || len(a.sites) == 1 {
			return nil
		}
		res, err := s.server.Change(ctx, sshexec.Call{Title: a.what(), Prelude: kamal.RunPrelude, Steps: []sshexec.Step{a.mark(kamal.MarkOwned)}})
		if err == nil {
			err = res.Err()
		}
		if err != nil {
			return a.failure(s, err)
		}
		return nil
	})
}

// keepAlive gives signs of life for what is being created, until stop is called.
func (a *routeApply) keepAlive(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	step := kamal.SignOfLife(a.id, kamal.MarkPath(MarkKind, a.Route.Service))
	for _, s := range a.sites {
		if !s.fresh {
			continue
		}
		wg.Go(func() {
			for fleet.Pause(ctx, kamal.Beat) == nil {
				// A beat that fails is followed by the next.
				_, _ = s.server.Read(ctx, sshexec.Call{Title: "give a sign of life", Steps: []sshexec.Step{step}})
			}
		})
	}
	return func() { cancel(); wg.Wait() }
}

// report says what is there after the change; after a failure only a new look tells.
func (a *routeApply) report(ctx context.Context, failed error) RouteReport {
	rep := RouteReport{Instances: map[string]*Instance{}}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTime)
	defer cancel()
	_ = fleet.Each(slices.Concat(a.sites, a.leaving), func(s *routeSite) error {
		if s.gone || a.Create && failed != nil || failed == nil && slices.Contains(a.leaving, s) {
			return nil
		}
		var err error
		if failed != nil || s.snap == nil {
			s.snap, err = s.server.Snapshot(ctx)
		}
		var i *Instance
		if err == nil {
			i, err = a.observe(s.snap)
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		if err != nil {
			rep.Unseen = append(rep.Unseen, s.name)
		} else if i != nil {
			rep.Instances[s.name] = i
		}
		return nil
	})
	rep.Warnings = a.warnings
	return rep
}

// observe finds the route in a snapshot, under its old name where the new one isn't there yet.
func (a *routeApply) observe(snap *fleet.Snapshot) (*Instance, error) {
	i, err := ObserveRoute(a.Route.Service, snap)
	if i == nil && err == nil && a.Was != "" {
		return ObserveRoute(a.Was, snap)
	}
	return i, err
}
