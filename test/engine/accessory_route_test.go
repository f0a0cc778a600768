package engine

import (
	"strings"
	"testing"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/accessory"
	"github.com/kamal-terraform/terraform-provider-kamal/test/byhand"
)

// The service at kamal-proxy goes with the container, and back with the old one.
func TestAccessoryIsFollowedByItsRoute(t *testing.T) {
	onEngines(t, func(e *engine) {
		const url = "http://search.example.com/"
		a := e.accessory(func(s *accessory.Spec) {
			s.Name, s.AppPort, s.Ports, s.DeployTimeout = "search", 3000, []string{"0.0.0.0:7700:3000"}, 5*time.Second
		})

		// A create that fails leaves nothing.
		a.spec.Image, a.spec.Volumes, a.spec.Ready.Command = e.image("app:unhealthy"), []string{"search-data:/data"}, []string{"app", "healthcheck"}
		a.fails("Unable to create the accessory shop-search on "+e.s.Address, "503", "did not get ready in time", "nothing of this accessory")
		if got := e.s.SSH(e, `docker ps -aq; docker volume ls -q; ls .kamal/terraform .kamal/apps 2>/dev/null || :`); got != "" || a.state != nil {
			e.Errorf("left of a failed create: %q, state %v", got, a.state)
		}
		e.s.SSH(e, `docker run -d --name shop-search --network kamal `+e.image("app:unhealthy"))
		a.spec.Image, a.spec.Volumes, a.spec.Ready.Command = e.image("app:v1"), nil, nil
		a.fails("a container that is not an accessory has the name shop-search")
		if o := a.observe(); !o.Foreign {
			e.Error("an import would take the container for an accessory")
		}
		e.s.SSH(e, `docker rm -f shop-search`)

		byhand.BootProxy(e, e.bed, e.s)
		a.deploy()
		id := func(container string) string { return inspect(e, e.s, container, ".Id")[:12] }
		proxyCLI(e, e.s, "deploy shop-search --host=search.example.com --target-timeout=17s --target="+id("shop-search")+":3000")
		options := entryOptions(e, e.s)
		a.wantConverged()
		wantVersion(e, e.s, url, "v1")

		// Somebody else changes kamal-proxy's routes at the same time.
		e.beforeDocker("create", "/usr/bin/docker exec kamal-proxy kamal-proxy deploy other --host=other.example.com --target="+id("shop-search")+":3000 >/dev/null 2>&1")
		a.spec.Image = e.image("app:v2")
		a.deploy()
		e.afterDocker()
		wantVersion(e, e.s, url, "v2")
		if proxyEntry(e, e.s, "other") == nil {
			e.Error("the other service is gone")
		}
		proxyCLI(e, e.s, "remove other")
		wantSame(e, "the service's options", options, entryOptions(e, e.s))

		// kamal-proxy itself does not find the new one healthy.
		a.spec.Image = e.image("app:unhealthy")
		before := e.life("shop-search")
		a.fails("the old container was put back and is ready")
		if got := id("shop-search"); got != before[:12] {
			e.Errorf("another container than the old one runs: %s, before %s", got, before)
		}
		wantVersion(e, e.s, url, "v2")

		// What a switch would lose is refused while the old one runs.
		proxyCLI(e, e.s, "rollout deploy shop-search --target="+id("shop-search")+":3000")
		proxyCLI(e, e.s, "rollout set shop-search --percent=50")
		before = e.life("shop-search")
		a.fails("Unable to replace the accessory shop-search", "look at the accessory's service at kamal-proxy", "stop that first with `kamal-proxy rollout stop shop-search`")
		if got := e.life("shop-search"); got != before {
			e.Error("the container was replaced or started again")
		}
		proxyCLI(e, e.s, "rollout stop shop-search")

		// Somebody sends the visitors elsewhere.
		e.s.SSH(e, `docker run --detach --name elsewhere --network kamal `+e.image("app:v1"))
		proxyCLI(e, e.s, "deploy shop-search --host=search.example.com --target="+id("elsewhere")+":3000")
		a.spec.Image = e.image("app:v2")
		if _, p := a.plan(); p.Replace || strings.Join(p.Why, "; ") != "kamal-proxy sends traffic to "+id("elsewhere")+":3000" {
			e.Errorf("plan with another target: %q, replace %t", p.Why, p.Replace)
		}
		a.deploy()
		wantVersion(e, e.s, url, "v2")
		if got := e.life("shop-search"); got != before {
			e.Error("the container was replaced or started again")
		}

		// The service is its route's: it stays, and that is told.
		if out := a.destroy(); !says(out, "kamal-proxy on "+e.s.Address+" still has the service shop-search") || proxyEntry(e, e.s, "shop-search") == nil {
			e.Errorf("no word of the service that stays:\n%s", out)
		}
	})
}
