package acceptance

import (
	"fmt"
	"strings"
	"testing"

	"github.com/kamal-terraform/terraform-provider-kamal/test/byhand"
)

// importedConfig fits what kamalRun runs.
// The volumes are not in the order that an import shows, by name: it means nothing.
const importedConfig = `
resource "kamal_app_role" "web" {
  service  = "shop"
  servers  = {{servers}}
  image    = "{{image "app:v1"}}"
  app_port = 3000
  env      = { RAILS_ENV = "production", MULTI = "a b" }
  labels   = { team = "shop" }
  volumes  = ["data:/data", "/srv/up:/up:ro"]
  command  = ["app", "server", "x"]
  memory   = "256m"
  asset_path = "/public/assets"
  options  = { shm_size = "128m", ulimits = { nofile = "4096:8192" }, init = true }
}
`

// Two working directories and what runs already: refused, then imported.
func TestAppRoleTakesOverWhatKamalDeployed(t *testing.T) {
	t.Parallel()
	s := bed(t).Warm(t, oldest)
	// The daemon's own log options must not show in an import.
	s.SSH(t, `echo '{"log-opts":{"max-size":"20m","max-file":"3"}}' > /etc/docker/daemon.json; systemctl restart docker`)
	w := newWorkspace(t, s)
	s.LogIn(t)
	s.SSH(t, kamalRun(w, s, "shop-web-v1", `--env RAILS_ENV="production" --env MULTI="a b" --label team="shop" \
  --memory 256m --shm-size 128m --ulimit nofile=4096:8192 --init --oom-score-adj 100 --volume data:/data --volume /srv/up:/up:ro --volume $PWD/.kamal/apps/shop/assets/volumes/web-v1:/public/assets`)+" app server x")
	byhand.RouteWeb(t, w.Bed, s) // it tells the port
	id := inspect(t, s, "shop-web-v1", ".Id")
	started := inspect(t, s, "shop-web-v1", ".State.StartedAt")
	importID := "shop/web@" + s.Address
	before := footprint(t, s)

	w.Write("main.tf", importedConfig)
	w.ApplyFails("the role is there already: container shop-web-v1 (running), deployed by hand or by Kamal", "Two configurations can't own one role",
		"tofu import ADDRESS '"+importID+"'", "Running now: the old version goes on as before, container shop-web-v1")
	wantSame(t, "the server", before, footprint(t, s))
	if left := w.Addresses(); len(left) > 0 {
		t.Fatalf("in the state: %q", left)
	}

	untouched := func(t *testing.T) {
		t.Helper()
		if got := inspect(t, s, "shop-web-v1", ".Id") + inspect(t, s, "shop-web-v1", ".State.StartedAt"); got != id+started {
			t.Error("the container was replaced or restarted")
		}
		wantSame(t, "the server", before, footprint(t, s))
	}
	t.Run("by id", func(t *testing.T) {
		w := w.in(t)
		out := w.Import(web, importID)
		if !says(out, "shop-web-v1 on "+s.Address+" was given things that no attribute holds") || !says(out, "a swap would lose: --oom-score-adj 100") {
			t.Errorf("the import doesn't tell what is lost:\n%s", out)
		}
		w.PlanEmpty()
		w.Apply()
		untouched(t)
		if got := w.container(web, s); got != id {
			t.Errorf("state has %s", got)
		}
		w.CLI("state", "rm", web)
	})
	t.Run("by an import block", func(t *testing.T) {
		w := w.in(t)
		w.Write("import.tf", fmt.Sprintf("import {\n  to = kamal_app_role.web\n  id = %q\n}\n", importID))
		w.Apply()
		w.Remove("import.tf")
		untouched(t)
		w.CLI("state", "rm", web)
	})
	t.Run("by identity", func(t *testing.T) {
		needs(t, importByIdentity)
		w := w.in(t)
		w.Write("import.tf", fmt.Sprintf("import {\n  to = kamal_app_role.web\n  identity = {\n    service = \"shop\"\n    role = \"web\"\n    servers = [%q]\n  }\n}\n", s.Address))
		w.Apply()
		w.Remove("import.tf")
		untouched(t)
		w.CLI("state", "rm", web)
	})
	t.Run("ids that don't fit", func(t *testing.T) {
		w := w.in(t)
		w.ImportFails(web, "shop", "Invalid import id", "shop/web@10.0.0.1")
		w.ImportFails(web, "shop@"+s.Address, "has not the form service/role")
		w.ImportFails(web, "shop/web/sta ging@"+s.Address, "is no name of a service, role or destination")
		w.ImportFails(web, "shop/web@root@:1", "Invalid import id")
		w.ImportFails(web, "shop/jobs@"+s.Address, "Nothing to import", "no container of shop-jobs on "+s.Address)
		w.ImportFails(web, "shop/web/staging@"+s.Address, "Nothing to import")
		untouched(t)
	})

	// What was imported is deployed like any other; Kamal's files stay Kamal's.
	w.Import(web, importID)
	w.Write("main.tf", strings.Replace(importedConfig, "app:v1", "app:v2", 1))
	w.Apply()
	if got := names(t, s); got != "kamal-proxy shop-web-v2" {
		t.Errorf("running: %q", got)
	}
	if got := inspect(t, s, "shop-web-v2", "json .HostConfig.Ulimits") + inspect(t, s, "shop-web-v2", ".HostConfig.ShmSize"); got != `[{"Name":"nofile","Hard":8192,"Soft":4096}]134217728` {
		t.Errorf("the next version has %s", got)
	}

	// A second working directory can't take it, and the first goes on.
	before = footprint(t, s)
	second := newWorkspace(t, s)
	second.Write("main.tf", importedConfig)
	second.ApplyFails("the role is there already: container shop-web-v2 (running), deployed by ", "with this provider, from another configuration or state", "import ADDRESS '"+importID+"'")
	wantSame(t, "the server", before, footprint(t, s))
	w.PlanEmpty()
	// Not even when its containers are stopped.
	s.SSH(t, "docker stop --time 1 shop-web-v2")
	before = footprint(t, s)
	second.ApplyFails("the role is there already: container shop-web-v2 (exited)")
	wantSame(t, "the server", before, footprint(t, s))
	w.Apply()
}
