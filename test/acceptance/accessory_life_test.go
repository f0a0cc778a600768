package acceptance

import (
	"fmt"
	"slices"
	"testing"

	"github.com/kamal-terraform/terraform-provider-kamal/test/testbed"
)

const db = "kamal_accessory.db"

// lifeConfig has what docker can show of an accessory, each different from its default.
const lifeConfig = `
variable "image" { default = "{{image "app:withhealth"}}" }
variable "ports" { default = "5432:3000" }
variable "destination" { default = "{{server 0}}" }
variable "password" {
  type      = string
  ephemeral = true
}
resource "kamal_accessory" "db" {
  server           = var.destination
  service          = "shop"
  name             = "db"
  image            = var.image
  command          = ["app", "server", "as configured"]
  env              = { MOOD = "calm" }
  secrets          = { PASSWORD = var.password, TOKEN = "${var.password} as a file" }
  secrets_as_files = ["TOKEN"]
  ports            = [var.ports]
  volumes          = ["shop-data:/data"]
  directories      = ["conf:/conf"]
  files = [
    { path = "/etc/db.cnf", content = "mood = calm\n", mode = "0640", owner = "1000:1000" },
    { path = "/etc/db.key", secret_content = "${var.password} in its own file", mode = "0400" },
  ]
  labels           = { team = "shop" }
  logging          = { driver = "local", options = { max-file = "2" } }
  memory           = "128m"
  cpus             = 0.5
  options = {
    shm_size     = "96m"
    ulimits      = { nofile = "4096:8192" }
    user         = "0:0"
    init         = true
    read_only    = true
    cap_add      = ["SYS_NICE"]
    cap_drop     = ["NET_RAW"]
    sysctls      = { "net.core.somaxconn" = "512" }
    tmpfs        = { "/scratch" = "size=1m" }
    add_hosts    = ["mail:10.0.0.9"]
    security_opt = ["no-new-privileges"]
    restart      = "always"
  }
  stop_timeout = "3s"
}
`

// lifePassword is what many tools would make something else of.
const lifePassword = "p4ss$w0rd'\n-x\\ \"quoted\""

// newLife is a workspace with lifeConfig, for a server that is reached at an address.
func newLife(t *testing.T, s *testbed.Server, address string) *workspace {
	t.Helper()
	w := newWorkspace(t, s)
	w.Write("main.tf", lifeConfig)
	w.Provider(lifeProvider(s, address, ""))
	w.Setenv("TF_VAR_destination", address)
	w.Setenv("TF_VAR_password", lifePassword)
	return w
}

func lifeProvider(s *testbed.Server, address, more string) string {
	return fmt.Sprintf("ssh = merge({{ssh}}, { connect_timeout = \"3s\" })\nregistries = {{registries}}\nserver_overrides = { %q = { host_key = %q } }\n%s", address, s.HostKey, more)
}

