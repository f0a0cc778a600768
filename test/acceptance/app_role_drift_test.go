package acceptance

import (
	"slices"
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

func TestAppRoleDriftIsShownAndMended(t *testing.T) {
	t.Parallel()
	s := bed(t).Warm(t, oldest)
	w := newWorkspace(t, s)
	const config = `
resource "kamal_app_role" "web" {
  service = "shop"
  servers = {{servers}}
  image   = "{{image "app:v1"}}"
  env     = { GREETING = "hello world" }

  readiness_delay = "1s"
}
`
	w.Write("main.tf", config)
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
	if p.Before(web, "env", "GREETING") != "other" || p.After(web, "env", "GREETING") != "hello world" || p.Before(web, "memory") != "64m" {
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

	// A server more: the plan promises that the other stays as it is, and where
	// that does not come true the apply says so, with what is there in the state.
	other := bed(t).Warm(t, newest)
	w.Servers = append(w.Servers, other)
	w.Write("main.tf", config)
	p = w.Plan()
	if p.Unknown(web, "instances", s.Address, "container") || !p.Unknown(web, "instances", other.Address, "container") {
		t.Errorf("plan of a server more:\n%s", p.Text)
	}
	before := w.container(web, s)
	s.SSH(t, "docker rm --force shop-web-v1")
	w.fails(w.run("apply", "-no-color", p.File), []string{"Changed since the plan: shop-web on " + s.Address, "The plan left it as it was, container " + before})
	if now := w.container(web, s); now == before || w.container(web, other) == "" {
		t.Errorf("in the state: %s, %s", now, w.container(web, other))
	}
	w.PlanEmpty()
}
