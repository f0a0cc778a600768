package acceptance

import (
	"strings"
	"testing"

	"github.com/kamal-terraform/terraform-provider-kamal/test/byhand"
	"github.com/kamal-terraform/terraform-provider-kamal/test/testbed"
)

// What the engine tests do on servers and see of them too.
var (
	inspect        = byhand.Inspect
	names          = byhand.Names
	footprint      = byhand.Footprint
	wantSame       = byhand.WantSame
	startLoad      = byhand.StartLoad
	wantNoneFailed = byhand.WantNoneFailed
)

// kamalRun is what `kamal deploy` runs.
func kamalRun(w *workspace, s *testbed.Server, name, more string) string {
	return byhand.KamalRun(w.Bed, s, name, more)
}

// role is a role with a port on all servers of the workspace; its image is the variable.
const roleConfig = `
variable "image" { type = string }
resource "kamal_app_role" "web" {
  service        = "shop"
  servers        = {{servers}}
  image          = var.image
  app_port       = 3000
  deploy_timeout = "15s"
  env            = { GREETING = "hello world" }
}
`

func TestAppRoleDeploysUpdatesAndGoesBack(t *testing.T) {
	story(t)
	t.Parallel()
	s := bed(t).Warm(t, oldest)
	w := newWorkspace(t, s)
	w.Write("main.tf", roleConfig)
	w.Setenv("TF_VAR_image", w.Bed.Image("app:v1"))
	w.Apply()
	if got := s.SSH(t, `docker ps --filter label=destination= --format '{{.Names}} {{.Label "role"}}'`); strings.TrimSpace(got) != "shop-web-v1 web" {
		t.Errorf("running after the first apply: %q", got)
	}
	first := dig(w.State("kamal_app_role.web"), "instances", s.Address, "container")

	w.Setenv("TF_VAR_image", w.Bed.Image("app:v2"))
	p := w.Plan()
	if p.Actions("kamal_app_role.web") != "update" {
		t.Errorf("plan: %s", p.Actions("kamal_app_role.web"))
	}
	w.Apply()
	if second := dig(w.State("kamal_app_role.web"), "instances", s.Address, "container"); second == first {
		t.Error("the container was not replaced")
	}

	w.Setenv("TF_VAR_image", w.Bed.Image("app:unhealthy"))
	w.ApplyFails("Unable to deploy shop-web unhealthy on "+s.Address, "503", "the old version goes on as before, container shop-web-v2")
	if got := strings.TrimSpace(s.SSH(t, `docker ps --format '{{.Names}}'; ls .kamal`)); strings.Contains(got, "unhealthy") || strings.Contains(got, "lock-shop") {
		t.Errorf("left after the failure: %s", got)
	}
}
