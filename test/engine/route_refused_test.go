package engine

import (
	"strings"
	"testing"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/proxy"
	"github.com/kamal-terraform/terraform-provider-kamal/test/testbed"
)

func TestRouteRefusesBeforeItChangesAnything(t *testing.T) {
	onEngines(t, func(e *engine) {
		a, b := e.s, e.another(e.kind)
		r := e.route("web")
		told := r.fails(routeAsItIs, "there is no kamal-proxy on the server", "kamal_proxy", a.Address, b.Address)
		for _, s := range []*testbed.Server{a, b} {
			if !says(told, "Unable to route shop.example.com to shop-web on "+s.Address) {
				e.Errorf("not said of %s", s.Address)
			}
		}

		e.bootProxy(a, b)
		webA := e.runRole(a, "web", "v1")
		other := e.runRole(b, "other", "v1")
		told = r.fails(routeAsItIs, "no container of shop-web runs there", "The route's servers: "+a.Address+", "+b.Address,
			"Servers where a container of shop-web runs: "+a.Address)
		if strings.Contains(told, "shop-web on "+a.Address) {
			e.Error("the server that has a container is blamed")
		}

		// The host is held on the second server: the first isn't touched either.
		e.runRole(b, "web", "v1")
		proxyCLI(e, b, "deploy shop-other --host shop.example.com --target "+other+":3000")
		before := proxyState(e, b)
		r.fails(routeAsItIs, "Unable to route shop.example.com to shop-web on "+b.Address, "shop.example.com is held by the service shop-other")
		if proxyState(e, b) != before || proxyEntry(e, a, "shop-web") != nil {
			e.Errorf("something was changed: %s %s", proxyState(e, a), proxyState(e, b))
		}

		// An entry that Kamal deployed is imported, not taken.
		proxyCLI(e, b, "deploy shop-web --host shop.example.org --target "+other+":3000")
		before = proxyState(e, b)
		r.fails(routeAsItIs, "kamal-proxy has the service shop-web already: shop.example.org", "by hand or by Kamal",
			"tofu import ADDRESS 'shop-web@"+a.Address+","+b.Address+"'")
		if proxyState(e, b) != before || proxyEntry(e, a, "shop-web") != nil {
			e.Errorf("something was changed: %s %s", proxyState(e, a), proxyState(e, b))
		}
		// Nor is one that has what this provider does not know.
		proxyCLI(e, b, "remove shop-web")
		proxyCLI(e, b, "remove shop-other")

		// One machine by two names.
		r.servers = append(r.servers, "root@"+a.Address+":22")
		r.fails(routeAsItIs, "are the same machine (machine-id ", "name each machine once in servers")
		r.servers = r.servers[:2]

		// kamal-proxy does not run, Docker does not.
		a.SSH(e, "docker stop -t 1 kamal-proxy")
		r.fails(routeAsItIs, "kamal-proxy does not run there, its container is exited", "docker start kamal-proxy")
		a.SSH(e, "docker start kamal-proxy; systemctl stop docker.socket docker")
		r.fails(routeAsItIs, "docker does not answer there", "systemctl start docker")
		a.SSH(e, `systemctl reset-failed docker docker.socket; systemctl start docker
			n=0; until docker exec kamal-proxy kamal-proxy list >/dev/null 2>&1; do n=$((n+1)); [ $n -lt 300 ] || exit 1; sleep 0.1; done`)

		// A create that fails on one server leaves none on the other.
		b.SSH(e, "docker pause shop-web-v1")
		r.fails(func(r *proxy.Route) { r.DeployTimeout, r.Health.Timeout = 3*time.Second, time.Second },
			"Unable to route shop.example.com to shop-web on "+b.Address, "asked the container shop-web-v1 for its health", "request timed out", "kamal-proxy has no service shop-web")
		b.SSH(e, "docker unpause shop-web-v1")
		for _, s := range []*testbed.Server{a, b} {
			if proxyEntry(e, s, "shop-web") != nil || e.proxyMarks(s) != "" {
				e.Errorf("left on %s: %s %s", s.Name, proxyState(e, s), e.proxyMarks(s))
			}
		}
		if r.was != "" || len(r.instances) > 0 {
			e.Errorf("in the state after a failed create: %q, %v", r.was, r.instances)
		}
		r.deploy()

		// A second configuration can't have it too.
		second := e.route("web")
		second.servers = []string{a.Address}
		second.fails(routeAsItIs, "Two configurations can't own one route", "with this provider")
		r.wantConverged()

		// What the provider would lose in an entry it does not touch.
		proxyCLI(e, a, "deploy shop-web --host shop.example.com --target "+webA+":3000 --read-target "+webA+":3000")
		before = proxyState(e, a)
		r.fails(func(r *proxy.Route) { r.ResponseTimeout = time.Minute }, "has read targets ("+webA+":3000), which this provider does not manage and would lose",
			"take off by hand what the provider does not know")
		wantSame(e, "kamal-proxy's state", before, proxyState(e, a))
	})
}

// What Kamal deployed, with the very command that Kamal 2.12 sends.
func TestRouteImportsWhatKamalDeployed(t *testing.T) {
	onEngines(t, func(e *engine) {
		s := e.s
		e.bootProxy(s)
		id := e.runRole(s, "web", "v1")
		proxyCLI(e, s, `deploy shop-web --target="`+id+`:3000" --host="shop.example.com" --deploy-timeout="30s" --drain-timeout="30s" --buffer-requests --buffer-responses \
			--target-timeout="90s" --path-prefix="/shop/" --forward-headers="false" --log-request-header="Cache-Control" --log-request-header="Last-Modified" --log-request-header="User-Agent"`)
		r := e.route("web", func(r *proxy.Route) {
			r.PathPrefixes, r.ForwardHeaders, r.ResponseTimeout = []string{"/shop/"}, false, 90*time.Second
			r.DeployTimeout = 30 * time.Second
		})
		if i, err := proxy.ObserveRoute("shop-job", e.snapshot(s.Address)); i != nil || err != nil {
			e.Errorf("a service that is not there is seen: %+v, %v", i, err)
		}
		before := proxyState(e, s)
		r.adopt()
		if i := r.observe(s.Address); i.Route.App != "shop" || i.Route.AppPort != 3000 || i.State != proxy.Running || i.Stray || i.Target != id+":3000" || i.Machine == "" {
			e.Errorf("what an import sees: %+v", i)
		}

		// Timeouts go with the next deploy: an update that touches nothing.
		r.want.DrainTimeout = 10 * time.Second
		r.wantLeft(s.Address)
		r.deploy()
		wantSame(e, "kamal-proxy's state", before, proxyState(e, s))

		// The same machine by another name is nothing to do there.
		r.servers = []string{"root@" + s.Address + ":22"}
		if warnings := r.deploy(); warnings != "" {
			e.Errorf("another name warns: %s", warnings)
		}
		wantSame(e, "kamal-proxy's state", before, proxyState(e, s))

		// The mark that it has from now on is this one's: nobody else's create takes it.
		r.deploy(func(r *proxy.Route) { r.ResponseTimeout = time.Minute })
		if got := e.proxyMarks(s); got != "route.shop-web.json" {
			e.Errorf("marks after a change: %q", got)
		}
		r.destroy()
		if proxyEntry(e, s, "shop-web") != nil || e.proxyMarks(s) != "" {
			e.Errorf("left after destroy: %s %s", proxyState(e, s), e.proxyMarks(s))
		}
	})
}
