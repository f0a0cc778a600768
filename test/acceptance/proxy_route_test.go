package acceptance

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/test/testbed"
)

const route = "kamal_proxy_route.web"

// routeConfig is a route to a container that somebody else has started.
const routeConfig = `
variable "servers" { type = list(string) }
variable "service" { default = "shop-web" }
variable "hosts" {
  type    = list(string)
  default = ["shop.example.com"]
}
variable "message" {
  type    = string
  default = null
}
resource "kamal_proxy_route" "web" {
  target      = { service = var.service, app = "shop", app_port = 3000 }
  servers     = var.servers
  hosts       = var.hosts
  maintenance = var.message == null ? null : { message = var.message }
}
`

func TestRouteIsCreatedChangedMendedAndRemoved(t *testing.T) {
	story(t)
	t.Parallel()
	a, b := bed(t).Warm(t, oldest), bed(t).Warm(t, newest)
	w := newWorkspace(t, a, b)
	w.Write("main.tf", routeConfig)
	both := hclList(a, b)
	w.Setenv("TF_VAR_servers", both)
	w.ApplyFails("there is no kamal-proxy on the server", "kamal_proxy", a.Address, b.Address)
	if got := w.Addresses(); len(got) > 0 {
		t.Errorf("in the state after a failed create: %q", got)
	}
	ids := map[string]string{}
	for _, s := range []*testbed.Server{a, b} {
		bootProxy(t, s)
		ids[s.Address] = runRole(t, s, "web", "v1")
		proxyCLI(t, s, "deploy other --host other.example.com --target "+ids[s.Address]+":3000")
	}
	w.Apply()
	wantVersion(t, a, "http://shop.example.com/", "v1")
	wantVersion(t, b, "http://shop.example.com/", "v1")
	for _, s := range []*testbed.Server{a, b} {
		if got := dig(w.State(route), "instances", s.Address, "target"); got != "shop-web:3000" {
			t.Errorf("target on %s: %v", s.Name, got)
		}
	}

	// A change of options: one remote call per server after the look, no container touched.
	w.Setenv("TF_VAR_hosts", `["www.example.com","shop.example.com"]`)
	p := w.Plan()
	if got := p.Changed(route); !slices.Equal(got, []string{"hosts", "instances"}) {
		t.Errorf("a change of hosts changes %q", got)
	}
	w.Apply(p.File)
	if got := w.RemoteCalls(a.Address); len(got) != 2 || w.Handshakes(a.Address) != 1 {
		t.Errorf("remote calls: %q over %d connections", got, w.Handshakes(a.Address))
	}
	w.PlanEmpty()
	wantVersion(t, a, "http://www.example.com/", "v1")
	if now := a.SSH(t, "docker ps -q --no-trunc --filter name=shop-web")[:12]; now != ids[a.Address] {
		t.Errorf("the container was replaced: %s, before %s", now, ids[a.Address])
	}

	// Somebody removes it on one server, and changes it on the other.
	proxyCLI(t, a, "remove shop-web")
	proxyCLI(t, b, "deploy shop-web --host www.example.com --host shop.example.com --target "+ids[b.Address]+":3000 --target-timeout 5s --buffer-requests --buffer-responses")
	p = w.Plan()
	if p.Actions(route) != "update" || p.Before(route, "instances", a.Address) != nil || p.After(route, "instances", a.Address, "state") != "running" {
		t.Errorf("plan after a hand-made remove: %s", p.Text)
	}
	if p.Before(route, "response_timeout") != "5s" || p.After(route, "response_timeout") != "30s" {
		t.Errorf("plan after a hand-made change: %s", p.Text)
	}
	w.Apply()
	wantVersion(t, a, "http://www.example.com/", "v1")
	if got := dig(proxyEntry(t, b, "shop-web"), "target_options", "response_timeout"); got != float64(30*time.Second) {
		t.Errorf("response timeout %v", got)
	}

	onServers(t, w, "drift and maintenance", func(t *testing.T, w *workspace) { routeDriftsAndMaintenance(t, w, ids) })

	// To another service, on both servers.
	for _, s := range []*testbed.Server{a, b} {
		runRole(t, s, "next", "v2")
	}
	w.Setenv("TF_VAR_service", "shop-next")
	if p = w.Plan(); p.Actions(route) != "update" {
		t.Errorf("plan of another service: %s", p.Actions(route))
	}
	w.Apply(p.File)
	wantVersion(t, a, "http://shop.example.com/", "v2")
	if proxyEntry(t, b, "shop-web") != nil {
		t.Error("the old service is still there")
	}
	if got := w.RemoteCalls(b.Address); len(got) > 3 {
		t.Errorf("the move took the remote calls %q", got)
	}
	w.PlanEmpty()

	w.Apply("-replace=" + route)
	wantVersion(t, b, "http://shop.example.com/", "v2")

	// One server less.
	w.Setenv("TF_VAR_servers", `["`+b.Address+`"]`)
	w.Apply()
	if proxyEntry(t, a, "shop-next") != nil || strings.TrimSpace(a.SSH(t, "cd; ls .kamal/terraform 2>/dev/null | grep -v flock || :")) != "" {
		t.Errorf("left on the server that the route left: %s %s", proxyState(t, a), a.SSH(t, "cd; ls .kamal/terraform"))
	}

	onServers(t, w, "the server is gone", func(t *testing.T, w *workspace) {
		w.Setenv("TF_VAR_servers", both)
		w.Apply()
		a.Stop(t)
		w.Provider("ssh = merge({{ssh}}, { connect_timeout = \"3s\" })")
		w.PlanFails("Unable to read kamal_proxy_route shop-next@", "on "+a.Address, "cannot reach "+a.Address)
		w.Setenv("TF_VAR_servers", `["`+b.Address+`"]`)
		if out := w.Apply(); !says(out, a.Address+" is no longer there") || !says(out, "the service shop-next at its kamal-proxy") {
			t.Error("it was not said what may be left on the server that is gone")
		}
	})

	// Gone everywhere: created again.
	proxyCLI(t, b, "remove shop-next")
	if p = w.Plan(); p.Actions(route) != "create" {
		t.Errorf("plan after a remove on all servers: %s", p.Actions(route))
	}
	w.Apply()

	w.Destroy()
	if proxyEntry(t, b, "shop-next") != nil || proxyEntry(t, b, "other") == nil {
		t.Errorf("after destroy: %s", proxyState(t, b))
	}
	if got := b.SSH(t, "docker ps -q --filter name=shop- | wc -l; cd; ls .kamal/terraform | grep -c json || :"); strings.Join(strings.Fields(got), " ") != "2 0" {
		t.Errorf("containers and marks after destroy: %q", got)
	}
}

