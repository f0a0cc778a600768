package proxy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/kamal"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

// MarkKind is the kind of the owner marks of routes.
const MarkKind = "route"

// A routeStep is what has to be done to one server's kamal-proxy: nothing but
// one step, because check and change must be under one lock.
type routeStep struct {
	title string
	vars  []sshexec.Var
	// sum is that of the routes that the step was planned for.
	sum string
	// lines are shell, each with its own `|| exit`.
	lines []string
	// container is the one that is deployed, nil for maintenance alone.
	container *docker.Container
}

func (s *routeStep) command(argv []string) { s.lines = append(s.lines, run(argv)+" || exit") }

// A refusal is why a route can't be deployed on a server as things are there.
type refusal struct {
	cause, next string
	// held: another route of ours has the host, and may be about to give it up.
	held bool
	// missing: there is no container of the service.
	missing bool
}

func (r *refusal) Error() string { return r.cause }

// planRoute compares what is wanted with what is on a server. was is the
// service that the route had before, "" where it is the same. No step means
// that nothing is to be done. An error is a *refusal, or says that the state
// file makes no sense.
func planRoute(r Route, was string, snap *fleet.Snapshot) (*routeStep, error) {
	if err := usable(snap); err != nil {
		return nil, err
	}
	entries, err := ParseState(snap.Proxy.State)
	if err != nil {
		return nil, err
	}
	have, old := Find(entries, r.Service), (*Entry)(nil)
	if was != "" && was != r.Service {
		old = Find(entries, was)
	}
	s := &routeStep{sum: snap.Proxy.Sum}
	var diff []string
	deploy := have == nil
	if have != nil {
		diff = have.instance(snap).Drift(r)
		deploy = slices.ContainsFunc(diff, func(n string) bool { return n != "maintenance" })
	}
	switch {
	case deploy:
		if err := conflict(r, was, entries, snap); err != nil {
			return nil, err
		}
		if s.container, err = r.container(have, snap); err != nil {
			return nil, err
		}
		if err := s.deploy(r, have, old, entries, snap); err != nil {
			return nil, err
		}
	case old != nil:
		s.command(RemoveArgv(old.Name))
		s.title = "remove " + old.Name + " at kamal-proxy"
	}
	s.pause(r, have)
	switch {
	case len(s.lines) == 0:
		return nil, nil
	case have == nil:
		s.title = fmt.Sprintf("route %s to %s, container %s", r.where(), r.Service, s.container.ContainerName())
	case len(diff) > 0:
		s.title = fmt.Sprintf("change %s at kamal-proxy: %s", r.Service, strings.Join(diff, ", "))
	}
	return s, nil
}

// pause adds what makes the service run or stop.
func (s *routeStep) pause(r Route, have *Entry) {
	now := PauseController{}
	if have != nil {
		now = have.PauseController
	}
	switch {
	case r.Maintenance != nil && (now.State != Stopped || now.StopMessage != r.Maintenance.Message):
		s.command(StopArgv(r.Service, r.DrainTimeout, r.Maintenance.Message))
	case r.Maintenance == nil && now.State != Running:
		s.command(ResumeArgv(r.Service))
	}
}

// deploy adds the deploy of the route, in place of the old service's entry if there is one.
func (s *routeStep) deploy(r Route, have, old *Entry, entries []Entry, snap *fleet.Snapshot) error {
	argv, err := r.entry(have).DeployArgv(r.target(*s.container))
	if err != nil {
		return &refusal{cause: err.Error(), next: "take off by hand what the provider does not know, or leave this service to who set it."}
	}
	deploy := run(argv)
	undo := ""
	if r.TLS != nil && !r.TLS.ACME {
		if have == nil || !SamePEM(snap.Certificates[r.certificateDir(have)+"/cert.pem"], r.TLS.Certificate) || have.Options.TLSCertificatePath == "" {
			if err := s.certificate(r.certificateDir(have), r.TLS, snap); err != nil {
				return err
			}
			undo = "takecertificateback"
		}
	}
	switch {
	case old == nil:
		s.lines = append(s.lines, orElse(deploy, undo))
	case overlap(r, *old) == "":
		s.lines = append(s.lines, orElse(deploy, undo))
		s.command(RemoveArgv(old.Name))
	default:
		// Both can't have the host. So the new service proves its health under
		// a name that nobody asks for, and the gap is only between two commands.
		warm := Route{Service: r.Service, Hosts: []string{r.Service + ".invalid"}, PathPrefixes: []string{"/"}}
		warmUp, err := warm.entry(have).DeployArgv(r.target(*s.container))
		if err != nil {
			return err
		}
		back, err := old.DeployArgv(old.target(r))
		if err != nil {
			return &refusal{cause: err.Error(), next: "take off by hand what the provider does not know."}
		}
		forget := run(RemoveArgv(r.Service))
		s.lines = append(s.lines, orElse(run(warmUp), undo))
		s.command(RemoveArgv(old.Name))
		s.lines = append(s.lines, orElse(deploy, forget+"; "+run(back), undo))
	}
	if undo != "" {
		s.lines = append(s.lines, "keepcertificate || exit")
	}
	// What the entry leaves behind when it moves or gives up its certificate.
	for _, e := range []*Entry{have, old} {
		if e == nil {
			continue
		}
		if dir := certificateDirOf(e, entries); dir != "" && (r.TLS == nil || r.TLS.ACME || dir != r.certificateDir(have)) {
			s.lines = append(s.lines, removeCertificate(dir)+" || exit")
		}
	}
	return nil
}

