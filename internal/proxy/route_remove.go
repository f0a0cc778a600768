package proxy

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/kamal"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

// RemoveRoute removes a route from its servers: the service at kamal-proxy, its
// certificate and its mark. What is gone already is fine. An error is a
// *fleet.Failure for each server that failed, joined.
func RemoveRoute(ctx context.Context, f *fleet.Fleet, r Route, servers []string) ([]RouteWarning, error) {
	a := &routeApply{RouteChange: RouteChange{Route: r, Servers: servers}, fleet: f}
	for _, n := range servers {
		a.sites = append(a.sites, &routeSite{name: n, server: f.Server(n)})
	}
	err := fleet.Each(a.sites, func(s *routeSite) error {
		err := a.remove(ctx, s)
		if err != nil && f.KeepUnreachable && fleet.IsUnreachable(err) {
			a.warn(s.name+" does not answer", fmt.Sprintf("%v\n\nThe route %s was forgotten there, because on_unreachable is \"keep\". If the server comes back, its kamal-proxy still has it.", err, r.Service))
			return nil
		}
		return a.removeFailure(s, err)
	})
	return a.warnings, err
}

// leave removes the route from a server that it should no longer be on. One
// that is gone is forgotten; one that answers and refuses is an error.
func (a *routeApply) leave(ctx context.Context, s *routeSite) error {
	err := a.remove(ctx, s)
	if fleet.IsGone(err) {
		s.gone = true
		service := a.removed()
		a.warn(s.name+" is no longer there",
			fmt.Sprintf("%v\n\nThe route %s left it without a clean-up. If the machine still exists somewhere, these may be left on it: the service %s at its kamal-proxy, %s and %s.",
				err, service, service, a.Route.certificateDir(nil), kamal.MarkPath(MarkKind, service)))
		return nil
	}
	return a.removeFailure(s, err)
}

// undo takes away what a failed create made. It is not cut short by what interrupted the create.
func (a *routeApply) undo(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTime)
	defer cancel()
	_ = fleet.Each(a.sites, func(s *routeSite) error {
		if !s.marked {
			return nil
		}
		// kamal-proxy goes on with a deploy after its client is gone: an entry
		// that isn't there yet may come, and would miss its certificate.
		if s.cut && !a.isThere(ctx, s) {
			a.warn("The failed route may still appear on "+s.name,
				fmt.Sprintf("The deploy was interrupted, and kamal-proxy may finish it within %s. The next apply takes it over.", a.Route.DeployTimeout))
			return nil
		}
		if err := a.remove(ctx, s); err != nil {
			a.warn("The failed route could not be taken back on "+s.name,
				fmt.Sprintf("%v\n\nThe service %s may be left at its kamal-proxy. The next apply takes it over.", err, a.Route.Service))
			return nil
		}
		s.marked = false
		return nil
	})
	a.abandon(ctx)
}

// isThere says that a server has the route for sure, after a new look.
func (a *routeApply) isThere(ctx context.Context, s *routeSite) bool {
	s.server.Changed()
	snap, err := s.server.Snapshot(ctx)
	if err != nil {
		return false
	}
	i, err := a.observe(snap)
	return err == nil && i != nil
}

// removed is the service that is removed: the one that the state knows.
func (a *routeApply) removed() string { return cmp.Or(a.Was, a.Route.Service) }

func (a *routeApply) removeFailure(s *routeSite, err error) error {
	var f *fleet.Failure
	if err == nil || errors.As(err, &f) {
		return err
	}
	f = &fleet.Failure{What: "remove the route " + a.removed(), Server: s.name, Err: err, Running: a.runningNow(s.snap)}
	var r *refusal
	if errors.As(err, &r) {
		f.Err, f.Cause, f.Next = nil, r.cause, r.next
	}
	return f
}

// remove removes the route from one server.
func (a *routeApply) remove(ctx context.Context, s *routeSite) error {
	for n := 1; ; n++ {
		again, err := a.tryRemove(ctx, s)
		if !again {
			return err
		}
		if n == attempts {
			return cmp.Or(err, fmt.Errorf("kamal-proxy's routes were changed by others %d times in a row", n))
		}
		s.server.Changed()
	}
}

func (a *routeApply) tryRemove(ctx context.Context, s *routeSite) (again bool, err error) {
	done, err := s.server.QueueProxy(ctx)
	if err != nil {
		return false, err
	}
	defer done()
	if s.snap, err = s.server.Snapshot(ctx); err != nil {
		return false, err
	}
	if s.snap.Docker.Running && s.snap.Proxy.Container == nil {
		a.warn("kamal-proxy is not there on "+s.name,
			fmt.Sprintf("So the route %s could not be removed from it. If its volume is still there, a kamal-proxy that is booted from it has the route again. "+
				"For that case a certificate of the route's own was left in ~/%s: kamal-proxy starts without any route if one of them can't find its certificate.",
				a.removed(), kamal.ProxyAppsConfigDir))
	}
	steps, err := planRemoval(a.Route, a.removed(), s.snap)
	if err != nil || len(steps) == 0 {
		return false, err
	}
	res, err := s.server.Change(ctx, sshexec.Call{
		Title: "remove the route " + a.removed(), Prelude: kamal.RunPrelude + fleet.StatePrelude, Steps: steps,
	})
	var cut *sshexec.InterruptedError
	if errors.As(err, &cut) && ctx.Err() == nil {
		return true, err
	}
	if err != nil {
		return false, err
	}
	if res.Steps[0].ExitCode == fleet.RoutesChanged {
		return true, nil
	}
	return false, res.Err()
}

// planRemoval is what is to be done to remove a service: first at kamal-proxy,
// which would not start again without the certificate that it still knows.
func planRemoval(r Route, service string, snap *fleet.Snapshot) ([]sshexec.Step, error) {
	if snap.Docker.Installed && !snap.Docker.Running {
		return nil, usable(snap)
	}
	var steps []sshexec.Step
	dir := ""
	if snap.Proxy.Container != nil {
		dir = Route{Service: service, App: r.App}.certificateDir(nil)
		entries, err := ParseState(snap.Proxy.State)
		if err != nil {
			return nil, err
		}
		if e := Find(entries, service); e != nil {
			if err := usable(snap); err != nil {
				return nil, err
			}
			steps = ChangeSteps(snap.Proxy.Sum, "remove "+service+" at kamal-proxy", RemoveArgv(service))
			dir = cmp.Or(certificateDirOf(e, entries), dir)
		}
		for i := range entries {
			if entries[i].Name != service && entryCertificateDir(&entries[i]) == dir {
				dir = ""
			}
		}
	}
	if _, ok := snap.Certificates[dir+"/cert.pem"]; ok {
		steps = append(steps, sshexec.Step{Title: "remove its certificate", Script: removeCertificate(dir)})
	}
	switch m := snap.Mark(MarkKind, service); {
	case m == nil:
	case snap.Proxy.Container == nil:
		// The volume of a kamal-proxy that is booted again still has the service.
		left := *m
		left.State = kamal.MarkGivenUp
		steps = append(steps, kamal.WriteMark(left))
	default:
		steps = append(steps, kamal.RemoveMark(MarkKind, service))
	}
	return steps, nil
}
