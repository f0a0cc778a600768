package acceptance

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/kamal-terraform/terraform-provider-kamal/test/testbed"
)

const web = "kamal_app_role.web"

// container is the id of the role's container in the state.
func (w *workspace) container(address string, s *testbed.Server) string {
	w.t.Helper()
	id, _ := dig(w.State(address), "instances", s.Address, "container").(string)
	return id
}

// inspect is a field of a container, as docker's template writes it.
func inspect(t *testing.T, s *testbed.Server, container, field string) string {
	t.Helper()
	return strings.TrimSpace(s.SSH(t, fmt.Sprintf("docker inspect --format '{{%s}}' %s", field, container)))
}

// kamalRun is what `kamal deploy` runs for shop's role web, version v1, on a
// server whose address is its host; before stands what follows the options.
func kamalRun(w *workspace, s *testbed.Server, name, more string) string {
	return `mkdir -p .kamal/apps/shop/env/roles; echo > .kamal/apps/shop/env/roles/web.env
docker network inspect kamal >/dev/null 2>&1 || docker network create kamal
docker run --detach --restart unless-stopped --name ` + name + ` --network kamal --hostname ` + s.Address + `-0123456789ab \
  --env KAMAL_CONTAINER_NAME="` + name + `" --env KAMAL_VERSION="v1" --env KAMAL_HOST="` + s.Address + `" \
  --env-file .kamal/apps/shop/env/roles/web.env --log-opt max-size="10m" \
  --label service="shop" --label role="web" --label destination ` + more + ` ` + w.Bed.Image("app:v1")
}

func TestAppRoleDriftIsShownAndMended(t *testing.T) {
	t.Parallel()
	s := bed(t).Server(t, testbed.Debian12)
	w := newWorkspace(t, s)
	w.Write("main.tf", `
resource "kamal_app_role" "web" {
  service = "shop"
  servers = {{servers}}
  image   = "{{image "app:v1"}}"
  env     = { GREETING = "hello world" }

  readiness_delay = "1s"
}
`)
	w.Apply()

	s.SSH(t, "docker stop --time 1 shop-web-v1")
	p := w.Plan()
	if p.Actions(web) != "update" || !slices.Equal(p.Changed(web), []string{"instances"}) ||
		p.Before(web, "instances", s.Address, "running") != false || p.After(web, "instances", s.Address, "running") != true ||
		!p.Unknown(web, "instances", s.Address, "container") {
		t.Errorf("plan after docker stop: %s", p.Text)
	}
	w.Apply(p.File)
	if got := names(t, s); got != "shop-web-v1" {
		t.Errorf("running: %q", got)
	}

	s.SSH(t, "docker rm --force shop-web-v1")
	if p := w.Plan(); p.Actions(web) != "update" || p.Before(web, "instances", s.Address, "running") != false {
		t.Errorf("plan after docker rm, with a kept container there: %s", p.Text)
	}
	w.Apply()
	s.SSH(t, "docker rm --force $(docker ps --all --quiet)")
	if p := w.Plan(); p.Actions(web) != "create" {
		t.Errorf("plan after docker rm of all: %s", p.Text)
	}
	w.Apply()

	// Replaced by hand, with Kamal's own names.
	s.SSH(t, "docker rm --force shop-web-v1\n"+kamalRun(w, s, "shop-web-v1",
		`--env GREETING=other --env NEW=1 --memory 64m --cpus 0.5 --label team=x --volume data:/data`))
	p = w.Plan()
	if want := []string{"cpus", "env", "instances", "labels", "memory", "volumes"}; p.Actions(web) != "update" || !slices.Equal(p.Changed(web), want) {
		t.Errorf("plan after a replacement by hand changes %q, want %q:\n%s", p.Changed(web), want, p.Text)
	}
	if p.Before(web, "env", "GREETING") != "other" || p.After(web, "env", "GREETING") != "hello world" || p.Before(web, "memory") != "67108864" {
		t.Errorf("plan after a replacement by hand: %s", p.Text)
	}
	w.Apply()
	if got := s.SSH(t, `docker inspect --format '{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{json .HostConfig.Binds}}' shop-web-v1; docker exec shop-web-v1 app env GREETING`); got != "0 0 null\nhello world" {
		t.Errorf("after the repair: %q", got)
	}

	// Another one beside it.
	id := w.container(web, s)
	s.SSH(t, kamalRun(w, s, "shop-web-stray", ""))
	if p := w.Plan(); p.Actions(web) != "update" || !says(p.Text, "another container of the role runs: shop-web-stray") {
		t.Errorf("plan with a second container: %s", p.Text)
	}
	w.Apply()
	if got := names(t, s); got != "shop-web-v1" || w.container(web, s) != id {
		t.Errorf("running: %q, and the container was %s", got, id)
	}

	// Away from Kamal's network.
	s.SSH(t, "docker network disconnect kamal shop-web-v1")
	if p := w.Plan(); p.Actions(web) != "update" || !says(p.Text, "other network") {
		t.Errorf("plan without the network: %s", p.Text)
	}
	w.Apply()
}

