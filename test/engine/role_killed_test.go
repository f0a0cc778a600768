package engine

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/approle"
	"github.com/kamal-terraform/terraform-provider-kamal/test/byhand"
)

// A provider that dies leaves the old version serving, and the next apply ends
// what it began.
func TestRoleKilledMidway(t *testing.T) {
	onEngines(t, func(e *engine) {
		r := e.role(func(s *approle.Spec) { s.DeployTimeout, s.StopTimeout = 30*time.Second, time.Second })
		r.deploy("app:v1")
		byhand.RouteWeb(e, e.bed, e.s)
		l := startLoad(e, e.s)

		// What holds the run up at a place, and the state of the server in which it is killed.
		for _, m := range []struct{ name, image, hold, seen, free string }{
			{name: "with the lock taken", image: "app:v2", seen: "test -f .kamal/lock-shop/run",
				hold: "iptables -I OUTPUT -p tcp --dport 5000 -j DROP", free: "iptables -D OUTPUT -p tcp --dport 5000 -j DROP"},
			{name: "with the new container started, which does not answer yet", image: "app:v3", seen: running("shop-web-v3"),
				hold: "iptables -I OUTPUT -p tcp --dport 3000 -j DROP", free: "iptables -D OUTPUT -p tcp --dport 3000 -j DROP"},
			{name: "with the new container booting", image: "app:slow", seen: running("shop-web-slow")},
			{name: "after the switch, while the old container is drained", image: "app:withhealth",
				hold: visitorCame, seen: trafficGoesTo("shop-web-withhealth"), free: visitorLeft},
		} {
			if m.hold != "" {
				e.s.SSH(e, m.hold)
			}
			run, apply := r.start(e.ctx(), m.image)
			eventually(e, time.Minute, m.name, func() bool {
				_, err := e.s.Run(e.ctx(), m.seen)
				return err == nil || !apply.running()
			})
			if !apply.running() {
				e.Fatalf("%s: the apply was over before it could be killed: %v", m.name, apply.wait())
			}
			e.cutOff(run)
			if apply.wait() == nil {
				e.Fatalf("%s: the apply succeeded", m.name)
			}
			wantNoneFailed(e, l, "killed "+m.name)
			if m.free != "" {
				e.s.SSH(e, m.free)
			}

			e.age(".kamal/lock-shop/run")
			r.deploy("")
			wantNoneFailed(e, l, "applied again after a kill "+m.name)
			r.wantNothingLeftOver(m.name)
		}
	})
}

// A visitor of the old container, with a request that takes its time, keeps
// kamal-proxy at its work after the switch.
const (
	visitorCame = `curl -s -o /dev/null -H 'Host: shop.example.com' 'http://127.0.0.1/slow?ms=16000' >/dev/null 2>&1 & echo $! > /run/visitor
until ss -tnH state established dport = :80 | grep -q .; do sleep 0.05; done`
	visitorLeft = "kill $(cat /run/visitor) 2>/dev/null || :" // on a busy machine it may have its answer
)

// trafficGoesTo is a test that kamal-proxy sends traffic to a container.
func trafficGoesTo(name string) string {
	return "docker cp kamal-proxy:/home/kamal-proxy/.config/kamal-proxy/kamal-proxy.state - | tar -xOf - | grep -q $(docker ps --quiet --filter name=^" + name + "$)"
}

// running is a test that a container runs.
func running(name string) string { return "docker ps --format '{{.Names}}' | grep -qx " + name }

// wantNothingLeftOver wants the role's new container to run alone, and nothing
// of a run that died.
func (r *role) wantNothingLeftOver(when string) {
	r.e.Helper()
	if got, want := names(r.e, r.e.s), "kamal-proxy shop-web-"+r.spec.Version(); got != want {
		r.e.Errorf("%s, running after the next apply: %q, want %q", when, got, want)
	}
	if got := r.e.s.SSH(r.e, `ls .kamal; docker ps --all --format '{{.Names}}'`); strings.Contains(got, "lock-shop") || strings.Contains(got, "_replaced_") {
		r.e.Errorf("%s, left over:\n%s", when, got)
	}
}

