package engine

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/approle"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
	"github.com/kamal-terraform/terraform-provider-kamal/test/byhand"
	"github.com/kamal-terraform/terraform-provider-kamal/test/testbed"
)

func TestRoleWithoutAPort(t *testing.T) {
	onEngines(t, func(e *engine) {
		r := e.role(func(s *approle.Spec) {
			s.Role.Role, s.AppPort, s.Command, s.ReadinessDelay = "jobs", 0, []string{"app", "worker"}, 0
		})
		r.deploy("app:v1")
		r.spec.ReadinessDelay = 3 * time.Second
		r.deploy("app:v2")
		if got := names(e, e.s); got != "shop-jobs-v2" {
			e.Errorf("running: %q", got)
		}
		// The old one went only when the new one had run for the delay.
		out := strings.TrimSpace(e.s.SSH(e, `echo $(( $(date -d "$(docker inspect -f '{{.State.FinishedAt}}' shop-jobs-v1)" +%s) - $(date -d "$(docker inspect -f '{{.State.StartedAt}}' shop-jobs-v2)" +%s) ))`))
		if seconds, err := strconv.Atoi(out); err != nil || seconds < 3 {
			e.Errorf("both ran for %s seconds", out)
		}

		before := footprint(e, e.s)
		hasty := func(s *approle.Spec) { s.ReadinessDelay, s.DeployTimeout = 2*time.Second, 3*time.Second }
		r.with(hasty).spec.Command = []string{"app", "exit", "4"}
		r.fails("app:v3", "Unable to deploy shop-jobs v3 on "+e.s.Address, "Step: wait until the container is ready", "the container ended instead of serving", "exit code 4",
			"Running now: the old version goes on as before, container shop-jobs-v2")
		r.spec.Command = []string{"app", "server"}
		r.fails("app:crash", "Unable to deploy shop-jobs crash on "+e.s.Address, "exit code 3", "FATAL: could not connect to database at db.internal:5432")
		wantSame(e, "the server", before, footprint(e, e.s))

		// Docker's own health check goes before the delay.
		r.spec.Command, r.spec.ReadinessDelay, r.spec.DeployTimeout = nil, 2*time.Minute, 30*time.Second
		r.deploy("app:withhealth")
		if got := inspect(e, e.s, "shop-jobs-withhealth", ".State.Health.Status"); got != "healthy" {
			e.Errorf("health %q", got)
		}
		// A health check that fails: nothing listens on the port that it asks.
		r.with(hasty).spec.Command = []string{"app", "worker"}
		r.fails("app:withhealth", "Step: wait until the container is ready", "not ready in 3 seconds", "running/")
		if got := names(e, e.s); got != "shop-jobs-withhealth" {
			e.Errorf("running: %q", got)
		}

		// With a service at kamal-proxy that has nowhere to go it is refused.
		byhand.BootProxy(e, e.bed, e.s)
		proxyCLI(e, e.s, "deploy shop-jobs --target=$(docker inspect --format '{{slice .Id 0 12}}' shop-jobs-withhealth):3000")
		r.spec.Command = nil
		r.fails("app:v1", "kamal-proxy sends traffic to the service shop-jobs, and the role has no app_port to send it to", "kamal-proxy remove shop-jobs")
	})
}

func TestRoleWithoutDockerOrServer(t *testing.T) {
	onEngines(t, func(e *engine) {
		r := e.role()
		r.deploy("app:v1")
		id := r.container()

		// Docker is stopped: nothing is forgotten, and the errors say so.
		e.s.SSH(e, "systemctl stop docker.socket docker")
		if why := r.observe(e.s.Address).Hidden(); !says(why, "docker does not answer: Cannot connect to the Docker daemon") {
			e.Errorf("observed: %q", why)
		}
		r.fails("app:v1", "Unable to deploy shop-web v1 on "+e.s.Address, "docker does not answer: Cannot connect to the Docker daemon", "Running now: not known, without docker", "systemctl start docker")
		_, err := r.remove()
		e.wantFailure(err, "Unable to remove shop-web on "+e.s.Address, "docker does not answer", "systemctl start docker")
		second := e.role()
		second.fails("app:v1", "docker does not answer")
		if len(second.instances) > 0 {
			e.Errorf("the second has %v", second.instances)
		}
		e.s.SSH(e, "systemctl start docker")
		r.deploy("app:v1")
		if got := r.container(); got != id {
			e.Errorf("the container is another one after docker was stopped: %s, was %s", got, id)
		}

		// The server doesn't answer.
		e.options = []option{func(f *fleet.Fleet, o *sshexec.Options) { o.ConnectTimeout, f.KeepUnreachable = 2*time.Second, true }}
		e.s.Pause(e)
		_, err = e.newRun().fleet.Server(e.s.Address).Snapshot(e.ctx())
		e.wantFailure(err, "cannot reach "+e.s.Address)
		if !fleet.IsUnreachable(err) {
			e.Errorf("not called unreachable: %v", err)
		}
		r.fails("app:v1", "Unable to deploy shop-web v1 on "+e.s.Address, "cannot reach "+e.s.Address, "Running now: what ran before, nothing was changed")
		if r.container() != id {
			e.Errorf("the state forgot the container: %q", r.container())
		}
		if told := r.mustRemove(); !says(told, "The role shop-web was forgotten there") || !says(told, `on_unreachable is "keep"`) {
			e.Errorf("the removal says nothing of what is left:\n%s", told)
		}
		e.s.Unpause(e)
		if got := names(e, e.s); got != "shop-web-v1" {
			e.Errorf("running: %q", got)
		}
	})
}

