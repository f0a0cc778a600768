package engine

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/approle"
)

func TestRoleChangesInPlace(t *testing.T) {
	onEngines(t, func(e *engine) {
		r := e.role()
		r.deploy("app:v1")
		plain := r.spec
		for _, tt := range []struct {
			name, differs string
			change        func(*approle.Spec)
			field, want   string
		}{
			{"a command", "command", func(s *approle.Spec) { s.Command = []string{"app", "server", "and more"} },
				`json .Config.Cmd`, `["app","server","and more"]`},
			{"variables", "env", func(s *approle.Spec) {
				s.Env = map[string]string{"A": "", "B": "two\nlines", "C": `$HOME 'x' "y"`, "APP_VERSION": "v1"}
			}, `.Config.Env`, "B=two\nlines"},
			{"volumes", "volumes", func(s *approle.Spec) { s.Volumes = []string{"data:/data", "/srv/a:/a:ro"} }, `json .HostConfig.Binds`, `"data:/data"`},
			{"labels", "labels", func(s *approle.Spec) { s.Labels = map[string]string{"team": "shop", "empty": ""} }, `index .Config.Labels "team"`, "shop"},
			{"a log driver", "logging", func(s *approle.Spec) { s.LogDriver, s.LogOptions = "local", map[string]string{"max-file": "2"} },
				`json .HostConfig.LogConfig`, `{"Type":"local","Config":{"max-file":"2"}}`},
			{"no log options", "logging", func(s *approle.Spec) { s.LogOptions = nil }, `json .HostConfig.LogConfig`, `{"Type":"json-file","Config":{}}`},
			{"memory", "memory", func(s *approle.Spec) { s.Memory = 512 << 20 }, `.HostConfig.Memory`, "536870912"},
			{"CPUs", "cpus", func(s *approle.Spec) { s.CPUs = 0.5 }, `.HostConfig.NanoCpus`, "500000000"},
			{"options", "options", func(s *approle.Spec) { s.CPUs, s.Options = 0.5, someOptions }, `.HostConfig.ShmSize`, "100663296"},
			{"a published port", "ports", func(s *approle.Spec) { s.Ports, s.Boot.StopFirst = []string{"8080:3000"}, true },
				`json .HostConfig.PortBindings`, `{"3000/tcp":[{"HostIp":"127.0.0.1","HostPort":"8080"}]}`},
			{"another version on the port", "env", func(s *approle.Spec) {
				s.Ports, s.Boot.StopFirst, s.Env = []string{"8080:3000"}, true, map[string]string{"A": "b"}
			}, `json .HostConfig.PortBindings`, `"8080"`},
			{"nothing", "ports", func(*approle.Spec) {}, `.HostConfig.NanoCpus`, "0"},
		} {
			before := r.container()
			r.spec = plain
			tt.change(&r.spec)
			o := r.observe(e.s.Address)
			if plan := approle.Build(r.spec, o); !plan.Swap || !slices.Contains(r.spec.Differs(o), tt.differs) {
				e.Errorf("%s: the plan tells %q, differs: %q", tt.name, plan.Why, r.spec.Differs(o))
			}
			r.deploy("")
			if r.container() == before || names(e, e.s) != "shop-web-v1" {
				e.Errorf("%s: container %s, before %s, running %q", tt.name, r.container(), before, names(e, e.s))
			}
			if got := inspect(e, e.s, r.container(), tt.field); !strings.Contains(got, tt.want) {
				e.Errorf("%s: docker has %q", tt.name, got)
			}
		}

		// What no container is made of restarts nothing.
		id := r.container()
		r.spec.DeployTimeout, r.spec.DrainTimeout, r.spec.StopTimeout, r.spec.Retain = 40*time.Second, 20*time.Second, 5*time.Second, 2
		r.spec.Health.Path, r.spec.Health.Interval = "/", 2*time.Second
		r.spec.Boot = approle.Boot{Percent: 50, Halt: true}
		r.deploy("")
		if r.container() != id {
			e.Error("the container was replaced")
		}

		// Away from Kamal's network it cannot be reached.
		e.s.SSH(e, "docker network disconnect kamal shop-web-v1")
		r.wantLeft("other network")
		r.deploy("")
	})
}

