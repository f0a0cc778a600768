package engine

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/kamal"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/proxy"
	"github.com/kamal-terraform/terraform-provider-kamal/test/testbed"
)

// hostWait is how long a route waits for another one to give up its host.
const hostWait = 30 * time.Second

// Somebody changes the routes by hand between the look at them and the change:
// what was planned on the old ones is not sent.
func TestRouteChangeMindsRoutesThatChangeMeanwhile(t *testing.T) {
	onEngines(t, func(e *engine) {
		s := e.s
		e.bootProxy(s)
		web := e.role()
		web.deploy("app:v1")
		r := e.route("web")
		r.deploy()
		// What a route doesn't know of is kept; set by hand, it is nobody's drift.
		setByHand := func(more string) {
			e.Helper()
			proxyCLI(e, s, "deploy shop-web --host shop.example.com --target "+e.entryTarget(s, "shop-web")+
				" --buffer-requests --buffer-responses --log-request-header Cache-Control --log-request-header Last-Modified --log-request-header User-Agent"+more)
		}
		wantKept := func(when, name, want string) {
			e.Helper()
			part := "options"
			if name == "scope_cookie_paths" {
				part = "target_options"
			}
			if got := e.entryOption(s, "shop-web", part, name); got != want {
				e.Errorf("%s %s is %s, want %s", when, name, got, want)
			}
		}

		let := e.holdProxy(s)
		r.want.ResponseTimeout = 20 * time.Second
		run := e.newRun()
		change := e.start(func() error { _, err := r.applyIn(e.ctx(), run); return err })
		e.waitsForProxy(s)
		setByHand(" --scope-cookie-paths")
		let()
		e.must(change.wait())
		wantKept("after a change of the route", "scope_cookie_paths", "true")
		if calls := run.remoteCalls(s.Address); len(calls) != 4 {
			e.Errorf("remote calls: %q, want each of look and change twice", calls)
		}
		r.wantConverged()

		// So does a role's swap, which sends the whole entry too.
		let = e.holdProxy(s)
		web.spec.Image = e.image("app:v2")
		swap := e.start(func() error { _, err := web.apply(e.ctx(), ""); return err })
		e.waitsForProxy(s)
		setByHand(" --scope-cookie-paths --target-timeout 20s --writer-affinity-timeout 5s")
		let()
		e.must(swap.wait())
		wantKept("after a swap", "writer_affinity_timeout", "5e+09")
		wantKept("after a swap", "scope_cookie_paths", "true")
		wantVersion(e, s, "http://shop.example.com/", "v2")
		web.wantConverged()
		r.wantConverged()

		// The host that the route is to get is taken meanwhile: refused, not taken over.
		let = e.holdProxy(s)
		run = e.newRun()
		r.want.Hosts = append(r.want.Hosts, "www.example.com")
		change = e.start(func() error { _, err := r.applyIn(e.ctx(), run); return err })
		e.waitsForProxy(s)
		proxyCLI(e, s, "deploy taker --host www.example.com --target "+e.entryTarget(s, "shop-web"))
		let()
		e.wantFailure(change.wait(), "Unable to route", "www.example.com is held by the service taker at kamal-proxy", "kamal-proxy routes shop.example.com to shop-web")
		proxyCLI(e, s, "remove taker")
		r.deploy()

		// A removal is planned anew too; what goes is only its own.
		let = e.holdProxy(s)
		removal := e.start(func() error { _, err := r.remove(); return err })
		e.waitsForProxy(s)
		proxyCLI(e, s, "deploy other --host other.example.com --target "+e.entryTarget(s, "shop-web"))
		let()
		e.must(removal.wait())
		if proxyEntry(e, s, "shop-web") != nil || proxyEntry(e, s, "other") == nil || e.proxyMarks(s) != "" {
			e.Errorf("after the removal: %s %s", proxyState(e, s), e.proxyMarks(s))
		}
	})
}

// A create that is cut off: others see that it is under way, then that it died.
func TestRouteThatIsBeingMadeElsewhereIsLeftAlone(t *testing.T) {
	onEngines(t, func(e *engine) {
		s := e.s
		e.bootProxy(s)
		e.runRole(s, "web", "v1")
		let := e.holdProxy(s)
		dying := e.newRun()
		making := e.start(func() error { _, err := e.route("web").applyIn(e.ctx(), dying); return err })
		e.waitsForProxy(s)
		r := e.route("web")
		r.fails(routeAsItIs, "another run (by ", "is creating this route", "wait for it to end")
		dying.kill()
		e.wantFailure(making.wait(), "Unable to route shop.example.com to shop-web on "+s.Address)
		eventually(e, time.Minute, "nothing of the run that died waits for its turn", func() bool {
			_, err := s.Run(e.Context(), "! pgrep -fx 'flock 9'")
			return err == nil
		})
		let()
		if proxyEntry(e, s, "shop-web") != nil {
			e.Errorf("a run that died before its turn changed kamal-proxy: %s", proxyState(e, s))
		}
		s.SSH(e, "touch -d '31 seconds ago' .kamal/terraform/route.shop-web.json")
		r.deploy()
		wantVersion(e, s, "http://shop.example.com/", "v1")
		if m := e.snapshot(s.Address).Mark(proxy.MarkKind, "shop-web"); m == nil || m.State != kamal.MarkOwned {
			e.Errorf("the mark: %+v", m)
		}

		// One that is interrupted while the container proves its health is undone.
		r.destroy()
		s.SSH(e, "docker pause shop-web-v1")
		ctx, interrupt := context.WithCancel(e.ctx())
		run := e.newRun()
		r.want.DeployTimeout = 5 * time.Second
		var warned string
		making = e.start(func() (err error) { warned, err = r.applyIn(ctx, run); return err })
		eventually(e, time.Minute, "kamal-proxy is deploying", func() bool {
			_, err := s.Run(e.Context(), "pgrep -f '[d]eploy shop-web'")
			return err == nil
		})
		interrupt()
		e.wantFailure(making.wait(), "Unable to route shop.example.com to shop-web on "+s.Address)
		if !says(warned, "The failed route may still appear on "+s.Address) || !says(warned, "kamal-proxy may finish it within 5s") {
			e.Errorf("warnings: %s", warned)
		}
		s.SSH(e, "docker unpause shop-web-v1")
		// kamal-proxy goes on with a deploy after its client is gone, and the next apply takes it over.
		r.deploy()
		wantVersion(e, s, "http://shop.example.com/", "v1")

		// Another route of this provider has the host and does not give it up.
		e.runRole(s, "next", "v2")
		ctx, enough := context.WithTimeout(e.ctx(), 20*time.Second)
		defer enough()
		_, err := e.route("next").applyIn(ctx, e.newRun())
		told := e.wantFailure(err, "Unable to route shop.example.com to shop-next on "+s.Address)
		if !says(told, "is held by the service shop-web at kamal-proxy, a route of this provider that did not give it up") {
			e.Errorf("told: %s", told)
		}
		wantVersion(e, s, "http://shop.example.com/", "v1")
	})
}

