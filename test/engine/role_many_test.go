package engine

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/approle"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/kamal"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
	"github.com/kamal-terraform/terraform-provider-kamal/test/byhand"
	"github.com/kamal-terraform/terraform-provider-kamal/test/testbed"
)

// both are the containers that run on two servers.
func both(e *engine, a, b *testbed.Server) string {
	e.Helper()
	return names(e, a) + " / " + names(e, b)
}

func TestRoleOnTwoServersIsPutBackWhenOneFails(t *testing.T) {
	onEngines(t, func(e *engine) {
		a, b := e.s, e.another(testbed.Newest().Kind)
		r := e.role(func(s *approle.Spec) { s.Boot.Limit, s.DeployTimeout, s.Retain = 1, 4*time.Second, 1 })
		r.deploy("app:v1")
		first := r.recorded[a.Address]

		// Nothing on b can reach the containers any more, so that no health check passes.
		b.SSH(e, `iptables -I OUTPUT -p tcp --dport 3000 -j DROP`)
		report, err := r.apply(e.ctx(), "app:v2")
		e.wantFailure(err, "Unable to deploy shop-web v2 on "+b.Address)
		if told := warned(report.Warnings); !says(told, "shop-web was put back on "+a.Address) || !says(told, `boot.on_failure = "rollback"`) {
			e.Errorf("no word of the rollback: %s", told)
		}
		if got := both(e, a, b); got != "shop-web-v1 / shop-web-v1" {
			e.Errorf("running after the rollback: %q", got)
		}
		if r.recorded[a.Address] != first || r.instances[b.Address].Image != e.image("app:v1") {
			e.Errorf("reported after the rollback: %+v", r.instances)
		}
		r.wantLeft("other image")

		r.spec.Boot.Halt = true
		r.fails("app:v2", "Unable to deploy shop-web v2 on "+b.Address)
		if got := both(e, a, b); got != "shop-web-v2 / shop-web-v1" {
			e.Errorf("running after halt: %q", got)
		}
		if r.instances[a.Address].Image != e.image("app:v2") || r.instances[b.Address].Image != e.image("app:v1") {
			e.Errorf("reported after halt: %+v", r.instances)
		}
		b.SSH(e, `iptables -D OUTPUT -p tcp --dport 3000 -j DROP`)
		r.deploy("app:v2")
		if got := both(e, a, b); got != "shop-web-v2 / shop-web-v2" {
			e.Errorf("running after the repair: %q", got)
		}

		// A server leaves and comes back; then it is gone for good.
		r.servers = []string{a.Address}
		r.deploy("")
		if got := both(e, a, b); got != "shop-web-v2 / " {
			e.Errorf("running after %s left: %q", b.Name, got)
		}
		if got := b.SSH(e, `ls -A .kamal .kamal/apps 2>/dev/null || :; find .kamal -name '*.json'; docker ps -aq`); strings.Contains(got, "shop\n") || strings.Contains(got, "json") {
			e.Errorf("left on %s: %s", b.Name, got)
		}
		r.servers = []string{b.Address, a.Address}
		r.deploy("")
		b.SSH(e, "iptables -I INPUT -p tcp --dport 22 -j DROP")
		e.Cleanup(func() { b.SSH(e, "iptables -D INPUT -p tcp --dport 22 -j DROP") })
		e.options = []option{func(_ *fleet.Fleet, o *sshexec.Options) { o.ConnectTimeout = 2 * time.Second }}
		_, err = e.newRun().fleet.Server(b.Address).Snapshot(e.ctx())
		e.wantFailure(err, "cannot reach "+b.Address)
		r.servers = []string{a.Address}
		if told := warned(r.deploy("").Warnings); !says(told, b.Address+" is no longer there") {
			e.Errorf("no word of the server that is gone:\n%s", told)
		}
	})
}