// routeDriftsAndMaintenance has what instances say of each server in the plan.
func routeDriftsAndMaintenance(t *testing.T, w *workspace, ids map[string]string) {
	t.Helper()
	a, b := w.Servers[0], w.Servers[1]
	// On one server alone, so that the attribute can't tell.
	proxyCLI(t, b, "deploy shop-web --host shop.example.com --target "+ids[b.Address]+":3000 --buffer-requests --buffer-responses --log-request-header Cache-Control --log-request-header Last-Modified --log-request-header User-Agent")
	p := w.Plan()
	if got := p.Before(route, "instances", b.Address, "drift"); p.Actions(route) != "update" || len(got.([]any)) != 1 || got.([]any)[0] != "hosts" {
		t.Errorf("drift on one server: %v", got)
	}
	w.Setenv("TF_VAR_message", "Back at 5 o'clock")
	w.Apply()
	if got := wantStatus(t, a, "http://shop.example.com/", 503); !strings.Contains(got.Body, "Back at 5 o&#39;clock") {
		t.Errorf("the page does not show the message: %s", got.Body)
	}
	proxyCLI(t, a, "resume shop-web")
	proxyCLI(t, b, "resume shop-web")
	if p = w.Plan(); !slices.Equal(p.Changed(route), []string{"instances", "maintenance"}) {
		t.Errorf("plan after a hand-made resume: %s", p.Text)
	}
	w.Setenv("TF_VAR_message", "")
	w.Apply()
	w.Write("main.tf", strings.Replace(routeConfig, "maintenance = var", "# maintenance = var", 1))
	proxyCLI(t, a, "pause shop-web")
	if p = w.Plan(); p.Before(route, "instances", a.Address, "state") != "paused" || p.Actions(route) != "update" {
		t.Errorf("plan after a hand-made pause: %s", p.Text)
	}
	w.Apply()
	wantVersion(t, a, "http://shop.example.com/", "v1")
}

const ownCertificate = `
variable "servers" { type = list(string) }
variable "cert" { type = string }
variable "key" {
  type      = string
  ephemeral = true
}
# Not known before the first apply, as the address of a server that it makes.
resource "terraform_data" "servers" { input = var.servers }
resource "kamal_proxy_route" "web" {
  target  = { service = "shop-web", app = "shop", app_port = 3000 }
  servers = terraform_data.servers.output
  hosts   = ["shop.example.com"]
  tls     = { certificate_pem = var.cert, private_key_pem = var.key }
}
`

// Of the private key a plan knows nothing, so a certificate tells of both.
func TestRouteServesItsOwnCertificate(t *testing.T) {
	aboutServers(t)
	t.Parallel()
	s := bed(t).Warm(t, newest)
	bootProxy(t, s)
	runRole(t, s, "web", "v1")
	w := newWorkspace(t, s)
	w.Write("main.tf", ownCertificate)
	w.Setenv("TF_VAR_servers", hclList(s))
	pair := func(serial int64) (cert, key string) {
		cert, key = selfSigned(t, serial, "shop.example.com")
		w.Setenv("TF_VAR_cert", cert)
		w.Setenv("TF_VAR_key", key)
		return cert, key
	}
	wantServed := func(serial int64) {
		t.Helper()
		if a := visit(t, s, "https://shop.example.com/"); a.Cert == nil || a.Cert.SerialNumber.Int64() != serial {
			t.Errorf("serves %+v, want certificate %d", a, serial)
		}
	}
	first, key := pair(1)
	w.Apply()
	if log, err := os.ReadFile(w.lastLog); err != nil || len(log) == 0 || strings.Contains(string(log), strings.Split(key, "\n")[1]) {
		t.Errorf("the log is not there or holds the private key (%d bytes, %v)", len(log), err)
	}
	if state := w.CLI("state", "pull"); strings.Contains(state, "PRIVATE KEY") || strings.Contains(state, strings.Split(key, "\n")[1]) {
		t.Error("the private key is in the state")
	}
	wantServed(1)
	second, _ := pair(2)
	p := w.Plan()
	if got := p.Changed(route); !slices.Equal(got, []string{"instances", "tls"}) {
		t.Errorf("a renewal changes %q", got)
	}
	w.Apply()
	wantServed(2)
	w.Setenv("TF_VAR_cert", first)
	w.PlanFails("Certificate and private key do not fit")

	// Imported with its certificate; the private key is not asked for.
	w.Setenv("TF_VAR_cert", second)
	w.CLI("state", "rm", route)
	w.Import(route, "shop-web@"+s.Address)
	w.PlanEmpty()
	w.Destroy()
}
