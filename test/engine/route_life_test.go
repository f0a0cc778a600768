package engine

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/proxy"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
	"github.com/kamal-terraform/terraform-provider-kamal/test/testbed"
)

// A route's life on two servers, to a container that somebody else has started.
func TestRouteIsChangedMendedMovedAndRemoved(t *testing.T) {
	onEngines(t, func(e *engine) {
		a, b := e.s, e.another(e.kind)
		both := []*testbed.Server{a, b}
		ids := map[string]string{}
		e.bootProxy(both...)
		for _, s := range both {
			ids[s.Address] = e.runRole(s, "web", "v1")
			proxyCLI(e, s, "deploy other --host other.example.com --target "+ids[s.Address]+":3000")
		}
		r := e.route("web")
		r.deploy()
		for _, s := range both {
			wantVersion(e, s, "http://shop.example.com/", "v1")
			if got := r.instances[s.Address].Target; got != ids[s.Address]+":3000" {
				e.Errorf("target on %s: %s", s.Name, got)
			}
		}

		// A change of options: one remote call per server after the look, no
		// container touched, no other option forgotten.
		r.deploy(func(r *proxy.Route) { r.Hosts = []string{"www.example.com", "shop.example.com"} })
		if got := e.run.remoteCalls(a.Address); len(got) != 2 || e.run.handshakes(a.Address) != 1 {
			e.Errorf("remote calls: %q over %d connections", got, e.run.handshakes(a.Address))
		}
		wantVersion(e, a, "http://www.example.com/", "v1")
		if now := inspect(e, a, "shop-web-v1", "slice .Id 0 12"); now != ids[a.Address] || e.entryTarget(a, "shop-web") != now+":3000" {
			e.Errorf("the container was replaced: %s, before %s", now, ids[a.Address])
		}
		for name, want := range map[string]string{"buffer_requests": "true", "buffer_responses": "true", "max_memory_buffer_size": "1.048576e+06",
			"response_timeout": "3e+10", "forward_headers": "true", "log_request_headers": "[Cache-Control Last-Modified User-Agent]"} {
			if got := e.entryOption(a, "shop-web", "target_options", name); got != want {
				e.Errorf("after a change of hosts %s is %s, want %s", name, got, want)
			}
		}

		// Somebody removes it on one server, and changes it on the other.
		proxyCLI(e, a, "remove shop-web")
		proxyCLI(e, b, "deploy shop-web --host www.example.com --host shop.example.com --target "+ids[b.Address]+":3000 --target-timeout 5s --buffer-requests --buffer-responses")
		r.wantLeft(a.Address, "no route")
		r.wantLeft(b.Address, "response_timeout", "log_headers")
		if got := r.observe(b.Address).Route.ResponseTimeout; got != 5*time.Second {
			e.Errorf("the response timeout that is seen: %s", got)
		}
		r.deploy()
		wantVersion(e, a, "http://www.example.com/", "v1")
		if got := e.entryOption(b, "shop-web", "target_options", "response_timeout"); got != "3e+10" {
			e.Errorf("response timeout %s", got)
		}
		e.routeDriftsAndMaintenance(r, ids)

		// To another service, on both servers.
		for _, s := range both {
			e.runRole(s, "next", "v2")
		}
		r.deploy(func(r *proxy.Route) { r.Service = "shop-next" })
		wantVersion(e, a, "http://shop.example.com/", "v2")
		if proxyEntry(e, b, "shop-web") != nil {
			e.Error("the old service is still there")
		}
		if got := e.run.remoteCalls(b.Address); len(got) > 3 {
			e.Errorf("the move took the remote calls %q", got)
		}
		if got := e.proxyMarks(b); got != "route.shop-next.json" {
			e.Errorf("marks after the move: %s", got)
		}

		// One server less.
		r.servers = []string{b.Address}
		r.deploy()
		if proxyEntry(e, a, "shop-next") != nil || e.proxyMarks(a) != "" {
			e.Errorf("left on the server that the route left: %s %s", proxyState(e, a), e.proxyMarks(a))
		}
		e.routeServerIsGone(r, a, b)

		// Gone everywhere: created again.
		proxyCLI(e, b, "remove shop-next")
		r.wantLeft(b.Address, "no route")
		r.deploy()
		r.destroy()
		if proxyEntry(e, b, "shop-next") != nil || proxyEntry(e, b, "other") == nil {
			e.Errorf("after destroy: %s", proxyState(e, b))
		}
		if got := names(e, b); got != "kamal-proxy shop-next-v2 shop-web-v1" || e.proxyMarks(b) != "" {
			e.Errorf("containers and marks after destroy: %s, %s", got, e.proxyMarks(b))
		}
	})
}

