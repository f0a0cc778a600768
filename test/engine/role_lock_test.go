package engine

import (
	"strings"
	"testing"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/approle"
	"github.com/kamal-terraform/terraform-provider-kamal/test/byhand"
)

// While a new container gets ready, somebody releases the deploy lock, takes it
// for himself, or changes kamal-proxy's routes.
func TestRoleWhileOthersWorkOnTheServer(t *testing.T) {
	onEngines(t, func(e *engine) {
		r := e.role(func(s *approle.Spec) { s.DeployTimeout, s.StopTimeout = 30*time.Second, time.Second })
		r.deploy("app:v1")
		byhand.RouteWeb(e, e.bed, e.s)
		l := startLoad(e, e.s)
		meanwhile := func(image, script string) error {
			e.Helper()
			e.s.SSH(e, "iptables -I OUTPUT -p tcp --dport 3000 -j DROP")
			run, apply := r.start(e.ctx(), image)
			version := strings.TrimPrefix(image, "app:")
			eventually(e, time.Minute, version+" starts", func() bool {
				_, err := e.s.Run(e.ctx(), running("shop-web-"+version))
				return err == nil || !apply.running()
			})
			e.s.SSH(e, script+"\niptables -D OUTPUT -p tcp --dport 3000 -j DROP")
			err := apply.wait()
			e.run = run
			return err
		}

		// The lock is another's now: nothing is switched, stopped or removed any more.
		err := meanwhile("app:v2", `rm -r .kamal/lock-shop; mkdir .kamal/lock-shop
printf 'Locked by: Ann at 2026-11-20T10:00:00Z\nVersion: abc\nMessage: Automatic deploy lock' | base64 > .kamal/lock-shop/details`)
		e.wantFailure(err, "Unable to deploy shop-web v2 on "+e.s.Address, "Step: check that the deploy lock of shop is still ours",
			"Running now: not certain, because the new container could not be taken away")
		if got := names(e, e.s); got != "kamal-proxy shop-web-v1 shop-web-v2" {
			e.Errorf("running without the lock: %q", got)
		}
		if got := e.s.SSH(e, "ls .kamal/lock-shop; cat .kamal/shop-audit.log"); !strings.HasPrefix(got, "details\n") || strings.Contains(got, "v2") {
			e.Errorf("done without the lock: %s", got)
		}
		wantVersion(e, e.s, "http://shop.example.com/", "v1")
		wantNoneFailed(e, l, "the lock was taken away")

		// The next run waits for that deploy, and takes away what the last one could not.
		waiting, apply := r.start(e.ctx(), "app:v2")
		eventually(e, time.Minute, "the run has asked for the lock twice", func() bool { return len(waiting.remoteCalls(e.s.Address)) >= 2 || !apply.running() })
		if !apply.running() {
			e.Fatalf("it did not wait: %v", apply.wait())
		}
		e.s.SSH(e, "rm -r .kamal/lock-shop")
		e.must(apply.wait())
		r.wantConverged()
		wantNoneFailed(e, l, "the lock was given back")
		r.wantNothingLeftOver("after a run that lost its lock")

		// The routes are others now: what came in between is kept.
		e.must(meanwhile("app:v3", `docker exec kamal-proxy kamal-proxy deploy other --target=$(docker ps --quiet --filter name=^shop-web-v2$):3000 --host=other.example.com
docker exec kamal-proxy kamal-proxy deploy shop-web --target=$(docker ps --quiet --filter name=^shop-web-v2$):3000 --host=shop.example.com --target-timeout=23s`))
		r.wantConverged()
		wantNoneFailed(e, l, "the routes were changed")
		wantVersion(e, e.s, "http://shop.example.com/", "v3")
		if options := entryOptions(e, e.s); !strings.Contains(options, "other.example.com") || !strings.Contains(options, "23000000000") {
			e.Errorf("the route's options: %s", options)
		}
	})
}

// Two people deploy at the same time, from two states that know the same: one
// waits for the other, and nobody who visits notices.
func TestRoleOfTwoRunsAtOnce(t *testing.T) {
	onEngines(t, func(e *engine) {
		r := e.role(func(s *approle.Spec) { s.DeployTimeout, s.StopTimeout = 30*time.Second, time.Second })
		r.deploy("app:v1")
		byhand.RouteWeb(e, e.bed, e.s)
		l := startLoad(e, e.s)
		other := *r
		_, first := r.start(e.ctx(), "app:v2")
		_, second := other.start(e.ctx(), "app:v3")
		e.must(first.wait())
		e.must(second.wait())
		wantNoneFailed(e, l, "two at once")
		last := strings.TrimSpace(e.s.SSH(e, "tail -n 1 .kamal/shop-audit.log"))
		version := last[strings.LastIndex(last, " ")+1:]
		if got := names(e, e.s); got != "kamal-proxy shop-web-"+version || version != "v2" && version != "v3" {
			e.Errorf("running: %q after %q", got, last)
		}
		wantVersion(e, e.s, "http://shop.example.com/", version)
		if got := e.s.SSH(e, "ls .kamal"); strings.Contains(got, "lock-shop") {
			e.Errorf("left: %s", got)
		}
	})
}
