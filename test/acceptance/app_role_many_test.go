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