func TestAppRoleChangesInPlace(t *testing.T) {
	aboutServers(t)
	t.Parallel()
	s := bed(t).Server(t, testbed.Debian13)
	w := newWorkspace(t, s)
	write := func(body string) {
		w.Write("main.tf", "resource \"kamal_app_role\" \"web\" {\n  service = \"shop\"\n  servers = {{servers}}\n  image = \"{{image \"app:v1\"}}\"\n  app_port = 3000\n"+body+"\n}\n")
	}
	write("")
	w.Apply()
	for _, tt := range []struct{ body, attribute, field, want string }{
		{`command = ["app", "server", "and more"]`, "command", `json .Config.Cmd`, `["app","server","and more"]`},
		{`env = { A = "", B = "two\nlines", C = "$HOME 'x' \"y\"", APP_VERSION = "v1" }`, "env", `.Config.Env`, "B=two\nlines"},
		{`volumes = ["data:/data", "/srv/a:/a:ro"]`, "volumes", `json .HostConfig.Binds`, `"data:/data"`},
		{`labels = { team = "shop", empty = "" }`, "labels", `index .Config.Labels "team"`, "shop"},
		{`logging = { driver = "local", options = { max-file = "2" } }`, "logging", `json .HostConfig.LogConfig`, `{"Type":"local","Config":{"max-file":"2"}}`},
		{`logging = {}`, "logging", `json .HostConfig.LogConfig`, `{"Type":"json-file","Config":{}}`},
		{`memory = "512m"`, "memory", `.HostConfig.Memory`, "536870912"},
		{`cpus = 0.5`, "cpus", `.HostConfig.NanoCpus`, "500000000"},
		{``, "cpus", `.HostConfig.NanoCpus`, "0"},
	} {
		before := w.container(web, s)
		write(tt.body)
		p := w.Plan()
		if p.Actions(web) != "update" || !slices.Contains(p.Changed(web), tt.attribute) || !p.Unknown(web, "instances", s.Address, "container") {
			t.Errorf("plan of %s changes %q by %s", tt.body, p.Changed(web), p.Actions(web))
		}
		w.Apply(p.File)
		after := w.container(web, s)
		if after == before || names(t, s) != "shop-web-v1" {
			t.Errorf("%s: container %s, before %s, running %q", tt.body, after, before, names(t, s))
		}
		if got := inspect(t, s, after, tt.field); !strings.Contains(got, tt.want) {
			t.Errorf("%s: docker has %q", tt.body, got)
		}
	}

	// What no container is made of, and other spellings of the same, restart nothing.
	write(`memory = "512m"`)
	w.Apply()
	id := w.container(web, s)
	for _, body := range []string{
		`memory = "0.5g"`,
		`deploy_timeout = "40s"
  drain_timeout = "20s"
  stop_timeout = "5s"
  retain_containers = 2
  healthcheck = { path = "/", interval = "2s" }
  boot = { limit = "50%", on_failure = "halt" }
  memory = "536870912"`,
	} {
		write(body)
		w.Apply()
		if got := w.container(web, s); got != id {
			t.Errorf("%s: the container was replaced", body)
		}
	}
}