// What becomes of a server is shown by test/engine; here, what state and plan have of it.
func TestAccessoryInPlanAndState(t *testing.T) {
	t.Parallel()
	s := bed(t).Warm(t, newest)
	link := testbed.Relay(t, s.Address+":22", 0)
	w := newLife(t, s, link.Address())

	// A create that fails leaves no state.
	w.Setenv("TF_VAR_image", w.Bed.Image("app:crash"))
	w.ApplyFails("Unable to create the accessory shop-db on "+link.Address(), "exit code 3", "nothing of this accessory")
	if got := w.Addresses(); len(got) > 0 {
		t.Errorf("in the state after a failed create: %q", got)
	}
	w.Setenv("TF_VAR_image", w.Bed.Image("app:withhealth"))
	w.Apply()
	arrived := func(when string) {
		t.Helper()
		if got := s.SSH(t, `docker exec shop-db app env PASSWORD; docker exec shop-db app cat /run/secrets/TOKEN; docker exec shop-db app cat /etc/db.key; echo .`); got != lifePassword+lifePassword+" as a file"+lifePassword+" in its own file." {
			t.Errorf("%s the secrets are %q", when, got)
		}
	}
	arrived("at first")

	// Replaced by hand with all of it different: the plan names all of it.
	s.SSH(t, `docker rm -f shop-db; docker network create other; mkdir -p /srv/conf
docker run --detach --name shop-db --label service=shop-db --label team=by-hand --label more=by-hand --network other --restart on-failure:3 \
  --env MOOD=other --env PASSWORD=other --publish 0.0.0.0:5433:3000 --volume other-data:/data --volume /srv/conf:/conf \
  --log-driver json-file --log-opt max-size=1m --memory 64m --cpus 0.25 --shm-size 32m --ulimit nofile=1024 --ulimit nproc=9999 --user 1000 \
  --cap-add SYSLOG --sysctl net.core.somaxconn=256 --tmpfs /elsewhere --add-host other:10.0.0.8 `+w.Bed.Image("app:withhealth")+` app server "by hand"`)
	p := w.Plan()
	want := []string{"command", "container", "cpus", "digest", "directories", "env", "files", "labels", "logging", "memory", "network", "options", "ports", "secret_digests", "secrets_as_files", "volumes"}
	if got := p.Changed(db); p.Actions(db) != "update" || !slices.Equal(got, want) {
		t.Errorf("the plan is %s of %q, want %q:\n%s", p.Actions(db), got, want, p.Text)
	}
	for _, tt := range []struct {
		path []any
		want any
	}{
		{[]any{"command", 2}, "by hand"}, {[]any{"env", "MOOD"}, "other"}, {[]any{"labels", "team"}, "by-hand"}, {[]any{"labels", "more"}, "by-hand"},
		{[]any{"ports", 0}, "0.0.0.0:5433:3000"}, {[]any{"directories"}, nil}, {[]any{"files"}, nil},
		{[]any{"network"}, "other"}, {[]any{"memory"}, "64m"}, {[]any{"cpus"}, 0.25}, {[]any{"logging", "driver"}, "json-file"}, {[]any{"logging", "options", "max-size"}, "1m"},
		{[]any{"secrets_as_files"}, nil}, {[]any{"secret_digests", "TOKEN"}, nil},
		{[]any{"options", "shm_size"}, "32m"}, {[]any{"options", "ulimits", "nofile"}, "1024"}, {[]any{"options", "ulimits", "nproc"}, "9999"}, {[]any{"options", "user"}, "1000"},
		{[]any{"options", "init"}, false}, {[]any{"options", "read_only"}, false}, {[]any{"options", "cap_add", 0}, "SYSLOG"}, {[]any{"options", "cap_drop"}, nil},
		{[]any{"options", "sysctls", "net.core.somaxconn"}, "256"}, {[]any{"options", "tmpfs", "/scratch"}, nil}, {[]any{"options", "tmpfs", "/elsewhere"}, ""},
		{[]any{"options", "add_hosts", 0}, "other:10.0.0.8"}, {[]any{"options", "security_opt"}, nil}, {[]any{"options", "restart"}, "on-failure:3"},
	} {
		if got := p.Before(db, tt.path...); got != tt.want {
			t.Errorf("before the apply, %v is %#v, want %#v", tt.path, got, tt.want)
		}
		if after := p.After(db, tt.path...); after == tt.want && !p.Unknown(db, tt.path...) {
			t.Errorf("after the apply, %v is to be %#v still", tt.path, after)
		}
	}
	if got := fmt.Sprint(p.Before(db, "volumes")); got != "[/srv/conf:/conf other-data:/data]" {
		t.Errorf("before the apply, volumes are %s", got)
	}
	w.Apply(p.File)
	arrived("after the repair")

	// A replacement that fails leaves the state as it was, but for what was observed.
	container := dig(w.State(db), "container")
	w.Setenv("TF_VAR_image", w.Bed.Image("app:crash"))
	w.Setenv("TF_VAR_ports", "0.0.0.0:5432:3000")
	if out := w.ApplyFails("Unable to replace the accessory shop-db on "+link.Address(), "the old container was put back and is ready"); !says(out, "Restrict them with kamal_firewall") {
		t.Errorf("no warning of a public port:\n%s", out)
	}
	if st := w.State(db); st["container"] != container || st["running"] != true || st["image"] != w.Bed.Image("app:withhealth") || len(object(st["secret_digests"])) != 3 {
		t.Errorf("state after a failed replacement: %v", st)
	}
	w.Setenv("TF_VAR_image", w.Bed.Image("app:withhealth"))
	w.Setenv("TF_VAR_ports", "5432:3000")
	w.PlanEmpty()

	// A secret file that is changed by hand shows by its name.
	s.SSH(t, `f=$(docker inspect -f '{{range .HostConfig.Binds}}{{println .}}{{end}}' shop-db | sed -n 's,:/etc/db.key$,,p'); chmod 600 "$f"; echo tampered > "$f"`)
	if p := w.Plan(); p.Actions(db) != "update" || !says(p.Text, `~ "/etc/db.key"`) || says(p.Text, `~ "TOKEN"`) {
		t.Errorf("plan after a secret file was changed by hand:\n%s", p.Text)
	}
	s.SSH(t, `docker stop -t 1 shop-db`)
	if p := w.Plan(); p.Actions(db) != "update" || p.Before(db, "running") != false {
		t.Errorf("plan after docker stop:\n%s", p.Text)
	}
	w.Apply()
	arrived("after the secret file was mended")

	// Another state is refused, and can take it over.
	w.CLI("state", "rm", db)
	id := inspect(t, s, "shop-db", ".Id")
	w.ApplyFails("the accessory is there already", "tofu import ADDRESS 'shop/db@"+link.Address()+"'")
	w.ImportFails(db, "shop/other@"+link.Address(), "Nothing to import")
	w.Import(db, "shop/db@"+link.Address())
	if p := w.Plan(); slices.Contains(p.Changed(db), "container") || len(object(p.Before(db, "secret_digests"))) != 3 {
		t.Errorf("the import would be replaced: %q\n%s", p.Changed(db), p.Text)
	}
	w.Apply() // no container tells its timeouts, but that replaces none
	if got := inspect(t, s, "shop-db", ".Id"); got != id {
		t.Error("the import replaced the container")
	}

	// Nothing comes through any more.
	link.Stall()
	w.PlanFails("Unable to read kamal_accessory shop-db on "+link.Address(), "cannot reach "+link.Address())
	w.Provider(lifeProvider(s, link.Address(), `on_unreachable = "keep"`))
	if p := w.Plan(); !p.Empty() || !says(p.Text, `on_unreachable is "keep"`) || !says(p.Text, link.Address()) {
		t.Errorf("plan with on_unreachable = keep: %q\n%s", p.NotEmpty(), p.Text)
	}
	if w.State(db) == nil {
		t.Error("the plan forgot the accessory")
	}
	link.Resume()
	s.SSH(t, `docker rm -f shop-db`)
	if p := w.Plan(); p.Actions(db) != "create" {
		t.Errorf("plan after docker rm: %s", p.Actions(db))
	}
	link.Stall()
	if out := w.Destroy(); !says(out, "The accessory shop-db was forgotten there") || len(w.Addresses()) > 0 {
		t.Errorf("in the state: %q, and the destroy says:\n%s", w.Addresses(), out)
	}
}

func TestAccessoryImportByIdentity(t *testing.T) {
	needs(t, importByIdentity)
	t.Parallel()
	s := bed(t).Warm(t, oldest)
	w := newLife(t, s, s.Address)
	w.Apply()
	id := inspect(t, s, "shop-db", ".Id")
	w.CLI("state", "rm", db)
	w.Write("import.tf", fmt.Sprintf("import {\n  to = kamal_accessory.db\n  identity = {\n    service = \"shop\"\n    name = \"db\"\n    server = %q\n  }\n}\n", s.Address))
	p := w.Plan()
	// No container tells its stop_timeout; what the files of this provider hold is read.
	if got := p.Changed(db); p.Actions(db) != "update" || !slices.Equal(got, []string{"stop_timeout"}) {
		t.Errorf("the import plans %s of %q:\n%s", p.Actions(db), got, p.Text)
	}
	w.Apply(p.File)
	w.Remove("import.tf")
	w.PlanEmpty()
	if got := inspect(t, s, "shop-db", ".Id"); got != id {
		t.Error("the import replaced the container")
	}
}
