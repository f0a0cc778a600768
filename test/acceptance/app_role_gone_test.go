package acceptance

import (
	"strings"
	"testing"

	"github.com/kamal-terraform/terraform-provider-kamal/test/testbed"
)

func TestAppRoleWithoutAPort(t *testing.T) {
	aboutServers(t)
	t.Parallel()
	s := bed(t).Server(t, testbed.Debian12)
	w := newWorkspace(t, s)
	write := func(image, body string) {
		w.Write("main.tf", "resource \"kamal_app_role\" \"web\" {\n  service = \"shop\"\n  role = \"jobs\"\n  servers = {{servers}}\n  image = \"{{image \""+image+"\"}}\"\n"+body+"\n}\n")
	}
	const worker = `command = ["app", "worker"]
  readiness_delay = "3s"`
	const hasty = `deploy_timeout = "4s"
  readiness_delay = "2s"
  `
	write("app:v1", worker)
	w.Apply()
	write("app:v2", worker)
	w.Apply()
	if got := names(t, s); got != "shop-jobs-v2" {
		t.Errorf("running: %q", got)
	}
	// The old one went only when the new one had run for the delay.
	old := strings.TrimSpace(s.SSH(t, "docker ps --all --quiet --filter name=^shop-jobs-v1$"))
	seconds := s.SSH(t, `echo $(( $(date -d "$(docker inspect -f '{{.State.FinishedAt}}' `+old+`)" +%s) - $(date -d "$(docker inspect -f '{{.State.StartedAt}}' shop-jobs-v2)" +%s) ))`)
	if strings.TrimSpace(seconds) < "3" {
		t.Errorf("both ran for %s seconds", seconds)
	}
	if w.Output("proxy") != nil || w.State(web)["proxy"] != nil {
		t.Errorf("proxy of a role without a port: %v", w.State(web)["proxy"])
	}

	before := footprint(t, s)
	write("app:v3", hasty+`command = ["app", "exit", "4"]`)
	w.ApplyFails("Unable to deploy shop-jobs v3 on "+s.Address, "Step: wait until the container is ready", "the container ended instead of serving", "exit code 4",
		"Running now: the old version goes on as before, container shop-jobs-v2")
	write("app:crash", hasty+`command = ["app", "server"]`)
	w.ApplyFails("Unable to deploy shop-jobs crash on "+s.Address, "exit code 3", "FATAL: could not connect to database at db.internal:5432")
	wantSame(t, "the server", before, footprint(t, s))

	// Docker's own health check goes before the delay.
	write("app:withhealth", `readiness_delay = "120s"`)
	w.Apply()
	if got := inspect(t, s, "shop-jobs-withhealth", ".State.Health.Status"); got != "healthy" {
		t.Errorf("health %q", got)
	}
	// A health check that fails: nothing listens on the port that it asks.
	write("app:withhealth", hasty+`command = ["app", "worker"]`)
	w.ApplyFails("Step: wait until the container is ready", "not ready in 4 seconds", "running/")
	if got := names(t, s); got != "shop-jobs-withhealth" {
		t.Errorf("running: %q", got)
	}
}

func TestAppRoleWithoutDockerOrServer(t *testing.T) {
	aboutServers(t)
	t.Parallel()
	s := bed(t).Server(t, testbed.Debian12)
	w := newWorkspace(t, s)
	w.Write("main.tf", webConfig)
	w.Setenv("TF_VAR_image", w.Bed.Image("app:v1"))
	w.Apply()
	id := w.container(web, s)

	// Docker is stopped: nothing is forgotten, and the errors say so.
	s.SSH(t, "systemctl stop docker.socket docker")
	p := w.Plan()
	if p.Actions(web) != "update" || !says(p.Text, "Docker does not answer there: Cannot connect to the Docker daemon") {
		t.Errorf("plan: %s", p.Text)
	}
	w.ApplyFails("Unable to deploy shop-web v1 on "+s.Address, "docker does not answer: Cannot connect to the Docker daemon", "Running now: not known, without docker", "systemctl start docker")
	w.DestroyFails("Unable to remove shop-web on "+s.Address, "docker does not answer", "systemctl start docker")
	second := newWorkspace(t, s)
	second.Write("main.tf", webConfig)
	second.Setenv("TF_VAR_image", w.Bed.Image("app:v1"))
	second.ApplyFails("docker does not answer")
	second.ImportFails(web, "shop/web@"+s.Address, "docker does not answer")
	s.SSH(t, "systemctl start docker")
	w.Apply()
	if got := w.container(web, s); got != id {
		t.Errorf("the container is another one after docker was stopped: %s, was %s", got, id)
	}

	// The server doesn't answer.
	s.Pause(t)
	w.Provider("ssh = merge({{ssh}}, { connect_timeout = \"3s\" })\nregistries = {{registries}}")
	w.PlanFails("Unable to read kamal_app_role shop/web on "+s.Address, "cannot reach "+s.Address)
	w.Provider("ssh = merge({{ssh}}, { connect_timeout = \"3s\" })\nregistries = {{registries}}\non_unreachable = \"keep\"")
	p = w.Plan()
	if !p.Empty() || !says(p.Text, "could not be refreshed on "+s.Address) || !says(p.Text, `on_unreachable is "keep"`) {
		t.Errorf("plan with on_unreachable = keep: %s", p.Text)
	}
	if out := w.Destroy(); !says(out, "The role shop-web was forgotten there") {
		t.Errorf("destroy says nothing of what is left:\n%s", out)
	}
	if left := w.Addresses(); len(left) > 0 {
		t.Errorf("in the state: %q", left)
	}
	s.Unpause(t)
	if got := names(t, s); got != "shop-web-v1" {
		t.Errorf("running: %q", got)
	}
}

