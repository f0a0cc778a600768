package acceptance

import (
	"strings"
	"testing"

	"github.com/kamal-terraform/terraform-provider-kamal/test/testbed"
)

const twoRoles = `
variable "image" { type = string }
variable "cert" { type = string }
variable "key" {
  type      = string
  ephemeral = true
}
variable "web_hosts" {
  type    = list(string)
  default = ["shop.example.com"]
}
variable "old_hosts" {
  type    = list(string)
  default = ["old.example.com", "www.example.com"]
}

resource "kamal_app_role" "web" {
  for_each = toset(["web", "api", "old"])
  service  = "shop"
  role     = each.key
  servers  = ["deploy@{{server 0}}"]
  image    = var.image
  app_port = 3000
}
resource "kamal_proxy_route" "web" {
  target  = kamal_app_role.web["web"].proxy
  servers = kamal_app_role.web["web"].servers
  hosts   = var.web_hosts
  tls     = { certificate_pem = var.cert, private_key_pem = var.key }
}
resource "kamal_proxy_route" "api" {
  target        = kamal_app_role.web["api"].proxy
  servers       = kamal_app_role.web["api"].servers
  hosts         = ["shop.example.com"]
  path_prefixes = ["/api"]
}
resource "kamal_proxy_route" "old" {
  target  = kamal_app_role.web["old"].proxy
  servers = kamal_app_role.web["old"].servers
  hosts   = var.old_hosts
}
`

// A root entry with TLS and a path of another role beside it, which inherits
// that TLS at kamal-proxy: neither a swap nor a move of hosts leaves a diff.
// The SSH user is not root, and not in group docker.
func TestRoutesOfRolesStayAsTheyAreWhenRolesAreSwapped(t *testing.T) {
	aboutServers(t)
	t.Parallel()
	s := bed(t).Server(t, testbed.Debian13)
	bootProxyAs(t, s, testbed.User)
	w := newWorkspace(t, s)
	w.Write("main.tf", twoRoles)
	cert, key := selfSigned(t, 1, "shop.example.com", "www.example.com")
	w.Setenv("TF_VAR_cert", cert)
	w.Setenv("TF_VAR_key", key)
	w.Setenv("TF_VAR_image", w.Bed.Image("app:v1"))
	w.Apply()
	wantVersion(t, s, "https://shop.example.com/", "v1")
	wantVersion(t, s, "https://shop.example.com/api/", "v1")
	if tls := dig(proxyEntry(t, s, "shop-api"), "options", "tls_enabled"); tls != true {
		t.Fatalf("the path has not inherited TLS: %v", tls)
	}

	if got := s.SSH(t, "find ~deploy/.kamal -user root"); strings.TrimSpace(got) != "" {
		t.Errorf("the SSH user can't change %s", got)
	}

	w.Setenv("TF_VAR_image", w.Bed.Image("app:v2"))
	w.Apply()
	wantVersion(t, s, "https://shop.example.com/", "v2")
	wantVersion(t, s, "https://shop.example.com/api/", "v2")

	// A host goes from one route to another in one apply, with a new version beside it.
	w.Setenv("TF_VAR_image", w.Bed.Image("app:v3"))
	w.Setenv("TF_VAR_web_hosts", `["shop.example.com","www.example.com"]`)
	w.Setenv("TF_VAR_old_hosts", `["old.example.com"]`)
	w.Apply()
	wantVersion(t, s, "https://www.example.com/", "v3")
	wantVersion(t, s, "http://old.example.com/", "v3")

	w.Apply("-replace=kamal_proxy_route.web")
	wantVersion(t, s, "https://www.example.com/", "v3")

	// The container dies by hand: role and route are mended together.
	s.SSH(t, "docker rm --force shop-web-v3")
	if p := w.Plan(); p.Actions("kamal_proxy_route.web") != "update" || p.Actions(`kamal_app_role.web["web"]`) == "no-op" {
		t.Errorf("plan after docker rm: %q", p.NotEmpty())
	}
	w.Apply()
	wantVersion(t, s, "https://www.example.com/", "v3")
	w.Destroy()
}
