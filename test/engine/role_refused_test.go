package engine

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/approle"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

// login is a provider whose registries hold this log-in for the testbed's, or none.
func (e *engine) login(password string) option {
	return func(f *fleet.Fleet, _ *sshexec.Options) {
		f.Logins = nil
		if password != "" {
			f.Logins = docker.Logins{e.bed.Registry.Address: {Username: e.bed.Registry.Username, Password: password}}
		}
	}
}

func TestRoleFailuresSayWhyAndLeaveTheServerAlone(t *testing.T) {
	onEngines(t, func(e *engine) {
		r := e.role(func(s *approle.Spec) { s.DeployTimeout = 3 * time.Second })
		r.deploy("app:v1")
		registry := e.bed.Registry.Address
		const goesOn = "the old version goes on as before, container shop-web-v1"

		for _, tt := range []struct {
			name, image   string
			login         option
			before, after string   // scripts on the server
			says          []string // two texts with | between them: Docker has had both
			running       string   // default: goesOn
			pulls         bool     // an image that is then of no use
		}{
			{name: "an image that is not there", image: "app:missing",
				says: []string{"Step: pull " + e.image("app:missing"), "Exit code: 1", "manifest unknown|not found", "push " + e.image("app:missing") + " first, or mend the tag"}},
			{name: "a wrong password", image: "app:v2", login: e.login("not-the-password"),
				says: []string{"unauthorized|Unauthorized", `check the username and the password of registries["` + registry + `"]`}},
			{name: "no log-in", image: "app:v2", login: e.login(""),
				says: []string{"no basic auth credentials", "give the log-in for " + registry + " in the provider's registries"}},
			{name: "a registry out of reach", image: "app:v2",
				before: "iptables -I OUTPUT -p tcp --dport 5000 -j REJECT", after: "iptables -D OUTPUT -p tcp --dport 5000 -j REJECT",
				says: []string{"connection refused", "check that " + e.s.Address + " reaches the registry " + registry}},
			{name: "no command", image: "app:nocmd", pulls: true,
				says: []string{"Step: check the image before it is run", "has neither a CMD nor an ENTRYPOINT", "mend the image or the command"}},
			{name: "another CPU", image: "app:arm64", pulls: true,
				says: []string{"is built for linux/arm64, the server is amd64", "docker build --platform linux/amd64"}},
			{name: "force_ssl", image: "app:redirect", pulls: true,
				says: []string{"wait up to 3s for the new container to get healthy", "redirects the health check to https", "301, redirects to https://", "config.assume_ssl = true"}},
			{name: "host authorization", image: "app:blocked", pulls: true,
				says: []string{"does not accept the Host header of the health check", "It answered: Blocked hosts: ", ":3000", "set healthcheck.host"}},
			{name: "a crash at the start", image: "app:crash", pulls: true,
				says: []string{"the container ended instead of serving", "exit code 3", "FATAL: could not connect to database at db.internal:5432", "missing from `env`"}},
			{name: "somebody else's container of that name", image: "app:v2",
				before: "docker create --name shop-web-v2 " + e.image("app:v1"), after: "docker rm shop-web-v2",
				says: []string{"a container that is not the role's has the name of the new one: shop-web-v2", "docker rename shop-web-v2"}},
			{name: "a lock of Kamal's", image: "app:v2",
				before:  `mkdir .kamal/lock-shop; printf 'Locked by: Ann at 2026-11-20T10:00:00Z\nVersion: abc\nMessage: migrating by hand' | base64 > .kamal/lock-shop/details`,
				after:   "rm -r .kamal/lock-shop",
				running: "what ran before, nothing was changed",
				says:    []string{"take the deploy lock of shop", "Locked by: Ann", "migrating by hand", "kamal lock release"}},
		} {
			if tt.running == "" {
				tt.running = goesOn
			}
			r.in(tt.name, func(r *role) {
				e := r.e
				if tt.before != "" {
					e.s.SSH(e, tt.before)
				}
				if tt.login != nil {
					e.options = []option{tt.login}
				}
				before, kept := footprint(e, e.s), images(e, e.s)
				told := r.fails(tt.image, "Unable to deploy shop-web "+strings.TrimPrefix(tt.image, "app:")+" on "+e.s.Address, "Running now: "+tt.running, "What to do: ")
				for _, text := range tt.says {
					if !slices.ContainsFunc(strings.Split(text, "|"), func(one string) bool { return says(told, one) }) {
						e.Errorf("it doesn't say %q", text)
					}
				}
				if strings.Contains(told, e.bed.Registry.Password) {
					e.Error("the registry's password is in the output")
				}
				wantSame(e, "the server", before, footprint(e, e.s))
				if !tt.pulls {
					wantSame(e, "the images", kept, images(e, e.s))
				}
				if tt.after != "" {
					e.s.SSH(e, tt.after)
				}
			})
		}
		r.wantConverged()

		r.in("verify", func(r *role) {
			e := r.e
			before := footprint(e, e.s)
			r.spec.Verify = []string{"app", "get", "http://127.0.0.1:3000/status?code=500"}
			r.fails("app:v2", "run the verify command in the new container", "status 500", "500 Internal Server Error", "Running now: "+goesOn, "What to do: ")
			wantSame(e, "the server", before, footprint(e, e.s))
			r.spec.Verify = []string{"app", "get", "http://127.0.0.1:3000/up"}
			r.deploy("app:v2")
			if got := names(e, e.s); got != "shop-web-v2" {
				e.Errorf("running: %q", got)
			}
			r.spec.Verify = nil
		})

		r.in("host authorization with healthcheck.host", func(r *role) {
			health := r.spec.Health
			r.spec.Health.Host = "app.example.com"
			r.deploy("app:blocked")
			r.spec.Health = health
		})

		r.in("an app that boots slowly", func(r *role) {
			r.fails("app:slow", "wait up to 3s for the new container to get healthy", "does not answer on app_port", "raise deploy_timeout", "booting, ready in 8s")
			r.spec.DeployTimeout = time.Minute
			r.deploy("app:slow")
			if got := names(r.e, r.e.s); got != "shop-web-slow" {
				r.e.Errorf("running: %q", got)
			}
		})
	})
}

