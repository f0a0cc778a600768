package acceptance

import (
	"slices"
	"strings"
	"testing"

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

// The order in which a CLI takes the resources of a stack: created, replaced,
// mended, gone with their server. What servers make of it, test/engine shows.
func TestStackIsReplacedAndShrinks(t *testing.T) {
	aboutServers(t)
	t.Parallel()
	a, b := bed(t).Warm(t, oldest), bed(t).Warm(t, newest)
	w := newWorkspace(t, a, b)
	w.Write("main.tf", strings.Replace(stackConfig, "{{proxyimage}}", strings.TrimSuffix(w.Bed.Image("basecamp/kamal-proxy:v0.9.2"), ":v0.9.2"), 1))
	w.Setenv("TF_VAR_image", w.Bed.Image("app:v1"))
	set := func(servers ...*testbed.Server) {
		w.Setenv("TF_VAR_servers", hclList(servers...))
		w.Setenv("TF_VAR_serving", hclList(servers...))
	}
	both := []*testbed.Server{a, b}
	serves := func() {
		t.Helper()
		for _, s := range both {
			wantVersion(t, s, "http://shop.example.com/", "v1")
		}
	}
	set(both...)
	w.Apply()
	serves()
	for _, address := range []string{"kamal_proxy_route.web", "kamal_app_role.web"} {
		w.Apply("-replace=" + address)
		serves()
	}
	// That the traffic follows a new container is no drift of the route.
	if r := w.run("plan", "-refresh-only", "-detailed-exitcode", "-no-color"); r.code != 0 {
		t.Errorf("a refresh after the apply finds something (exit code %d)", r.code)
	}
	if out := w.Apply(`-replace=kamal_proxy.web["` + a.Address + `"]`); !says(out, "Nothing serves these apps on "+a.Address+" any more") || !says(out, "shop-web") {
		t.Errorf("no warning that a service went with kamal-proxy:\n%s", out)
	}
	serves()

	// Everything on both servers is refreshed with one call each.
	w.Plan()
	for _, s := range both {
		if n, calls := w.Handshakes(s.Address), w.RemoteCalls(s.Address); n != 1 || len(calls) != 1 {
			t.Errorf("a refresh of all resources on %s took %d handshakes and the calls %q", s.Name, n, calls)
		}
	}

	// The container dies by hand: role and route are mended together.
	a.SSH(t, "docker rm --force shop-web-v1")
	if p := w.Plan(); p.Actions("kamal_proxy_route.web") != "update" || p.Actions("kamal_app_role.web") == "no-op" {
		t.Errorf("plan after docker rm: %q", p.NotEmpty())
	}
	w.Apply()
	serves()

	// The server leaves altogether: its proxy is destroyed before role and route are changed.
	l := startLoad(t, a)
	set(a)
	w.Apply()
	wantNoneFailed(t, l, "a server leaves altogether")
	if got := names(t, b); got != "" {
		t.Errorf("left on the server that left: %q", got)
	}

	// And once more, when it is gone already.
	set(both...)
	w.Apply()
	serves()
	b.Stop(t)
	w.Provider("ssh = merge({{ssh}}, { connect_timeout = \"3s\" })\nregistries = {{registries}}\non_unreachable = \"keep\"")
	set(a)
	w.Apply()
	if left := w.Addresses(); slices.ContainsFunc(left, func(a string) bool { return strings.Contains(a, b.Address) }) {
		t.Errorf("still in the state: %q", left)
	}
	wantNoneFailed(t, l, "a server that is gone leaves")
	l.Stop()
	w.Destroy()
	if got := a.SSH(t, `docker ps -aq; ls -A .kamal/terraform .kamal/apps 2>/dev/null | grep -v flock || :`); strings.Contains(got, "shop") || strings.Contains(got, "json") {
		t.Errorf("left after destroy: %s", got)
	}
}
