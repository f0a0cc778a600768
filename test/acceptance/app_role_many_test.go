package acceptance

import (
	"fmt"
	"strings"
	"testing"

	"github.com/kamal-terraform/terraform-provider-kamal/test/testbed"
)

// stackConfig is what most users write: proxies, a role and its route.
const stackConfig = `
variable "image" { type = string }
variable "servers" { type = list(string) }

resource "kamal_proxy" "web" {
  for_each = toset({{servers}})
  server   = each.key
}
resource "kamal_app_role" "web" {
  service        = "shop"
  servers        = [for s in var.servers : kamal_proxy.web[s].server]
  image          = var.image
  app_port       = 3000
  deploy_timeout = "15s"
  boot           = { limit = 1 }
}
resource "kamal_proxy_route" "web" {
  target  = kamal_app_role.web.proxy
  servers = kamal_app_role.web.servers
  hosts   = ["shop.example.com"]
}
`

func hclList(servers ...*testbed.Server) string {
	var out []string
	for _, s := range servers {
		out = append(out, fmt.Sprintf("%q", s.Address))
	}
	return "[" + strings.Join(out, ", ") + "]"
}
