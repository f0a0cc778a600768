package acceptance

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/test/testbed"
)

// stackConfig is what most users write: proxies, a role and its route.
const stackConfig = `
variable "image" { type = string }
variable "servers" { type = list(string) }
variable "serving" { type = list(string) }

resource "kamal_server" "web" {
  for_each = toset(var.servers)
  server   = each.key
}
resource "kamal_proxy" "web" {
  for_each = kamal_server.web
  server   = each.value.server
  image    = "{{proxyimage}}"
}
resource "kamal_app_role" "web" {
  service        = "shop"
  servers        = [for s in var.serving : kamal_proxy.web[s].server]
  image          = var.image
  app_port       = 3000
  deploy_timeout = "20s"
  boot           = { limit = 1 }
}
resource "kamal_proxy_route" "web" {
  target  = kamal_app_role.web.proxy
  servers = kamal_app_role.web.servers
  hosts   = ["shop.example.com"]
}
`

func TestStackGrowsIsReplacedAndShrinks(t *testing.T) {
	aboutServers(t)
	t.Parallel()
	a, b := bed(t).Server(t, testbed.Debian12), bed(t).Server(t, testbed.Debian13)
	w := newWorkspace(t, a, b)
	w.Write("main.tf", strings.Replace(stackConfig, "{{proxyimage}}", strings.TrimSuffix(w.Bed.Image("basecamp/kamal-proxy:v0.9.2"), ":v0.9.2"), 1))
	set := func(image string, servers, serving []*testbed.Server) {
		w.Setenv("TF_VAR_image", w.Bed.Image(image))
		w.Setenv("TF_VAR_servers", hclList(servers...))
		w.Setenv("TF_VAR_serving", hclList(serving...))
	}
	both, one := []*testbed.Server{a, b}, []*testbed.Server{a}

	set("app:v1", both, one)
	w.Apply()
	l := startLoad(t, a)
	set("app:v1", both, both)
	w.Apply()
	wantNoneFailed(t, l, "a server more")
	lb := startLoad(t, b)
	set("app:v2", both, both)
	w.Apply()
	wantNoneFailed(t, l, "deploy of v2 on the first")
	wantNoneFailed(t, lb, "deploy of v2 on the second")

	for _, address := range []string{"kamal_proxy_route.web", "kamal_app_role.web"} {
		w.Apply("-replace=" + address)
		l.Take()
		lb.Take()
		time.Sleep(time.Second) // time for the load to show what is there now
		wantNoneFailed(t, l, "after -replace of "+address)
		wantNoneFailed(t, lb, "after -replace of "+address+" on the second")
	}

	// Everything on both servers is refreshed with one call each.
	w.Plan()
	for _, s := range both {
		if n, calls := w.Handshakes(s.Address), w.RemoteCalls(s.Address); n != 1 || len(calls) != 1 {
			t.Errorf("a refresh of all resources on %s took %d handshakes and the calls %q", s.Name, n, calls)
		}
	}

	// One server less for role and route; its proxy stays.
	lb.Stop()
	set("app:v2", both, one)
	w.Apply()
	wantNoneFailed(t, l, "a server less")
	if got := names(t, b); got != "kamal-proxy" || proxyEntry(t, b, "shop-web") != nil {
		t.Errorf("left on the server that serves no more: %q, %v", got, proxyEntry(t, b, "shop-web"))
	}

	// The server leaves altogether: its proxy is destroyed before role and route are changed.
	set("app:v2", both, both)
	w.Apply()
	set("app:v2", one, one)
	w.Apply()
	wantNoneFailed(t, l, "a server leaves altogether")
	if got := names(t, b); got != "" {
		t.Errorf("left on the server that left: %q", got)
	}

	// And once more, when it is gone already.
	set("app:v2", both, both)
	w.Apply()
	b.Stop(t)
	w.Provider("ssh = merge({{ssh}}, { connect_timeout = \"3s\" })\nregistries = {{registries}}\non_unreachable = \"keep\"")
	set("app:v2", one, one)
	w.Apply()
	wantNoneFailed(t, l, "a server that is gone leaves")
	if left := w.Addresses(); slices.ContainsFunc(left, func(a string) bool { return strings.Contains(a, b.Address) }) {
		t.Errorf("still in the state: %q", left)
	}

	l.Stop()
	w.Destroy()
	if got := a.SSH(t, `docker ps -aq; ls -A .kamal/terraform .kamal/apps 2>/dev/null | grep -v flock || :`); strings.Contains(got, "shop") || strings.Contains(got, "json") {
		t.Errorf("left after destroy: %s", got)
	}
}