// With a route on both, nobody who visits notices: not the version that fails
// on the second server, not the way back of the first, not a server that leaves.
func TestRoleIsPutBackUnderLoad(t *testing.T) {
	onEngines(t, func(e *engine) {
		a, b := e.s, e.another(testbed.Oldest().Kind)
		r := e.role(func(s *approle.Spec) {
			s.Boot.Limit, s.Boot.Wait, s.DeployTimeout, s.Volumes = 1, time.Second, 4*time.Second, []string{"/srv/note:/note:ro"}
		})
		for _, s := range e.servers {
			s.SSH(e, "echo note > /srv/note")
			e.Cleanup(func() { s.SSH(e, "rm -r /srv/note") })
		}
		r.deploy("app:v1")
		byhand.RouteWeb(e, e.bed, a)
		byhand.RouteWeb(e, e.bed, b)
		la, lb := startLoad(e, a), startLoad(e, b)
		served := func(when string) {
			e.Helper()
			wantNoneFailed(e, la, when)
			wantNoneFailed(e, lb, when+", on the second")
		}

		// The name of what ran is taken, and has to be given back.
		b.SSH(e, `iptables -I OUTPUT -p tcp --dport 3000 -j DROP`)
		r.spec.Env = map[string]string{"GREETING": "hello"}
		r.fails("app:v1", "Unable to deploy shop-web v1 on "+b.Address, "wait up to 4s for the new container to get healthy")
		served("put back")
		r.spec.Env = nil
		r.wantConverged()
		if got, want := both(e, a, b), "kamal-proxy shop-web-v1 / kamal-proxy shop-web-v1"; got != want {
			e.Errorf("running after the rollback: %q", got)
		}
		if got := a.SSH(e, "tail -n 1 .kamal/shop-audit.log; ls .kamal; docker ps --all --format '{{.Names}}'"); !strings.Contains(got, "Put back app version v1") ||
			strings.Contains(got, "lock-shop") || strings.Contains(got, "_replaced_") {
			e.Errorf("left after the rollback:\n%s", got)
		}

		// Without an overlap there is a gap, but it ends.
		r.spec.Boot.StopFirst = true
		r.fails("app:v2", "Unable to deploy shop-web v2 on "+b.Address, "Running now: the old version was started again, container shop-web-v1")
		if got, want := both(e, a, b), "kamal-proxy shop-web-v1 / kamal-proxy shop-web-v1"; got != want {
			e.Errorf("running after the rollback: %q", got)
		}
		b.SSH(e, `iptables -D OUTPUT -p tcp --dport 3000 -j DROP`)
		for _, s := range e.servers {
			wantVersion(e, s, "http://shop.example.com/", "v1")
		}
		la.Take()
		lb.Take()
		r.spec.Boot.StopFirst = false

		// The old one does not start any more: what it mounted is no file now. It is said.
		a.SSH(e, "rm /srv/note; mkdir /srv/note")
		b.SSH(e, `iptables -I OUTPUT -p tcp --dport 3000 -j DROP`)
		la.Take()
		r.spec.Volumes, r.spec.Boot.Wait = nil, 0
		r.fails("app:v2", "Unable to deploy shop-web v2 on "+b.Address, "Unable to put shop-web back to v1 on "+a.Address, "Step: start shop-web-v1",
			"Running now: the new version, container shop-web-v2", "apply again, with the version that should run")
		served("a rollback that failed")
		b.SSH(e, `iptables -D OUTPUT -p tcp --dport 3000 -j DROP`)
		if got, want := both(e, a, b), "kamal-proxy shop-web-v2 / kamal-proxy shop-web-v1"; got != want {
			e.Errorf("running after a rollback that failed: %q", got)
		}
		r.deploy("app:v2")
		served("deployed at last")

		// A server leaves: its visitors end their requests, then its service goes.
		lb.Stop()
		r.servers = []string{a.Address}
		r.deploy("")
		if got := both(e, a, b); got != "kamal-proxy shop-web-v2 / kamal-proxy" || proxyEntry(e, b, "shop-web") != nil {
			e.Errorf("running after %s left: %q", b.Name, got)
		}
	})
}

// Whoever asks about one server at once is answered by one remote call, and
// roles of one app that are applied at once take turns at the deploy lock.
func TestRolesOfOneServerAreSeenInOneCall(t *testing.T) {
	onEngines(t, func(e *engine) {
		job := func(n int) *role {
			return e.role(func(s *approle.Spec) {
				s.Role, s.AppPort, s.Command, s.ReadinessDelay = kamal.Role{Service: "shop", Role: fmt.Sprintf("job%d", n)}, 0, []string{"app", "worker"}, 0
			})
		}
		roles := make([]*role, 20)
		for i := range roles {
			roles[i] = job(i)
		}
		run := e.newRun()
		each := func(list []*role, do func(r *role) error) {
			e.Helper()
			var wg sync.WaitGroup
			for _, r := range list {
				wg.Go(func() {
					if err := do(r); err != nil {
						e.Errorf("%s: %v", r.spec.Role.Role, err)
					}
				})
			}
			wg.Wait()
		}
		each(roles[:4], func(r *role) error { _, err := r.applyIn(e.ctx(), run, "app:v1"); return err })
		if n, calls := run.handshakes(e.s.Address), run.remoteCalls(e.s.Address); n != 1 || len(calls) > 4*4 {
			e.Errorf("a deploy of 4 roles took %d handshakes and the calls %q", n, calls)
		}

		run = e.newRun()
		each(roles, func(r *role) error {
			snap, err := run.fleet.Server(e.s.Address).Snapshot(e.ctx())
			if err != nil {
				return err
			}
			o, err := approle.Observe(snap, r.spec.Role, r.container())
			if err == nil && o.Running() != (r.container() != "") {
				err = fmt.Errorf("running: %t", o.Running())
			}
			return err
		})
		if n, calls := run.handshakes(e.s.Address), run.remoteCalls(e.s.Address); n != 1 || len(calls) != 1 {
			e.Errorf("a look at 20 roles took %d handshakes and the calls %q, want 1 and 1", n, calls)
		}
	})
}