func TestAppRoleKeepsAndPrunesVersions(t *testing.T) {
	aboutServers(t)
	t.Parallel()
	s := bed(t).Server(t, testbed.Debian12)
	w := newWorkspace(t, s)
	config := func(more string) {
		w.Write("main.tf", strings.Replace(webConfig, "app_port ", more+"\n  app_port ", 1))
	}
	deploy := func(image string) {
		t.Helper()
		w.Setenv("TF_VAR_image", w.Bed.Image(image))
		w.Apply()
	}
	containers := func() string {
		t.Helper()
		return strings.Join(strings.Fields(s.SSH(t, `docker ps --all --format '{{.Names}}:{{.State}}' | sed 's/_replaced_[0-9a-f]*/_replaced/' | sort`)), " ")
	}
	tags := func() string {
		t.Helper()
		return strings.Join(strings.Fields(s.SSH(t, `docker images --format '{{.Tag}}' | sort`)), " ")
	}
	config("")
	deploy("app:v1")
	deploy("app:v2")
	if got := containers() + " / " + tags(); got != "shop-web-v1:exited shop-web-v2:running / latest v1 v2" {
		t.Errorf("after v1, v2: %s", got)
	}

	// Back, without a registry: the kept image is used.
	s.SSH(t, "iptables -I OUTPUT -p tcp --dport 5000 -j REJECT")
	deploy("app:v1")
	if slices.ContainsFunc(w.RemoteCalls(s.Address), func(c string) bool { return strings.Contains(c, "pull") }) {
		t.Errorf("going back pulled: %q", w.RemoteCalls(s.Address))
	}
	s.SSH(t, "iptables -D OUTPUT -p tcp --dport 5000 -j REJECT")
	if got := containers(); got != "shop-web-v1:running shop-web-v1_replaced:exited shop-web-v2:exited" {
		t.Errorf("back to v1: %s", got)
	}
	// What Kamal takes for the current version.
	if image, latest := inspect(t, s, "shop-web-v1", ".Image"), inspect(t, s, w.Bed.Image("app:latest"), ".Id"); image != latest {
		t.Errorf("latest is %s, v1 runs %s", latest, image)
	}
	log := s.SSH(t, "cat .kamal/shop-audit.log")
	if n := strings.Count(log, "] [web] Booted app version v1"); n != 2 || strings.Count(log, "Booted app version v2") != 1 {
		t.Errorf("audit log:\n%s", log)
	}

	config("retain_containers = 1")
	deploy("app:v3")
	if got := containers() + " / " + tags(); got != "shop-web-v1:exited shop-web-v3:running / latest v1 v3" {
		t.Errorf("with one kept: %s", got)
	}

	// stop_first: never two at once; put back when the new one fails.
	config("retain_containers = 1\n  boot = { order = \"stop_first\" }")
	deploy("app:v2")
	if stopped, started := inspect(t, s, "shop-web-v3", ".State.FinishedAt"), inspect(t, s, "shop-web-v2", ".State.StartedAt"); stopped >= started {
		t.Errorf("the old container ended at %s, the new one started at %s", stopped, started)
	}
	id := w.container(web, s)
	w.Setenv("TF_VAR_image", w.Bed.Image("app:unhealthy"))
	w.ApplyFails("database is down", "Running now: the old version was started again, container shop-web-v2")
	if got := names(t, s); got != "shop-web-v2" || w.container(web, s) != id {
		t.Errorf("after a failure: %q, state %s, was %s", got, w.container(web, s), id)
	}
	deploy("app:v2")
	if got := w.container(web, s); got != id {
		t.Error("the container that was started again was replaced")
	}

	// A tag that moves, asked for at each deploy.
	config("pull = \"always\"")
	deploy("app:v3")
	if !slices.Contains(w.RemoteCalls(s.Address), "pull the image") {
		t.Errorf("pull = always did not pull: %q", w.RemoteCalls(s.Address))
	}

	// By digest.
	digest, _ := dig(w.State(web), "instances", s.Address, "digest").(string)
	deploy("app@" + digest)
	if got, want := names(t, s), "shop-web-"+strings.TrimPrefix(digest, "sha256:")[:12]; got != want {
		t.Errorf("by digest: running %q, want %q", got, want)
	}
}
