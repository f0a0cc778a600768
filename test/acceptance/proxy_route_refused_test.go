package acceptance

import (
	"slices"
	"strings"
	"testing"
)

func TestRouteConfigurationIsCheckedAtPlan(t *testing.T) {
	t.Parallel()
	w := newWorkspace(t)
	w.Setenv("TF_VAR_servers", `["10.0.0.1"]`)
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
	t.Parallel()
	s := bed(t).Warm(t, oldest)
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
