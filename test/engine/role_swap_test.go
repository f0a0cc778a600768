package engine

import (
	"slices"
	"testing"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/test/byhand"
	"github.com/kamal-terraform/terraform-provider-kamal/test/load"
)

func TestRoleSwapUnderLoad(t *testing.T) {
	onEngines(t, func(e *engine) {
		r := e.role()
		r.deploy("app:v1")
		byhand.RouteWeb(e, e.bed, e.s)
		options := entryOptions(e, e.s)
		l := startLoad(e, e.s)

		r.deploy("app:v2")
		wantNoneFailed(e, l, "deploy of v2")
		want := []string{"take the deploy lock and look at the server", "pull the image", "start the new container", "switch to the new container"}
		if got := e.run.remoteCalls(e.s.Address); !slices.Equal(got, want) {
			e.Errorf("remote calls of a warm deploy: %q, want %q", got, want)
		}
		if n := e.run.handshakes(e.s.Address); n != 1 {
			e.Errorf("%d handshakes in the process that applied, want 1", n)
		}
		if got := entryOptions(e, e.s); got != options {
			e.Errorf("the route's options changed:\n%s\nwant\n%s", got, options)
		}

		r.deploy("app:v1")
		wantNoneFailed(e, l, "back to v1")
		if slices.Contains(e.run.remoteCalls(e.s.Address), "pull the image") {
			e.Error("going back pulled the image")
		}

		r.fails("app:unhealthy", "503")
		wantNoneFailed(e, l, "deploy of a broken version")

		// Traffic that somebody moved away by hand is moved back.
		r.wantConverged()
		e.s.SSH(e, `docker run --detach --name stray --network kamal `+e.image("app:v2")+`
docker exec kamal-proxy kamal-proxy deploy shop-web --target=stray:3000 --host=shop.example.com`)
		r.wantLeft("kamal-proxy sends traffic to stray:3000")
		r.deploy("")
		wantNoneFailed(e, l, "traffic moved away and back")
		if got := names(e, e.s); got != "kamal-proxy shop-web-v1 stray" {
			e.Errorf("running: %q", got)
		}

		// A replacement takes the containers away for a moment, but serves afterwards.
		if told := r.mustRemove(); !says(told, "kamal-proxy on "+e.s.Address+" still has the service shop-web") {
			e.Errorf("no word of the service that has no target now: %s", told)
		}
		r.deploy("")
		l.Take()
		wantServed(e, l, "after a replacement")
	})
}

// wantServed waits until a load has asked a hundred times without a failure.
func wantServed(e *engine, l *load.Load, when string) {
	e.Helper()
	requests := 0
	eventually(e, time.Minute, when, func() bool {
		r := l.Take()
		if requests += r.Requests; r.Failed > 0 {
			e.Fatalf("%s: %d of %d requests failed: %q", when, r.Failed, r.Requests, r.Failures)
		}
		return requests >= 100
	})
}
