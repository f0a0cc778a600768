package acceptance

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/test/testbed"
)

const (
	db     = "kamal_accessory.db"
	dbData = "/var/lib/docker/volumes/shop-data/_data/row" // of accessoryConfig and lifeConfig
)

// lifeConfig has what docker can show of an accessory, each different from its default.
const lifeConfig = `
variable "mood" { default = "calm" }
variable "destination" { default = "{{server 0}}" }
variable "password" {
  type      = string
  ephemeral = true
}
resource "kamal_accessory" "db" {
  server           = var.destination
  service          = "shop"
  name             = "db"
  image            = "{{image "app:withhealth"}}"
  command          = ["app", "server", "as configured"]
  env              = { MOOD = var.mood }
  secrets          = { PASSWORD = var.password, TOKEN = "${var.password} as a file" }
  secrets_as_files = ["TOKEN"]
  ports            = ["5432:3000"]
  volumes          = ["shop-data:/data"]
  directories      = ["conf:/conf"]
  files            = [{ path = "/etc/db.cnf", content = "mood = calm\n" }]
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

// newLife is a workspace with lifeConfig applied and data in its volume.
func newLife(t *testing.T, s *testbed.Server, destination string) *workspace {
	t.Helper()
	w := newWorkspace(t, s)
	w.Write("main.tf", lifeConfig)
	w.Provider(lifeProvider(s, destination, ""))
	w.Setenv("TF_VAR_destination", destination)
	w.Setenv("TF_VAR_password", "secret-of-the-day")
	w.Apply()
	s.SSH(t, "echo precious > "+dbData)
	return w
}

func lifeProvider(s *testbed.Server, destination, more string) string {
	return fmt.Sprintf("ssh = merge({{ssh}}, { connect_timeout = \"3s\" })\nregistries = {{registries}}\nserver_overrides = { %q = { host_key = %q } }\n%s", destination, s.HostKey, more)
}

// wantLife wants one container with the mood and the data, and nothing of an unfinished run.
func wantLife(t *testing.T, s *testbed.Server, when, mood string) {
	t.Helper()
	if got := s.SSH(t, `docker ps -a --format '{{.Names}}'; docker exec shop-db app env MOOD; echo; cat `+dbData+`; ls .kamal | grep lock- || :; ls .kamal/apps/shop/secrets | wc -l`); got != "shop-db\n"+mood+"\nprecious\n1" {
		t.Errorf("%s: %q", when, got)
	}
}

func TestAccessoryOverALinkThatBreaks(t *testing.T) {
	aboutServers(t)
	t.Parallel()
	s := bed(t).Server(t, testbed.Debian13)
	link := testbed.Relay(t, s.Address+":22", 0)
	w := newLife(t, s, link.Address())

	for _, m := range []struct{ mood, when, seen string }{
		{"one", "once the old container was told to stop", `docker events --since 60s --until 0s --filter event=kill --filter container=shop-db | grep -q . && ls .kamal/lock-shop`},
		{"two", "while the new container starts", `docker ps --format '{{.Names}} {{.Status}}' | grep -q '^shop-db .*starting' && docker ps -a --format '{{.Names}}' | grep -q _replaced_`},
	} {
		w.Setenv("TF_VAR_mood", m.mood)
		p := w.Start()
		eventually(t, time.Minute, m.when, func() bool {
			_, err := s.Run(context.Background(), m.seen)
			return err == nil || !p.Running()
		})
		before := link.Accepted()
		link.Cut()
		out, code := p.Wait()
		if code != 1 || link.Accepted() == before || !says(out, "lost sight of") || !says(out, "Running now: the old container was put back and is ready") || says(out, "raise deploy_timeout") {
			t.Errorf("cut %s: exit code %d, %d connections after %d:\n%s", m.when, code, link.Accepted(), before, out)
		}
		w.Apply()
		wantLife(t, s, "cut "+m.when, m.mood)
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
	if out := w.Destroy(); !says(out, "The accessory shop-db was forgotten there") || len(w.Addresses()) > 0 {
		t.Errorf("in the state: %q, and the destroy says:\n%s", w.Addresses(), out)
	}
	link.Resume()
	wantLife(t, s, "after a destroy without the server", "two")
}

// Replaced by hand with all of it different: the plan names all of it, and one apply mends it.
func TestAccessoryDriftOfEveryAttribute(t *testing.T) {
	aboutServers(t)
	t.Parallel()
	s := bed(t).Server(t, testbed.Debian12)
	w := newLife(t, s, s.Address)
	// What is in the lists, line by line: docker's order of mounts and variables is by chance.
	shown := func() string {
		return s.SSH(t, `docker inspect -f '{{json .HostConfig}},{{json .Config}}' shop-db | tr ',[]{}' '\n' |
  sed -E 's/accessory-db\.[0-9a-f]+/accessory-db.X/; /"kamal-terraform.run"|"Hostname"/d' | sort`)
	}
	configured := shown()
	s.SSH(t, `docker rm -f shop-db; docker network create other; mkdir -p /srv/conf
docker run --detach --name shop-db --label service=shop-db --label team=by-hand --label more=by-hand --network other --restart on-failure:3 \
  --env MOOD=other --env PASSWORD=other --publish 0.0.0.0:5433:3000 --volume other-data:/data --volume /srv/conf:/conf \
  --log-driver json-file --log-opt max-size=1m --memory 64m --cpus 0.25 --shm-size 32m --ulimit nofile=1024 --ulimit nproc=99 --user 1000 \
  --cap-add SYS_TIME --sysctl net.core.somaxconn=256 --tmpfs /elsewhere --add-host other:10.0.0.8 `+w.Bed.Image("app:withhealth")+` app server "by hand"`)
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
		{[]any{"options", "shm_size"}, "32m"}, {[]any{"options", "ulimits", "nofile"}, "1024"}, {[]any{"options", "ulimits", "nproc"}, "99"}, {[]any{"options", "user"}, "1000"},
		{[]any{"options", "init"}, false}, {[]any{"options", "read_only"}, false}, {[]any{"options", "cap_add", 0}, "SYS_TIME"}, {[]any{"options", "cap_drop"}, nil},
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
	wantSame(t, "the container", configured, shown())
	wantLife(t, s, "after the repair", "calm")
}

func TestAccessoryImportByIdentity(t *testing.T) {
	needs(t, importByIdentity)
	t.Parallel()
	s := bed(t).Server(t, testbed.Debian12)
	w := newLife(t, s, s.Address)
	id := inspect(t, s, "shop-db", ".Id")
	w.CLI("state", "rm", db)
	w.Write("import.tf", fmt.Sprintf("import {\n  to = kamal_accessory.db\n  identity = {\n    service = \"shop\"\n    name = \"db\"\n    server = %q\n  }\n}\n", s.Address))
	p := w.Plan()
	// No container tells its stop_timeout, and of a file only the sum of its content is known.
	if got := p.Changed(db); p.Actions(db) != "update" || !slices.Equal(got, []string{"files", "secret_digests", "stop_timeout"}) {
		t.Errorf("the import plans %s of %q:\n%s", p.Actions(db), got, p.Text)
	}
	w.Apply(p.File)
	w.Remove("import.tf")
	w.PlanEmpty()
	if got := inspect(t, s, "shop-db", ".Id"); got != id {
		t.Error("the import replaced the container")
	}
}
