package engine

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/approle"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

// A role with its route gets servers and loses them, under load and without a
// failed request: proxies first, the role before its route. In which order a
// CLI takes them, test/acceptance shows.
func TestStackGrowsAndShrinks(t *testing.T) {
	onEngines(t, func(e *engine) {
		a, b := e.s, e.another(e.kind)
		proxies := map[string]*kamalProxy{}
		for _, s := range e.servers {
			p := e.kamalProxy()
			p.server = s.Address
			p.deploy()
			proxies[s.Address] = p
		}
		web := e.role(func(s *approle.Spec) { s.Boot.Limit = 1 })
		r := e.route("web")
		both, one := []string{a.Address, b.Address}, []string{a.Address}
		set := func(image string, servers []string) (warnings string) {
			e.Helper()
			web.servers, r.servers = servers, servers
			web.deploy(image)
			return r.deploy()
		}

		set("app:v1", one)
		l := startLoad(e, a)
		set("app:v1", both)
		wantNoneFailed(e, l, "a server more")
		lb := startLoad(e, b)
		set("app:v2", both)
		wantNoneFailed(e, l, "deploy of v2 on the first")
		wantNoneFailed(e, lb, "deploy of v2 on the second")

		// Everything on a server is refreshed with one call.
		run := e.newRun()
		for range 4 {
			for _, s := range both {
				if _, err := run.fleet.Server(s).Snapshot(e.ctx()); err != nil {
					e.Fatal(err)
				}
			}
		}
		for _, s := range both {
			if n, calls := run.handshakes(s), run.remoteCalls(s); n != 1 || len(calls) != 1 {
				e.Errorf("a refresh of all on %s took %d handshakes and the calls %q", s, n, calls)
			}
		}

		// One server less for role and route; its proxy stays.
		lb.Stop()
		set("app:v2", one)
		wantNoneFailed(e, l, "a server less")
		if got := names(e, b); got != "kamal-proxy" || proxyEntry(e, b, "shop-web") != nil {
			e.Errorf("left on the server that serves no more: %q, %v", got, proxyEntry(e, b, "shop-web"))
		}

		// The server leaves altogether: its proxy is destroyed before role and route are changed.
		set("app:v2", both)
		if served, err := proxies[b.Address].remove(); err != nil || !slices.Equal(served, []string{"shop-web"}) {
			e.Errorf("removing the proxy of the server that leaves: %q, %v", served, err)
		}
		set("app:v2", one)
		wantNoneFailed(e, l, "a server leaves altogether")
		if got := names(e, b); got != "" {
			e.Errorf("left on the server that left: %q", got)
		}

		// And once more, when it is gone already.
		proxies[b.Address].deploy()
		set("app:v2", both)
		b.Stop(e)
		e.options = append(e.options, func(f *fleet.Fleet, o *sshexec.Options) {
			o.ConnectTimeout = 3 * time.Second
			f.KeepUnreachable = true
		})
		if out := set("app:v2", one); !says(out, b.Address+" is no longer there") {
			e.Errorf("warnings: %s", out)
		}
		wantNoneFailed(e, l, "a server that is gone leaves")
		l.Stop()

		// A destroy forgets what is on it, and removes the rest.
		r.has = both
		out, err := r.remove()
		e.must(err)
		if !says(out, b.Address+" does not answer") || !says(out, `The route shop-web was forgotten there, because on_unreachable is "keep"`) {
			e.Errorf("warnings of the destroy: %s", out)
		}
		if _, err := web.remove(); err != nil {
			e.Error(err)
		}
		if _, err := proxies[a.Address].remove(); err != nil {
			e.Error(err)
		}
		if got := a.SSH(e, `docker ps -aq; ls -A .kamal/terraform .kamal/apps 2>/dev/null | grep -v flock || :`); strings.Contains(got, "shop") || strings.Contains(got, "json") {
			e.Errorf("left after destroy: %s", got)
		}
	})
}