// On a busy server docker takes its time to start a container, and a run may be
// killed meanwhile: the docker client that waits for the answer must not stop
// what it has started. What has not served is not kept.
func TestRoleKilledWhileDockerStartsTheContainer(t *testing.T) {
	onEngines(t, func(e *engine) {
		r := e.role(func(s *approle.Spec) { s.DeployTimeout = 20 * time.Second })
		r.deploy("app:v1")
		byhand.RouteWeb(e, e.bed, e.s)
		l := startLoad(e, e.s)

		// runc, which makes the container's process, waits until it is told to go on.
		e.s.SSH(e, `runc=$(readlink -f $(command -v runc)); mv $runc $runc.real
cat > $runc << EOF
#!/bin/sh
case " \$* " in *" start "*) touch /run/starts; while [ ! -e /run/go-on ]; do sleep 0.05; done;; esac
exec $runc.real "\$@"
EOF
chmod +x $runc`)
		e.Cleanup(func() {
			e.s.SSH(e, `touch /run/go-on; runc=$(readlink -f $(command -v runc)); mv $runc.real $runc; rm -f /run/starts /run/go-on`)
		})
		run, apply := r.start(e.ctx(), "app:v2")
		eventually(e, time.Minute, "docker starts the container", func() bool {
			_, err := e.s.Run(e.ctx(), "test -e /run/starts")
			return err == nil
		})
		e.cutOff(run)
		if apply.wait() == nil {
			e.Fatal("the apply succeeded")
		}
		e.s.SSH(e, "touch /run/go-on")
		wantNoneFailed(e, l, "killed")

		// Either docker heard that its client had gone, or the container runs: nobody stops it.
		if out, err := e.s.Run(e.ctx(), "timeout 3 docker wait shop-web-v2"); err == nil {
			e.Errorf("the cut stopped the new container, exit code %s", out)
		}

		// It ends later, whatever the reason. It has never served.
		e.s.SSH(e, "docker start shop-web-v2 && docker stop --time 1 shop-web-v2")
		e.age(".kamal/lock-shop/run")
		r.deploy("")
		wantNoneFailed(e, l, "applied again")
		r.wantNothingLeftOver("killed while docker started the container")

		// The first v1 did serve: it is kept when its name is needed.
		r.deploy("app:v1")
		if got := e.s.SSH(e, "docker ps --all --format '{{.Names}} {{.State}}'"); !strings.Contains(got, "shop-web-v1_replaced_") {
			e.Errorf("the container that served is not kept:\n%s", got)
		}
		wantNoneFailed(e, l, "back to v1")
	})
}

// Who interrupts an apply gets the old version, or the new one where the
// traffic was switched already.
func TestRoleInterrupted(t *testing.T) {
	onEngines(t, func(e *engine) {
		r := e.role(func(s *approle.Spec) { s.DeployTimeout, s.StopTimeout = 30*time.Second, time.Second })
		r.deploy("app:v1")
		byhand.RouteWeb(e, e.bed, e.s)
		l := startLoad(e, e.s)
		before := footprint(e, e.s)
		interrupt := func(image, seen string) error {
			ctx, cancel := context.WithCancel(e.ctx())
			defer cancel()
			_, apply := r.start(ctx, image)
			eventually(e, time.Minute, seen, func() bool {
				_, err := e.s.Run(e.ctx(), seen)
				return err == nil || !apply.running()
			})
			cancel()
			return apply.wait()
		}

		e.s.SSH(e, "iptables -I OUTPUT -p tcp --dport 3000 -j DROP")
		e.wantFailure(interrupt("app:v2", running("shop-web-v2")), "Unable to deploy shop-web v2 on "+e.s.Address,
			"Running now: the old version goes on as before, container shop-web-v1", "it was interrupted by hand")
		e.s.SSH(e, "iptables -D OUTPUT -p tcp --dport 3000 -j DROP")
		wantSame(e, "the server", before, footprint(e, e.s))
		wantNoneFailed(e, l, "interrupted before the switch")

		e.s.SSH(e, visitorCame)
		e.wantFailure(interrupt("app:v2", trafficGoesTo("shop-web-v2")),
			"Running now: the new version, container shop-web-v2", "apply again: it finishes what is left to do")
		e.s.SSH(e, visitorLeft)
		wantNoneFailed(e, l, "interrupted after the switch")
		r.deploy("")
		if got := names(e, e.s); got != "kamal-proxy shop-web-v2" {
			e.Errorf("running: %q", got)
		}
	})
}