// routeDriftsAndMaintenance spoils the route of shop-web on one server and on both.
func (e *engine) routeDriftsAndMaintenance(r *route, ids map[string]string) {
	e.Helper()
	a, b := e.servers[0], e.servers[1]
	// On one server alone, so that the attribute can't tell.
	proxyCLI(e, b, "deploy shop-web --host shop.example.com --target "+ids[b.Address]+":3000 --buffer-requests --buffer-responses --log-request-header Cache-Control --log-request-header Last-Modified --log-request-header User-Agent")
	r.wantLeft(a.Address)
	r.wantLeft(b.Address, "hosts")
	if got := proxy.Merge(r.want, []proxy.Route{r.observe(a.Address).Route, r.observe(b.Address).Route}); len(proxy.Diff(got, r.want)) > 0 {
		e.Errorf("drift on one server alone changes the attributes %q", proxy.Diff(got, r.want))
	}
	r.deploy()
	if calls := e.run.remoteCalls(a.Address); len(calls) != 1 {
		e.Errorf("the server without drift was changed too: %q", calls)
	}

	// Maintenance, ended by hand, begun again, ended.
	r.deploy(func(r *proxy.Route) { r.Maintenance = &proxy.Maintenance{Message: "Back at 5 o'clock"} })
	if got := wantStatus(e, a, "http://shop.example.com/", 503); !strings.Contains(got.Body, "Back at 5 o&#39;clock") {
		e.Errorf("the page does not show the message: %s", got.Body)
	}
	for _, s := range []*testbed.Server{a, b} {
		proxyCLI(e, s, "resume shop-web")
		r.wantLeft(s.Address, "maintenance")
	}
	r.deploy()
	wantStatus(e, b, "http://shop.example.com/", 503)
	// With another message, and with options beside it.
	r.deploy(func(r *proxy.Route) { r.Maintenance = &proxy.Maintenance{}; r.ResponseTimeout = 20 * time.Second })
	if got := wantStatus(e, b, "http://shop.example.com/", 503); strings.Contains(got.Body, "5 o&#39;clock") {
		e.Errorf("the page shows the old message: %s", got.Body)
	}
	r.deploy(func(r *proxy.Route) { r.Maintenance, r.ResponseTimeout = nil, 30*time.Second })
	wantVersion(e, a, "http://shop.example.com/", "v1")
	proxyCLI(e, a, "pause shop-web")
	if i := r.observe(a.Address); i.State != proxy.Paused || !slices.Equal(i.Drift(r.want), []string{"maintenance"}) {
		e.Errorf("seen after a hand-made pause: %s, drift %q", i.State, i.Drift(r.want))
	}
	r.deploy()
	wantVersion(e, a, "http://shop.example.com/", "v1")
}

// routeServerIsGone has the route on both servers, then switches one off.
func (e *engine) routeServerIsGone(r *route, a, b *testbed.Server) {
	e.Helper()
	r.servers = []string{a.Address, b.Address}
	r.deploy()
	a.Stop(e)
	impatient := func(_ *fleet.Fleet, o *sshexec.Options) { o.ConnectTimeout = 3 * time.Second }
	e.options = append(e.options, impatient)
	// A change that stays on it fails there, and the state keeps what it said of it.
	known := r.instances[a.Address]
	r.fails(func(r *proxy.Route) { r.CanonicalHost = "shop.example.com" }, "Unable to route", "on "+a.Address, "cannot reach "+a.Address)
	if r.instances[a.Address] != known || r.instances[b.Address] == nil {
		e.Errorf("the state after it: %v", r.instances)
	}
	r.servers = []string{b.Address}
	if out := r.deploy(); !says(out, a.Address+" is no longer there") || !says(out, "the service shop-next at its kamal-proxy") {
		e.Errorf("it was not said what may be left on the server that is gone: %s", out)
	}
}