func TestRoleKeepsAndPrunesVersions(t *testing.T) {
	onEngines(t, func(e *engine) {
		r := e.role(func(s *approle.Spec) { s.DeployTimeout = 4 * time.Second })
		repository := strings.TrimSuffix(e.image("app:v1"), ":v1")
		containers := func() string {
			e.Helper()
			return strings.Join(strings.Fields(e.s.SSH(e, `docker ps --all --format '{{.Names}}:{{.State}}' | sed 's/_replaced_[0-9a-f]*/_replaced/' | sort`)), " ")
		}
		tags := func() string {
			e.Helper()
			return strings.Join(strings.Fields(e.s.SSH(e, `docker image ls --format '{{.Tag}}' `+repository+` | sort`)), " ")
		}
		pulled := func() bool { return slices.Contains(e.run.remoteCalls(e.s.Address), "pull the image") }
		r.deploy("app:v1")
		r.deploy("app:v2")
		if got := containers() + " / " + tags(); got != "shop-web-v1:exited shop-web-v2:running / latest v1 v2" {
			e.Errorf("after v1, v2: %s", got)
		}

		// Back, without a registry: the kept image is used.
		e.s.SSH(e, "iptables -I OUTPUT -p tcp --dport 5000 -j REJECT")
		r.deploy("app:v1")
		if pulled() {
			e.Error("going back pulled the image")
		}
		e.s.SSH(e, "iptables -D OUTPUT -p tcp --dport 5000 -j REJECT")
		if got := containers(); got != "shop-web-v1:running shop-web-v1_replaced:exited shop-web-v2:exited" {
			e.Errorf("back to v1: %s", got)
		}
		// What Kamal takes for the current version.
		if image, latest := inspect(e, e.s, "shop-web-v1", ".Image"), inspect(e, e.s, repository+":latest", ".Id"); image != latest {
			e.Errorf("latest is %s, v1 runs %s", latest, image)
		}
		log := e.s.SSH(e, "cat .kamal/shop-audit.log")
		if n := strings.Count(log, "] [web] Booted app version v1"); n != 2 || strings.Count(log, "Booted app version v2") != 1 {
			e.Errorf("audit log:\n%s", log)
		}

		r.spec.Retain = 1
		r.deploy("app:v3")
		if got := containers() + " / " + tags(); got != "shop-web-v1:exited shop-web-v3:running / latest v1 v3" {
			e.Errorf("with one kept: %s", got)
		}
		// The kept one is for going back without a registry.
		e.s.SSH(e, "iptables -I OUTPUT -p tcp --dport 5000 -j REJECT")
		r.deploy("app:v1")
		r.deploy("app:v3")
		e.s.SSH(e, "iptables -D OUTPUT -p tcp --dport 5000 -j REJECT")

		// stop_first: never two at once; put back when the new one fails.
		r.spec.Boot.StopFirst = true
		r.deploy("app:v2")
		if stopped, started := inspect(e, e.s, "shop-web-v3", ".State.FinishedAt"), inspect(e, e.s, "shop-web-v2", ".State.StartedAt"); stopped >= started {
			e.Errorf("the old container ended at %s, the new one started at %s", stopped, started)
		}
		id := r.container()
		r.fails("app:unhealthy", "database is down", "Running now: the old version was started again, container shop-web-v2")
		if got := names(e, e.s); got != "shop-web-v2" || r.container() != id {
			e.Errorf("after a failure: %q, state %s, was %s", got, r.container(), id)
		}
		r.deploy("app:v2")
		if r.container() != id {
			e.Error("the container that was started again was replaced")
		}
		r.spec.Boot.StopFirst = false

		// A tag that moves, asked for at each deploy.
		r.spec.PullAlways = true
		r.deploy("app:v3")
		if !pulled() {
			e.Errorf("pull = always did not pull: %q", e.run.remoteCalls(e.s.Address))
		}

		// By digest.
		digest := r.instances[e.s.Address].Digest
		r.deploy("app@" + digest)
		if got, want := names(e, e.s), "shop-web-"+strings.TrimPrefix(digest, "sha256:")[:12]; got != want {
			e.Errorf("by digest: running %q, want %q", got, want)
		}
	})
}

func TestRoleStagingBesideProduction(t *testing.T) {
	onEngines(t, func(e *engine) {
		production, staging := e.role(), e.role(func(s *approle.Spec) { s.Role.Destination = "staging" })
		production.deploy("app:v1")
		staging.deploy("app:v1")
		if got := names(e, e.s); got != "shop-web-staging-v1 shop-web-v1" {
			e.Errorf("running: %q", got)
		}
		// What Kamal sees of each: without a destination the label is there and empty.
		for filter, want := range map[string]string{"label=destination=": "shop-web-v1", "label=destination=staging": "shop-web-staging-v1"} {
			if got := strings.TrimSpace(e.s.SSH(e, "docker ps --filter label=service=shop --filter label=role=web --filter "+filter+" --format '{{.Names}}'")); got != want {
				e.Errorf("docker ps --filter %s: %q, want %q", filter, got, want)
			}
		}
		if got := e.s.SSH(e, "docker exec shop-web-staging-v1 app env KAMAL_DESTINATION; docker exec shop-web-v1 app env KAMAL_DESTINATION"); got != "staging" {
			e.Errorf("KAMAL_DESTINATION: %q", got)
		}

		id := production.container()
		staging.deploy("app:v2")
		production.wantConverged()
		if got := names(e, e.s); got != "shop-web-staging-v2 shop-web-v1" || inspect(e, e.s, "shop-web-v1", ".Id") != id {
			e.Errorf("running: %q", got)
		}
		repository := strings.TrimSuffix(e.image("app:v1"), ":v1")
		if got := e.s.SSH(e, "docker image ls --format '{{.Tag}}' "+repository+" | sort | tr '\\n' ' '"); !strings.Contains(got, "latest ") || !strings.Contains(got, "latest-staging ") {
			e.Errorf("tags: %s", got)
		}
		if got := e.s.SSH(e, "grep -c . .kamal/shop-audit.log; tail -n 1 .kamal/shop-staging-audit.log"); !strings.HasPrefix(got, "1\n") || !strings.HasSuffix(got, "] [staging] [web] Booted app version v2") {
			e.Errorf("audit logs: %s", got)
		}

		staging.mustRemove()
		if got := names(e, e.s); got != "shop-web-v1" {
			e.Errorf("running after staging went: %q", got)
		}
		if got := e.s.SSH(e, "ls .kamal/terraform; ls .kamal/apps"); strings.Contains(got, "staging") || !strings.Contains(got, "role.shop-web.json") {
			e.Errorf("left: %s", got)
		}
		production.wantConverged()
	})
}
