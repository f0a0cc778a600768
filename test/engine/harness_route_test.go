package engine

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/proxy"
	"github.com/kamal-terraform/terraform-provider-kamal/test/byhand"
	"github.com/kamal-terraform/terraform-provider-kamal/test/testbed"
)

// A route is a route of shop, with what a state knows of it.
type route struct {
	e    *engine
	want proxy.Route
	// servers are those configured.
	servers []string
	// was and has are the service and the servers of the state, "" and nil where
	// there is none; instances is what it says of each server.
	was       string
	has       []string
	instances map[string]*proxy.Instance
}

// route is a route to a role of shop on all servers, at the resource's defaults
// but for a shorter deploy timeout.
func (e *engine) route(role string, change ...func(*proxy.Route)) *route {
	r := &route{e: e, want: proxy.Route{
		Service: "shop-" + role, App: "shop", AppPort: 3000, Health: healthcheck,
		DeployTimeout: 8 * time.Second, DrainTimeout: 30 * time.Second,
		Hosts: []string{"shop.example.com"}, PathPrefixes: []string{"/"}, StripPathPrefix: true,
		ForwardHeaders: true, ResponseTimeout: 30 * time.Second,
		Buffering:         proxy.Buffering{Requests: true, Responses: true, Memory: 1 << 20},
		LogRequestHeaders: []string{"Cache-Control", "Last-Modified", "User-Agent"},
	}}
	for _, s := range e.servers {
		r.servers = append(r.servers, s.Address)
	}
	for _, c := range change {
		c(&r.want)
	}
	return r
}

// ownCertificate gives a route a certificate of its own.
func ownCertificate(cert, key string) func(*proxy.Route) {
	return func(r *proxy.Route) {
		r.TLS = &proxy.TLS{Certificate: cert, PrivateKey: key, Redirect: true}
		r.ForwardHeaders = false // the resource's default with TLS
	}
}

// known are the servers of the state with their machine-ids.
func (r *route) known() map[string]string {
	known := map[string]string{}
	for _, s := range slices.Concat(r.has, slices.Collect(maps.Keys(r.instances))) {
		known[s] = ""
		if i := r.instances[s]; i != nil {
			known[s] = i.Machine
		}
	}
	return known
}

// everywhere are the servers of the state.
func (r *route) everywhere() []string { return slices.Sorted(maps.Keys(r.known())) }

// applyIn is one apply in a run. It keeps what a state keeps, and returns the
// warnings.
func (r *route) applyIn(ctx context.Context, in *run) (string, error) {
	create := r.was == ""
	c := proxy.RouteChange{Route: r.want, Servers: r.servers, Create: create}
	if !create {
		c.Was, c.Known, c.Leaving = r.was, r.known(), without(r.everywhere(), r.servers)
	}
	report, err := proxy.ApplyRoute(ctx, in.fleet, c)
	switch {
	case err == nil:
		r.was, r.has, r.instances = r.want.Service, slices.Clone(r.servers), report.Instances
	case !create:
		was := r.instances
		r.instances = report.Instances
		for _, s := range report.Unseen {
			if i, ok := was[s]; ok {
				r.instances[s] = i
			}
		}
	}
	return routeWarnings(report.Warnings), err
}

func routeWarnings(list []proxy.RouteWarning) string {
	var text strings.Builder
	for _, w := range list {
		text.WriteString(w.Summary + "\n" + w.Detail + "\n")
	}
	return text.String()
}

// deploy applies a change and then wants nothing left to do; it returns the warnings.
func (r *route) deploy(change ...func(*proxy.Route)) string {
	r.e.Helper()
	for _, c := range change {
		c(&r.want)
	}
	applied := r.e.newRun()
	warnings, err := r.applyIn(r.e.ctx(), applied)
	r.e.must(err)
	r.wantConverged()
	r.e.run = applied // its calls are those of the apply
	return warnings
}

// fails wants a change to fail and to tell the texts, and takes it back; it
// returns what it told.
func (r *route) fails(change func(*proxy.Route), texts ...string) string {
	r.e.Helper()
	before := r.want
	change(&r.want)
	_, err := r.applyIn(r.e.ctx(), r.e.newRun())
	r.want = before
	return r.e.wantFailure(err, texts...)
}

// routeAsItIs changes nothing.
func routeAsItIs(*proxy.Route) {}