func TestAppRoleDestroyRemovesItsOwnOnly(t *testing.T) {
	aboutServers(t)
	t.Parallel()
	s := bed(t).Server(t, testbed.Debian13)
	w := newWorkspace(t, s)
	w.Write("main.tf", webConfig)
	for _, image := range []string{"app:v1", "app:v2"} {
		w.Setenv("TF_VAR_image", w.Bed.Image(image))
		w.Apply()
	}
	s.SSH(t, `docker run --detach --name database --network kamal --volume dbdata:/data --label service=shop-db `+w.Bed.Image("app:v1")+`
docker run --detach --name shop-web-exec-v2-abcdef --network kamal `+w.Bed.Image("app:v2")+`
docker run --detach --name shop-jobs-v1 --network kamal --label service=shop --label role=jobs --label destination `+w.Bed.Image("app:v1")+`
mkdir -p .kamal/apps/shop/env/roles; echo A=1 > .kamal/apps/shop/env/roles/jobs.env`)

	// Somebody has removed a part already.
	s.SSH(t, "docker rm --force shop-web-v2; rm -r .kamal/terraform")
	w.Destroy()
	if got := s.SSH(t, `docker ps --all --format '{{.Names}}' | sort | tr '\n' ' '; docker volume ls --quiet | tr '\n' ' '; find .kamal -type f ! -name '*.flock' | sort | tr '\n' ' '`); got !=
		"database shop-jobs-v1 shop-web-exec-v2-abcdef dbdata .kamal/apps/shop/env/roles/jobs.env .kamal/shop-audit.log " && got !=
		"database shop-jobs-v1 shop-web-exec-v2-abcdef dbdata .kamal/apps/shop/env/roles/jobs.env .kamal/shop-audit.log" {
		t.Errorf("left: %q", got)
	}
	if got := s.SSH(t, "tail -n 1 .kamal/shop-audit.log"); !strings.HasSuffix(strings.TrimSpace(got), "] [web] Removed app") {
		t.Errorf("audit log: %s", got)
	}
	w.Destroy() // nothing left to do

	// Somebody deployed a newer version by hand: the state's container goes, theirs stays.
	w.Apply()
	s.SSH(t, "docker stop --time 1 shop-web-v2; "+kamalRun(w, s, "shop-web-v9", ""))
	if out := w.Destroy("-refresh=false"); !says(out, "Another container of shop-web was left on "+s.Address) || !says(out, "shop-web-v9") {
		t.Errorf("no word of what was left:\n%s", out)
	}
	if got := s.SSH(t, `docker ps --all --format '{{.Names}}' --filter name=^shop-web-v | sort | tr '\n' ' '`); strings.TrimSpace(got) != "shop-web-v9" {
		t.Errorf("left: %q", got)
	}

	// All of docker's data is gone with its program.
	s.SSH(t, "docker rm --force shop-web-v9")
	w.Apply()
	s.SSH(t, "systemctl stop docker.socket docker; mv /usr/bin/docker /usr/bin/docker.away")
	if p := w.Plan(); p.Actions(web) != "create" {
		t.Errorf("plan without docker: %s", p.Text)
	}
	w.ApplyFails("docker is not installed on the server", "add a kamal_server")
	w.Destroy()
	s.SSH(t, "mv /usr/bin/docker.away /usr/bin/docker")
}

// Not root, not in group docker: all goes through sudo, and what is under
// .kamal is the user's all the same, or the Kamal CLI could not read it.
func TestAppRoleAsAUserWithSudo(t *testing.T) {
	aboutServers(t)
	t.Parallel()
	s := bed(t).Server(t, testbed.Debian12)
	w := newWorkspace(t, s)
	w.Write("main.tf", strings.Replace(webConfig, "{{servers}}", `["`+testbed.User+`@`+s.Address+`"]`, 1))
	for _, image := range []string{"app:v1", "app:v2"} {
		w.Setenv("TF_VAR_image", w.Bed.Image(image))
		w.Apply()
	}
	w.Setenv("TF_VAR_image", w.Bed.Image("app:unhealthy"))
	w.ApplyFails("database is down", "the old version goes on as before, container shop-web-v2")
	if got := names(t, s); got != "shop-web-v2" {
		t.Errorf("running: %q", got)
	}
	home := "/home/" + testbed.User
	if got := s.SSH(t, "find "+home+"/.kamal ! -user "+testbed.User+"; find /root -name .kamal; find "+home+"/.kamal -name 'lock-*'"); got != "" {
		t.Errorf("not the user's, or left over: %s", got)
	}
	if got := s.SSH(t, "su "+testbed.User+" -c 'cd; cat .kamal/apps/shop/env/roles/web.env; tail -n 1 .kamal/shop-audit.log'"); !strings.HasSuffix(got, "Booted app version v2") {
		t.Errorf("what the user reads: %q", got)
	}
	if got := inspect(t, s, "shop-web-v2", ".Config.Hostname"); !strings.HasPrefix(got, s.Address+"-") {
		t.Errorf("hostname %q", got)
	}
	w.Setenv("TF_VAR_image", w.Bed.Image("app:v2"))
	w.Destroy()
	if got := s.SSH(t, "docker ps --all --quiet; find "+home+"/.kamal -type f ! -name '*.flock' ! -name '*-audit.log'"); got != "" {
		t.Errorf("left: %s", got)
	}
}