// target is the entry's own target, for putting it back.
func (e *Entry) target(r Route) Target {
	return Target{
		Address: strings.Join(e.ActiveTargets, ","), Health: e.TargetOptions.HealthCheck.Health(),
		DeployTimeout: r.DeployTimeout, DrainTimeout: r.DrainTimeout,
	}
}

// usable says why kamal-proxy can't be asked on a server.
func usable(snap *fleet.Snapshot) error {
	const next = "make sure that there is a kamal_proxy for the server, and that the route depends on it " +
		"(`servers` taken from its `server` attribute, or from a role that does so)."
	switch c := snap.Proxy.Container; {
	case !snap.Docker.Running:
		return &refusal{cause: "docker does not answer there: " + snap.Docker.Failure, next: "start it (systemctl start docker) and apply again."}
	case c == nil:
		return &refusal{cause: "there is no kamal-proxy on the server", next: next}
	case !c.Running():
		return &refusal{cause: "kamal-proxy does not run there, its container is " + c.Status(), next: "start it (docker start kamal-proxy), or " + next}
	}
	return nil
}

// container is the one to deploy: what the entry points at, so that a change
// of options never moves the traffic, or else the newest that runs.
func (r Route) container(have *Entry, snap *fleet.Snapshot) (*docker.Container, error) {
	if have != nil {
		if c := have.container(snap); c != nil && c.Running() {
			return c, nil
		}
	}
	if c := newest(snap, r.Service); c != nil {
		return c, nil
	}
	return nil, &refusal{
		missing: true,
		cause:   "no container of " + r.Service + " runs there",
		next:    "deploy it there first: the route's servers must be among those of its role (or accessory), and the route must depend on it.",
	}
}

// conflict says which other service has a host and path that the route wants.
func conflict(r Route, was string, entries []Entry, snap *fleet.Snapshot) error {
	for _, e := range entries {
		if e.Name == r.Service || e.Name == was {
			continue
		}
		place := overlap(r, e)
		if place == "" {
			continue
		}
		c := &refusal{
			cause: fmt.Sprintf("%s is held by the service %s at kamal-proxy", place, e.Name),
			next:  "choose another host or path, or take it from " + e.Name + " first.",
		}
		if m := snap.Mark(MarkKind, e.Name); m != nil && m.State == kamal.MarkOwned {
			c.held = true
			c.cause += ", a route of this provider that did not give it up"
		}
		return c
	}
	return nil
}

// overlap is the first host and path that both have, "" if there is none.
func overlap(r Route, e Entry) string {
	o := r.entry(nil).Options
	for _, h := range o.Hosts {
		for _, p := range o.PathPrefixes {
			if slices.Contains(e.Options.Hosts, h) && slices.Contains(e.Options.PathPrefixes, p) {
				return at(h, p)
			}
		}
	}
	return ""
}

// where names the route's places, for people.
func (r Route) where() string {
	o := r.entry(nil).Options
	var all []string
	for _, h := range o.Hosts {
		for _, p := range o.PathPrefixes {
			all = append(all, at(h, p))
		}
	}
	return strings.Join(all, ", ")
}

// orElse is a command that ends the step with its own exit code when it fails,
// after the commands that undo what came before.
func orElse(command string, undo ...string) string {
	undo = slices.DeleteFunc(undo, func(u string) bool { return u == "" })
	if len(undo) == 0 {
		return command + " || exit"
	}
	return command + " || { r=$?; " + strings.Join(undo, "; ") + "; exit $r; }"
}
