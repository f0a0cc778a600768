package engine

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/proxy"
	"github.com/kamal-terraform/terraform-provider-kamal/test/byhand"
)

// The docs say how long an update interrupts traffic: this is where it is
// measured. A busy machine makes any of them long, so the shortest counts.
func TestProxyUpdateInterruptsTrafficBriefly(t *testing.T) {
	onEngines(t, func(e *engine) {
		p := e.kamalProxy()
		p.deploy()
		byhand.Serve(e, e.bed, e.s, "shop-web")
		l := startLoad(e, e.s)
		const rate = 100 // of startLoad
		var gaps []time.Duration
		for _, v := range []string{newProxy, oldProxy, newProxy} {
			l.Take()
			p.deploy(proxyVersion(v))
			r := l.Take()
			gap := time.Duration(float64(r.Failed) / rate * float64(time.Second))
			e.Logf("%s: update to %s: %d of %d requests failed at %d/s: an interruption of about %s", e.kind, v, r.Failed, r.Requests, rate, gap)
			gaps = append(gaps, gap)
		}
		l.Stop()
		if slices.Min(gaps) > 5*time.Second {
			e.Errorf("%s: updates interrupted traffic for %s", e.kind, gaps)
		}
	})
}

func TestProxyUpdateGoesOnWhenTheProviderIsKilled(t *testing.T) {
	onEngines(t, func(e *engine) {
		p, s := e.kamalProxy(), e.s
		p.deploy()
		byhand.Serve(e, e.bed, s, "shop-web")
		// A request under way keeps the old proxy from stopping at once.
		s.SSH(e, `(curl -s -m 30 'http://127.0.0.1/slow?ms=6000' >/dev/null 2>&1 &)
			pid=$(docker inspect --format '{{.State.Pid}}' kamal-proxy)
			n=0; until grep -qE ':0050 [0-9A-F]+:[0-9A-F]+ 01' /proc/$pid/net/tcp /proc/$pid/net/tcp6; do n=$((n+1)); [ $n -lt 200 ] || exit 1; sleep 0.05; done`)
		dying := e.newRun()
		p.spec.Version = newProxy
		update := e.start(func() error { return p.applyIn(e.ctx(), dying) })
		eventually(e, time.Minute, "the old proxy is being stopped", func() bool {
			out, err := s.Run(e.Context(), "docker ps -a --format '{{.Names}}'")
			return err == nil && strings.Contains(out, "kamal-proxy-new") && byhand.PortStatus(e, s, 80) == 0
		})
		dying.kill()
		e.wantFailure(update.wait(), "Unable to update kamal-proxy on "+s.Address)
		eventually(e, time.Minute, "the new proxy serves", func() bool { return byhand.PortStatus(e, s, 80) == http.StatusOK })
		eventually(e, time.Minute, "nothing is left over", func() bool { return e.containers(s) == "kamal-proxy shop-web-app" })
		p.deploy()
		if got := inspect(e, s, "kamal-proxy", ".Config.Image"); !strings.HasSuffix(got, newProxy) {
			e.Errorf("after the next apply %s runs", got)
		}
	})
}

// Somebody changes the routes between the look at them and the change.
func TestProxyChangeMindsRoutesThatChangeMeanwhile(t *testing.T) {
	onEngines(t, func(e *engine) {
		p, s := e.kamalProxy(), e.s
		p.deploy()
		byhand.Serve(e, e.bed, s, "shop-web")
		target := e.entryTarget(s, "shop-web")
		for _, change := range []func(*proxy.ContainerSpec){proxyVersion(newProxy), proxyVersion(oldProxy)} {
			change(&p.spec)
			let := e.holdProxy(s)
			r := e.newRun()
			update := e.start(func() error { return p.applyIn(e.ctx(), r) })
			e.waitsForProxy(s)
			proxyCLI(e, s, "deploy shop-"+strings.ReplaceAll(p.spec.Version, ".", "-")+" --host "+p.spec.Version+".example.com --target "+target)
			let()
			e.must(update.wait())
			// It looked again, and let no route of the new ones go.
			calls := r.remoteCalls(s.Address)
			if n := len(slices.DeleteFunc(slices.Clone(calls), func(c string) bool { return c != "replace kamal-proxy" })); n != 2 {
				e.Errorf("remote calls: %q, want it replaced at the second try", calls)
			}
			wantVersion(e, s, "http://"+p.spec.Version+".example.com/", "v1")
			p.wantConverged()
		}

		// A destroy finds the route that came meanwhile, and refuses.
		proxyCLI(e, s, "remove shop-web")
		proxyCLI(e, s, "remove shop-v0-9-3")
		proxyCLI(e, s, "remove shop-v0-9-2")
		let := e.holdProxy(s)
		removal := e.start(func() error { _, err := p.remove(); return err })
		e.waitsForProxy(s)
		proxyCLI(e, s, "deploy late --host late.example.com --target "+target)
		let()
		e.wantFailure(removal.wait(), "it serves what this provider did not deploy: late", "nothing was changed")
		wantVersion(e, s, "http://late.example.com/", "v1")
	})
}

// The routes are in a volume: a kamal-proxy that is booted again has them.
func TestProxyReplacedKeepsTheRoutesOfThisProvider(t *testing.T) {
	onEngines(t, func(e *engine) {
		p, s := e.kamalProxy(), e.s
		p.deploy()
		web := e.role()
		web.deploy("app:v1")
		r := e.route("web", func(r *proxy.Route) { r.Hosts = nil })
		r.deploy()
		wantPort(e, s, 80, http.StatusOK)
		before := e.proxyID()
		served, err := p.remove()
		e.must(err)
		if !slices.Equal(served, []string{"shop-web"}) {
			e.Errorf("services that went with kamal-proxy: %q", served)
		}
		wantPort(e, s, 80, 0)
		p.deploy()
		wantPort(e, s, 80, http.StatusOK)
		if e.proxyID() == before {
			e.Error("the container is the one that was removed")
		}
		for _, spoil := range []string{"docker stop -t 1 kamal-proxy", "docker rm -f kamal-proxy"} {
			s.SSH(e, spoil)
			p.deploy()
			web.wantConverged()
			r.wantConverged()
			wantPort(e, s, 80, http.StatusOK)
		}
		r.destroy()
		if warnings, err := web.remove(); err != nil || warnings != "" {
			e.Errorf("destroying the role: %v, warnings %q", err, warnings)
		}
		if _, err := p.remove(); err != nil {
			e.Error(err)
		}
		s.SSH(e, `[ -z "$(docker ps -aq)" ] && [ -z "$(ls -A .kamal/terraform 2>/dev/null | grep -v flock)" ]`)
	})
}