func TestRoleCreateThatFailsLeavesNothing(t *testing.T) {
	onEngines(t, func(e *engine) {
		r := e.role(func(s *approle.Spec) { s.DeployTimeout = 3 * time.Second })
		before := e.s.SSH(e, `docker ps --all --quiet; ls -A`)
		for image, want := range map[string]string{"app:crash": "exit code 3", "app:unhealthy": "database is down", "app:missing": "push "} {
			r.fails(image, "Unable to deploy shop-web "+strings.TrimPrefix(image, "app:")+" on "+e.s.Address, want,
				"Running now: nothing of this role ran before, and nothing does now", "What to do: ")
			if len(r.instances) > 0 {
				e.Errorf("%s: reported: %v", image, r.instances)
			}
			if left := e.s.SSH(e, `docker ps --all --quiet; find .kamal \( -name 'lock-*' -o -name '*.json' -o -name '*.env' \)`); left != "" {
				e.Errorf("%s: left on the server:\n%s", image, left)
			}
		}
		wantSame(e, "the server", before, strings.TrimSuffix(e.s.SSH(e, `docker ps --all --quiet; ls -A | grep -vx .kamal`), "\n"))

		// Where only the second server fails, the first has a container that serves: it goes too.
		b := e.another(e.kind)
		r.servers = append(r.servers, b.Address)
		r.spec.Boot.Limit = 1
		b.SSH(e, `iptables -I OUTPUT -p tcp --dport 3000 -j DROP`)
		r.fails("app:v1", "Unable to deploy shop-web v1 on "+b.Address)
		b.SSH(e, `iptables -D OUTPUT -p tcp --dport 3000 -j DROP`)
		for _, s := range e.servers {
			if left := s.SSH(e, `docker ps --all --quiet; find .kamal \( -name 'lock-*' -o -name '*.json' -o -name '*.env' \)`); left != "" || len(r.instances) > 0 {
				e.Errorf("left on %s:\n%s\nreported: %v", s.Name, left, r.instances)
			}
		}
		r.servers = r.servers[:1]
		r.deploy("app:v1")

		// What somebody had stopped before is there as it was after a failed create.
		r.mustRemove()
		e.s.SSH(e, `docker run --detach --name shop-web-unhealthy --network kamal --label service=shop --label role=web --label destination `+e.image("app:v1")+`
docker stop shop-web-unhealthy`)
		const list = `docker ps --all --no-trunc --format '{{.ID}} {{.Names}} {{.State}}'`
		kept := e.s.SSH(e, list)
		r.fails("app:unhealthy", "database is down")
		wantSame(e, "the stopped container", kept, e.s.SSH(e, list))
	})
}