// A change that fails on one of two servers is there on the other, and the next
// apply brings the rest.
func TestRouteChangeThatFailsOnOneServerIsFinishedNextTime(t *testing.T) {
	onEngines(t, func(e *engine) {
		a, b := e.s, e.another(e.kind)
		e.bootProxy(a, b)
		for _, s := range []*testbed.Server{a, b} {
			e.runRole(s, "web", "v1")
		}
		r := e.route("web")
		r.servers = []string{a.Address}
		r.deploy()
		// One more server, whose container is not healthy, with another option beside it.
		r.servers = []string{a.Address, b.Address}
		b.SSH(e, "docker pause shop-web-v1")
		change := func(r *proxy.Route) { r.ResponseTimeout, r.DeployTimeout = 20*time.Second, 2*time.Second }
		r.fails(change, "Unable to route shop.example.com to shop-web on "+b.Address, "kamal-proxy has no service shop-web")
		if r.instances[a.Address] == nil || r.instances[b.Address] != nil {
			e.Errorf("the state after it: %v", r.instances)
		}
		if got := e.entryOption(a, "shop-web", "target_options", "response_timeout"); got != "2e+10" {
			e.Errorf("response timeout on the server where it went through: %s", got)
		}
		b.SSH(e, "docker unpause shop-web-v1")
		r.deploy(change)

		// To another service, which is healthy on one of them only: the old one
		// is still served where it isn't, and the next apply goes on from there.
		for _, s := range []*testbed.Server{a, b} {
			e.runRole(s, "next", "v2")
		}
		b.SSH(e, "docker pause shop-next-v2")
		toNext := func(r *proxy.Route) { r.Service = "shop-next" }
		r.fails(toNext, "Unable to route shop.example.com to shop-next on "+b.Address, "kamal-proxy routes shop.example.com to shop-web")
		wantVersion(e, a, "http://shop.example.com/", "v2")
		wantVersion(e, b, "http://shop.example.com/", "v1")
		b.SSH(e, "docker unpause shop-next-v2")
		r.deploy(toNext)
		for _, s := range []*testbed.Server{a, b} {
			wantVersion(e, s, "http://shop.example.com/", "v2")
			if got := e.proxyMarks(s); got != "route.shop-next.json" {
				e.Errorf("marks on %s: %s", s.Name, got)
			}
		}

		// A server whose kamal-proxy is gone is left with a word.
		b.SSH(e, "docker rm -f kamal-proxy")
		r.servers = []string{a.Address}
		if out := r.deploy(); !says(out, "kamal-proxy is not there on "+b.Address) || !says(out, "the route shop-next could not be removed from it") {
			e.Errorf("warnings: %s", out)
		}
		if m := e.snapshot(b.Address).Mark(proxy.MarkKind, "shop-next"); m == nil || m.State != kamal.MarkGivenUp {
			e.Errorf("the mark on the server without a kamal-proxy: %+v", m)
		}
		// A kamal-proxy from the old volume has it again, and whoever creates it takes it.
		e.bootProxy(b)
		if proxyEntry(e, b, "shop-next") == nil {
			e.Errorf("the routes of the volume: %s", proxyState(e, b))
		}
		r.servers = []string{a.Address, b.Address}
		r.deploy()
		wantVersion(e, b, "http://shop.example.com/", "v2")

		// Docker does not run on one: a destroy tells, and takes what it can.
		b.SSH(e, "systemctl stop docker.socket docker")
		_, err := r.remove()
		e.wantFailure(err, "Unable to remove the route shop-next on "+b.Address, "docker does not answer there")
		if proxyEntry(e, a, "shop-next") != nil {
			e.Error("the route was left on the server whose Docker runs")
		}
		b.SSH(e, `systemctl reset-failed docker docker.socket; systemctl start docker
			n=0; until docker exec kamal-proxy kamal-proxy list >/dev/null 2>&1; do n=$((n+1)); [ $n -lt 300 ] || exit 1; sleep 0.1; done`)
		r.destroy()
		if got := strings.TrimSpace(proxyState(e, b)); got != "[]" && got != "null" {
			e.Errorf("left: %s", got)
		}
	})
}