// observe is what a new run sees of the route on a server, nil where it isn't.
func (r *route) observe(server string) *proxy.Instance {
	r.e.Helper()
	i, err := proxy.ObserveRoute(r.want.Service, r.e.snapshot(server))
	if err != nil {
		r.e.Fatal(r.e.told(err))
	}
	return i
}

// left is what a plan would show for a server.
func (r *route) left(server string) []string {
	r.e.Helper()
	i := r.observe(server)
	if i == nil {
		return []string{"no route"}
	}
	return i.Drift(r.want)
}

// wantLeft wants a plan for a server that shows just this.
func (r *route) wantLeft(server string, want ...string) {
	r.e.Helper()
	if got := r.left(server); !slices.Equal(got, want) {
		r.e.Errorf("the plan for %s shows %q, want %q", server, got, want)
	}
}

// wantConverged wants a plan with nothing to do, on all servers, and an
// instance on each.
func (r *route) wantConverged() {
	r.e.Helper()
	for _, s := range r.servers {
		if left := r.left(s); len(left) > 0 {
			r.e.Fatalf("on %s the plan is not empty: %q", s, left)
		}
	}
	if got, want := slices.Sorted(maps.Keys(r.instances)), slices.Sorted(slices.Values(r.servers)); !slices.Equal(got, want) {
		r.e.Fatalf("the state has the route on %q, want %q", got, want)
	}
}

// adopt imports the route from its servers.
func (r *route) adopt() {
	r.e.Helper()
	r.was, r.has, r.instances = r.want.Service, slices.Clone(r.servers), map[string]*proxy.Instance{}
	for _, s := range r.servers {
		if i := r.observe(s); i != nil {
			r.instances[s] = i
		}
	}
	r.wantConverged()
}

// remove destroys the route; it returns the warnings.
func (r *route) remove(options ...option) (string, error) {
	r.e.Helper()
	gone := r.want
	gone.Service = r.was
	warnings, err := proxy.RemoveRoute(r.e.ctx(), r.e.newRun(options...).fleet, gone, r.everywhere())
	if err == nil {
		r.was, r.has, r.instances = "", nil, nil
	}
	return routeWarnings(warnings), err
}

// destroy removes the route and wants no word about it.
func (r *route) destroy() {
	r.e.Helper()
	warnings, err := r.remove()
	r.e.must(err)
	if warnings != "" {
		r.e.Errorf("a destroy warns: %s", warnings)
	}
}

// bootProxy starts kamal-proxy as Kamal does.
func (e *engine) bootProxy(servers ...*testbed.Server) {
	e.Helper()
	for _, s := range servers {
		byhand.BootProxy(e, e.bed, s)
	}
}

// runRole starts a container of a role as Kamal does; it returns its short id.
func (e *engine) runRole(s *testbed.Server, role, version string) string {
	e.Helper()
	return byhand.RunRole(e, e.bed, s, role, version)
}

// proxyMarks are the marks of routes on a server.
func (e *engine) proxyMarks(s *testbed.Server) string {
	e.Helper()
	return strings.Join(strings.Fields(s.SSH(e, "cd .kamal/terraform 2>/dev/null && ls | grep '^route' || :")), " ")
}

// certificates are the files under apps-config, with mode and owner.
func (e *engine) certificates(s *testbed.Server) string {
	e.Helper()
	return strings.Join(strings.Fields(s.SSH(e, `[ ! -d .kamal/proxy/apps-config ] || find .kamal/proxy/apps-config -mindepth 1 -type f -printf '%P %m %U\n' | sort`)), " ")
}

// entryOption is an option in kamal-proxy's state file, as a text: part is "options" or "target_options".
func (e *engine) entryOption(s *testbed.Server, service, part, name string) string {
	e.Helper()
	options, _ := proxyEntry(e, s, service)[part].(map[string]any)
	return fmt.Sprint(options[name])
}

// entryTarget is where kamal-proxy sends a service's requests, as its state file has it.
func (e *engine) entryTarget(s *testbed.Server, service string) string {
	e.Helper()
	targets, _ := proxyEntry(e, s, service)["active_targets"].([]any)
	if len(targets) != 1 {
		e.Fatalf("targets of %s: %v", service, targets)
	}
	return fmt.Sprint(targets[0])
}