func TestRoleRemovalTakesItsOwnOnly(t *testing.T) {
	onEngines(t, func(e *engine) {
		r := e.role()
		r.deploy("app:v1")
		r.deploy("app:v2")
		e.s.SSH(e, `docker run --detach --name database --network kamal --volume dbdata:/data --label service=shop-db `+e.image("app:v1")+`
docker run --detach --name shop-web-exec-v2-abcdef --network kamal `+e.image("app:v2")+`
docker run --detach --name shop-jobs-v1 --network kamal --label service=shop --label role=jobs --label destination `+e.image("app:v1")+`
mkdir -p .kamal/apps/shop/env/roles; echo A=1 > .kamal/apps/shop/env/roles/jobs.env`)

		// Somebody has removed a part already.
		e.s.SSH(e, "docker rm --force shop-web-v2; rm -r .kamal/terraform")
		was := *r
		r.mustRemove()
		const list = `docker ps --all --format '{{.Names}}' | sort | tr '\n' ' '; docker volume ls --quiet | tr '\n' ' '; find .kamal -type f ! -name '*.flock' | sort | tr '\n' ' '`
		if got := strings.TrimSpace(e.s.SSH(e, list)); got != "database shop-jobs-v1 shop-web-exec-v2-abcdef dbdata .kamal/apps/shop/env/roles/jobs.env .kamal/shop-audit.log" {
			e.Errorf("left: %q", got)
		}
		if got := e.s.SSH(e, "tail -n 1 .kamal/shop-audit.log"); !strings.HasSuffix(strings.TrimSpace(got), "] [web] Removed app") {
			e.Errorf("audit log: %s", got)
		}
		was.mustRemove() // nothing left to do

		// Somebody deployed a newer version by hand: the state's container goes, theirs stays.
		r.deploy("app:v2")
		e.s.SSH(e, "docker stop --time 1 shop-web-v2; "+byhand.KamalRun(e.bed, e.s, "shop-web-v9", ""))
		if told := r.mustRemove(); !says(told, "Another container of shop-web was left on "+e.s.Address) || !says(told, "shop-web-v9") {
			e.Errorf("no word of what was left:\n%s", told)
		}
		if got := e.s.SSH(e, `docker ps --all --format '{{.Names}}' --filter name=^shop-web-v | sort | tr '\n' ' '`); strings.TrimSpace(got) != "shop-web-v9" {
			e.Errorf("left: %q", got)
		}

		// All of docker's data is gone with its program.
		e.s.SSH(e, "docker rm --force shop-web-v9")
		r.deploy("")
		docker := strings.TrimSpace(e.s.SSH(e, "command -v docker"))
		e.s.SSH(e, "systemctl stop docker.socket docker; mv "+docker+" "+docker+".away")
		e.Cleanup(func() { e.s.SSH(e, "mv "+docker+".away "+docker+"; systemctl start docker") })
		if o := r.observe(e.s.Address); o.Current != nil || o.Hidden() != "" {
			e.Errorf("observed without docker: %v, %q", o.Current, o.Hidden())
		}
		r.fails("app:v2", "docker is not installed on the server", "add a kamal_server")
		r.mustRemove()
	})
}

// Not root, not in group docker: all goes through sudo, and what is under
// .kamal is the user's all the same, or the Kamal CLI could not read it.
func TestRoleAsAUserWithSudo(t *testing.T) {
	onEngines(t, func(e *engine) {
		r := e.role()
		r.servers = []string{testbed.User + "@" + e.s.Address}
		r.deploy("app:v1")
		r.deploy("app:v2")
		r.spec.DeployTimeout = 3 * time.Second
		r.fails("app:unhealthy", "database is down", "the old version goes on as before, container shop-web-v2")
		if got := names(e, e.s); got != "shop-web-v2" {
			e.Errorf("running: %q", got)
		}
		home := "/home/" + testbed.User
		if got := e.s.SSH(e, "find "+home+"/.kamal ! -user "+testbed.User+"; find /root -name .kamal; find "+home+"/.kamal -name 'lock-*'"); got != "" {
			e.Errorf("not the user's, or left over: %s", got)
		}
		if got := e.s.SSH(e, "su "+testbed.User+" -c 'cd; cat .kamal/apps/shop/env/roles/web.env; tail -n 1 .kamal/shop-audit.log'"); !strings.HasSuffix(got, "Booted app version v2") {
			e.Errorf("what the user reads: %q", got)
		}
		if got := inspect(e, e.s, "shop-web-v2", ".Config.Hostname"); !strings.HasPrefix(got, e.s.Address+"-") {
			e.Errorf("hostname %q", got)
		}
		r.mustRemove()
		if got := e.s.SSH(e, "docker ps --all --quiet; find "+home+"/.kamal -type f ! -name '*.flock' ! -name '*-audit.log'"); got != "" {
			e.Errorf("left: %s", got)
		}
	})
}
