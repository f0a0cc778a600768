package acceptance

import (
	"slices"
	"strings"
	"testing"

	"github.com/kamal-terraform/terraform-provider-kamal/test/testbed"
)

func TestRouteRefusesBeforeItChangesAnything(t *testing.T) {
	aboutServers(t)
	t.Parallel()
	a, b := bed(t).Server(t, testbed.Debian12), bed(t).Server(t, testbed.Debian13)
	w := newWorkspace(t, a, b)
	w.Write("main.tf", routeConfig)
	w.Setenv("TF_VAR_servers", `["`+a.Address+`","`+b.Address+`"]`)
	w.ApplyFails("there is no kamal-proxy on the server", "kamal_proxy", a.Address, b.Address)

	for _, s := range []*testbed.Server{a, b} {
		bootProxy(t, s)
	}
	runRole(t, a, "web", "v1")
	other := runRole(t, b, "other", "v1")
	out := w.ApplyFails("no container of shop-web runs there", "The route's servers: "+a.Address+", "+b.Address,
		"Servers where a container of shop-web runs: "+a.Address)
	if strings.Contains(out, "shop-web on "+a.Address) {
		t.Error("the server that has a container is blamed")
	}

	// The host is held on the second server: the first isn't touched either.
	runRole(t, b, "web", "v1")
	proxyCLI(t, b, "deploy shop-other --host shop.example.com --target "+other+":3000")
	before := proxyState(t, b)
	w.ApplyFails("Unable to route shop.example.com to shop-web on "+b.Address, "shop.example.com is held by the service shop-other")
	if proxyState(t, b) != before || proxyEntry(t, a, "shop-web") != nil {
		t.Errorf("something was changed: %s %s", proxyState(t, a), proxyState(t, b))
	}

	// An entry that Kamal deployed is imported, not taken.
	proxyCLI(t, b, "deploy shop-web --host shop.example.org --target "+other+":3000")
	w.ApplyFails("kamal-proxy has the service shop-web already: shop.example.org", "by hand or by Kamal",
		"tofu import ADDRESS 'shop-web@"+a.Address+","+b.Address+"'")
	proxyCLI(t, b, "remove shop-web")
	proxyCLI(t, b, "remove shop-other")

	// A create that fails on one server leaves none on the other.
	b.SSH(t, "docker pause shop-web-v1")
	w.Write("main.tf", strings.Replace(routeConfig, "app_port = 3000", `app_port = 3000, deploy_timeout = "3s", healthcheck = { timeout = "1s" }`, 1))
	w.ApplyFails("Unable to route shop.example.com to shop-web on "+b.Address, "asked the container shop-web-v1 for its health", "request timed out")
	b.SSH(t, "docker unpause shop-web-v1")
	for _, s := range []*testbed.Server{a, b} {
		if proxyEntry(t, s, "shop-web") != nil || strings.Contains(s.SSH(t, "cd; ls .kamal/terraform"), "json") {
			t.Errorf("left on %s: %s", s.Name, proxyState(t, s))
		}
	}
	if got := w.Addresses(); len(got) > 0 {
		t.Errorf("in the state after a failed create: %q", got)
	}
	w.Apply()

	// A second configuration can't have it too.
	second := newWorkspace(t, a)
	second.Write("main.tf", routeConfig)
	second.Setenv("TF_VAR_servers", `["`+a.Address+`"]`)
	second.ApplyFails("Two configurations can't own one route", "with this provider")
	w.PlanEmpty()

	for text, change := range map[string][2]string{
		"Invalid duration":       {"app_port = 3000", `app_port = 3000, healthcheck = { interval = "0s" }`},
		"Server named twice":     {"= var.servers", `= ["10.0.0.1", "root@10.0.0.1"]`},
		"Invalid server address": {"= var.servers", `= ["10.0.0.1:ssh"]`},
		"TLS without hosts":      {"= var.hosts", "= null\n tls = { acme = true }"},
		"Invalid host":           {"= var.hosts", `= ["https://shop.example.com"]`},
	} {
		w.Write("main.tf", strings.Replace(routeConfig, change[0], change[1], 1))
		w.PlanFails(text)
	}
}

// What Kamal deployed, with the very command that Kamal 2.12 sends.
func TestRouteImportsWhatKamalDeployed(t *testing.T) {
	aboutServers(t)
	t.Parallel()
	s := bed(t).Server(t, testbed.Debian12)
	bootProxy(t, s)
	id := runRole(t, s, "web", "v1")
	proxyCLI(t, s, `deploy shop-web --target="`+id+`:3000" --host="shop.example.com" --deploy-timeout="30s" --drain-timeout="30s" --buffer-requests --buffer-responses \
		--target-timeout="90s" --path-prefix="/shop/" --forward-headers="false" --log-request-header="Cache-Control" --log-request-header="Last-Modified" --log-request-header="User-Agent"`)
	w := newWorkspace(t, s)
	const config = `
resource "kamal_proxy_route" "web" {
  target           = { service = "shop-web", app = "shop", app_port = 3000 }
  servers          = {{servers}}
  hosts            = ["shop.example.com"]
  path_prefixes    = ["/shop/"]
  forward_headers  = false
  response_timeout = "90s"
}
`
	w.Write("main.tf", config)
	w.ImportFails(route, "shop-job@"+s.Address, "kamal-proxy has no service shop-job")
	before := proxyState(t, s)
	w.Import(route, "shop-web@"+s.Address)
	w.PlanEmpty()

	// Timeouts go with the next deploy: an update that touches nothing.
	w.Write("main.tf", strings.Replace(config, "app_port = 3000", `app_port = 3000, drain_timeout = "10s"`, 1))
	if p := w.Plan(); p.Actions(route) != "update" || !slices.Equal(p.Changed(route), []string{"target"}) {
		t.Errorf("another drain timeout: %s %q", p.Actions(route), p.Changed(route))
	}
	w.Apply()
	if proxyState(t, s) != before {
		t.Error("kamal-proxy's state changed")
	}

	// The same machine by another name is nothing to do there.
	w.Write("main.tf", strings.Replace(config, "{{servers}}", `["root@{{server 0}}:22"]`, 1))
	w.Apply()
	if proxyState(t, s) != before {
		t.Error("kamal-proxy's state changed with the server's name")
	}

	t.Run("by identity", func(t *testing.T) {
		needs(t, importByIdentity)
		w := newWorkspace(t, s)
		w.Write("main.tf", config+`
import {
  to       = kamal_proxy_route.web
  identity = { service = "shop-web", servers = {{servers}} }
}
`)
		w.Apply()
		if proxyState(t, s) != before {
			t.Error("kamal-proxy's state changed")
		}
	})
}
