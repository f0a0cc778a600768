package acceptance

import (
	"fmt"
	"strings"
	"testing"

	"github.com/kamal-terraform/terraform-provider-kamal/test/testbed"
)

func hclList(servers ...*testbed.Server) string {
	var out []string
	for _, s := range servers {
		out = append(out, fmt.Sprintf("%q", s.Address))
	}
	return "[" + strings.Join(out, ", ") + "]"
}

// names are the running containers of a server.
func names(t *testing.T, s *testbed.Server) string {
	t.Helper()
	return strings.Join(strings.Fields(s.SSH(t, `docker ps --format '{{.Names}}' | sort`)), " ")
}

func TestAppRoleOnTwoServersIsPutBackWhenOneFails(t *testing.T) {
	aboutServers(t)
	t.Parallel()
	a, b := bed(t).Server(t, testbed.Debian12), bed(t).Server(t, testbed.Debian13)
	w := newWorkspace(t, a, b)
	w.Write("main.tf", `
variable "image" { type = string }
variable "on_failure" { default = "rollback" }
variable "servers" { type = list(string) }
resource "kamal_app_role" "web" {
  service        = "shop"
  servers        = var.servers
  image          = var.image
  app_port       = 3000
  deploy_timeout = "6s"
  boot           = { limit = 1, on_failure = var.on_failure }
}
`)
	w.Setenv("TF_VAR_servers", hclList(a, b))
	w.Setenv("TF_VAR_image", w.Bed.Image("app:v1"))
	w.Apply()

	// Nothing on b can reach the containers any more, so that no health check passes.
	b.SSH(t, `iptables -I OUTPUT -p tcp --dport 3000 -j DROP`)
	w.Setenv("TF_VAR_image", w.Bed.Image("app:v2"))
	w.ApplyFails("Unable to deploy shop-web v2 on "+b.Address, "was put back on "+a.Address)
	for _, s := range []*testbed.Server{a, b} {
		if got := names(t, s); got != "shop-web-v1" {
			t.Errorf("running on %s after the rollback: %q", s.Name, got)
		}
	}
	if got := w.Plan().Actions("kamal_app_role.web"); got != "update" {
		t.Errorf("plan after the rollback: %s", got)
	}

	w.Setenv("TF_VAR_on_failure", "halt")
	w.ApplyFails("Unable to deploy shop-web v2 on " + b.Address)
	if got := names(t, a) + " / " + names(t, b); got != "shop-web-v2 / shop-web-v1" {
		t.Errorf("running after halt: %q", got)
	}
	b.SSH(t, `iptables -D OUTPUT -p tcp --dport 3000 -j DROP`)
	w.Apply()
	if got := names(t, a) + " / " + names(t, b); got != "shop-web-v2 / shop-web-v2" {
		t.Errorf("running after the repair: %q", got)
	}

	// A server leaves and comes back; then it is gone for good.
	w.Setenv("TF_VAR_servers", hclList(a))
	w.Apply()
	if got := names(t, a) + " / " + names(t, b); got != "shop-web-v2 / " {
		t.Errorf("running after %s left: %q", b.Name, got)
	}
	if got := b.SSH(t, `ls -A .kamal .kamal/apps 2>/dev/null; docker ps -aq`); strings.Contains(got, "shop\n") || strings.Contains(got, "terraform") {
		t.Errorf("left on %s: %s", b.Name, got)
	}
	w.Setenv("TF_VAR_servers", hclList(b, a))
	w.Apply()
	b.Stop(t)
	w.PlanFails("cannot reach " + b.Address)
	w.Setenv("TF_VAR_servers", hclList(a))
	out := w.Apply()
	if !says(out, b.Address+" is no longer there") {
		t.Errorf("no word of the server that is gone:\n%s", out)
	}
}

// The first plan of a configuration that also makes the servers: nothing is
// known of them, and nothing is dialled.
func TestAppRolePlansServersThatDoNotExistYet(t *testing.T) {
	t.Parallel()
	w := newWorkspace(t)
	w.Write("main.tf", `
resource "terraform_data" "vm" { input = "192.0.2.1" }
resource "kamal_app_role" "web" {
  service  = "shop"
  servers  = [terraform_data.vm.output]
  image    = "registry.example.com/shop:v1"
  app_port = 3000
}
resource "kamal_app_role" "all" {
  service = "other"
  servers = toset([terraform_data.vm.output]) == toset([]) ? [] : [terraform_data.vm.output]
  image   = "registry.example.com/shop:v1"
}
output "service" { value = kamal_app_role.web.proxy.service }
`)
	p := w.Plan()
	if p.Actions("kamal_app_role.web") != "create" || p.Actions("kamal_app_role.all") != "create" {
		t.Errorf("plan: %s", p.Text)
	}
	if !says(p.Text, `service = "shop-web"`) {
		t.Errorf("the role's service is not known while planning:\n%s", p.Text)
	}
	if calls := w.Calls(); len(calls) > 0 {
		t.Errorf("the plan called %v", calls)
	}
}

// Twenty resources on one server are refreshed by one remote call.
func TestAppRolesOfOneServerAreRefreshedInOneCall(t *testing.T) {
	aboutServers(t)
	t.Parallel()
	s := bed(t).Server(t, testbed.Debian12)
	w := newWorkspace(t, s)
	w.Write("main.tf", `
resource "kamal_app_role" "job" {
  count           = 20
  service         = "shop"
  role            = "job${count.index}"
  servers         = {{servers}}
  image           = "{{image "app:v1"}}"
  command         = ["app", "worker"]
  readiness_delay = "0s"
}
`)
	w.Apply()
	w.Plan()
	if n, calls := w.Handshakes(s.Address), w.RemoteCalls(s.Address); n != 1 || len(calls) != 1 {
		t.Errorf("a refresh of 20 resources took %d handshakes and the calls %q, want 1 and 1", n, calls)
	}
}
