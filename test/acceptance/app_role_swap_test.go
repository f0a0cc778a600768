package acceptance

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/test/load"
	"github.com/kamal-terraform/terraform-provider-kamal/test/testbed"
)

// routeByHand boots kamal-proxy as Kamal does and deploys the running container
// of shop-web, with options that a swap has to keep.
func routeByHand(t *testing.T, w *workspace, s *testbed.Server) {
	t.Helper()
	s.LogIn(t)
	s.SSH(t, `mkdir -p .kamal/proxy/apps-config
docker run --name kamal-proxy --network kamal --detach --restart unless-stopped \
  --volume kamal-proxy-config:/home/kamal-proxy/.config/kamal-proxy \
  --volume $PWD/.kamal/proxy/apps-config:/home/kamal-proxy/.apps-config \
  --publish 80:80 --publish 443:443 --log-opt max-size=10m `+w.Bed.Image("basecamp/kamal-proxy:v0.9.2")+`
n=0; until docker exec kamal-proxy kamal-proxy list >/dev/null 2>&1; do n=$((n+1)); [ $n -lt 50 ] || exit 1; sleep 0.1; done
id=$(docker ps --quiet --filter name='^shop-web-')
docker exec kamal-proxy kamal-proxy deploy shop-web --target="$id:3000" --host=shop.example.com --target-timeout=17s --buffer-requests --log-request-header=User-Agent`)
}

// entryOptions are a service's options in kamal-proxy's state file.
func entryOptions(t *testing.T, s *testbed.Server) string {
	t.Helper()
	return s.SSH(t, `docker cp kamal-proxy:/home/kamal-proxy/.config/kamal-proxy/kamal-proxy.state - | tar -xOf - | sed 's/"active_targets":\["[^"]*"\]//'`)
}

// startLoad sends requests to shop.example.com through a server's proxy.
func startLoad(t *testing.T, servers ...*testbed.Server) *load.Load {
	t.Helper()
	var targets []load.Target
	for _, s := range servers {
		targets = append(targets, load.Target{URL: "http://shop.example.com/", Addr: s.Address + ":80"})
	}
	l, err := load.Start(context.Background(), load.Options{Targets: targets, Rate: 100})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Stop() })
	return l
}

// wantNoneFailed fails the test if a request failed since the last look.
func wantNoneFailed(t *testing.T, l *load.Load, when string) {
	t.Helper()
	r := l.Take()
	t.Logf("%s: %d requests, %d failed, slowest %s", when, r.Requests, r.Failed, r.Slowest)
	if r.Failed > 0 || r.Requests == 0 {
		t.Errorf("%s: %d of %d requests failed: %q", when, r.Failed, r.Requests, r.Failures)
	}
}

func TestAppRoleSwapUnderLoad(t *testing.T) {
	aboutServers(t)
	t.Parallel()
	s := bed(t).Server(t, testbed.Debian12)
	w := newWorkspace(t, s)
	w.Write("main.tf", roleConfig)
	w.Setenv("TF_VAR_image", w.Bed.Image("app:v1"))
	w.Apply()
	routeByHand(t, w, s)
	options := entryOptions(t, s)
	l := startLoad(t, s)

	w.Setenv("TF_VAR_image", w.Bed.Image("app:v2"))
	p := w.Plan()
	w.Apply(p.File)
	wantNoneFailed(t, l, "deploy of v2")
	want := []string{"take the deploy lock and look at the server", "pull the image", "start the new container", "switch to the new container"}
	if got := w.RemoteCalls(s.Address); !slices.Equal(got, want) {
		t.Errorf("remote calls of a warm deploy: %q, want %q", got, want)
	}
	if n := w.Handshakes(s.Address); n != 1 {
		t.Errorf("%d handshakes in the process that applied, want 1", n)
	}
	if got := entryOptions(t, s); got != options {
		t.Errorf("the route's options changed:\n%s\nwant\n%s", got, options)
	}

	w.Setenv("TF_VAR_image", w.Bed.Image("app:v1"))
	w.Apply()
	wantNoneFailed(t, l, "back to v1")
	if slices.Contains(w.RemoteCalls(s.Address), "pull the image") {
		t.Error("going back pulled the image")
	}

	w.Setenv("TF_VAR_image", w.Bed.Image("app:unhealthy"))
	w.ApplyFails("503")
	wantNoneFailed(t, l, "deploy of a broken version")

	// Traffic that somebody moved away by hand is moved back.
	w.Setenv("TF_VAR_image", w.Bed.Image("app:v1"))
	w.PlanEmpty()
	s.SSH(t, `docker run --detach --name stray --network kamal `+w.Bed.Image("app:v2")+`
docker exec kamal-proxy kamal-proxy deploy shop-web --target=stray:3000 --host=shop.example.com`)
	if p := w.Plan(); p.Actions("kamal_app_role.web") != "update" || !says(p.Text, "kamal-proxy sends traffic to stray:3000") {
		t.Errorf("plan doesn't show that the traffic goes elsewhere:\n%s", p.Text)
	}
	w.Apply()
	wantNoneFailed(t, l, "traffic moved away and back")
	if got := names(t, s); got != "kamal-proxy shop-web-v1 stray" {
		t.Errorf("running: %q", got)
	}

	// -replace takes the containers away for a moment, but serves afterwards.
	w.Apply("-replace=kamal_app_role.web")
	l.Take()
	time.Sleep(time.Second) // time for the load to show what is there now
	wantNoneFailed(t, l, "after -replace")
}

// TestAppRoleKilledMidway kills the provider at each remote call of a swap and
// applies again.
func TestAppRoleKilledMidway(t *testing.T) {
	aboutServers(t)
	t.Parallel()
	s := bed(t).Server(t, testbed.Debian13)
	w := newWorkspace(t, s)
	w.Write("main.tf", roleConfig)
	w.Setenv("TF_VAR_image", w.Bed.Image("app:v1"))
	w.Apply()
	routeByHand(t, w, s)
	l := startLoad(t, s)

	// The state of the server after which the provider is killed.
	moments := []struct{ name, image, seen string }{
		{"with the lock taken", "app:v2", `test -f .kamal/lock-shop/run`},
		{"with the new container started", "app:v3", `docker ps --format '{{.Names}}' | grep -qx shop-web-v3`},
		{"while the new container boots", "app:slow", `[ "$(docker ps -q --filter name='^shop-web-slow$' | wc -l)" = 1 ] && sleep 2`},
	}
	for _, m := range moments {
		w.Setenv("TF_VAR_image", w.Bed.Image(m.image))
		p := w.Start()
		eventually(t, time.Minute, m.name, func() bool {
			_, err := s.Run(context.Background(), m.seen)
			return err == nil || !p.Running()
		})
		if !p.Running() {
			t.Fatalf("%s: the apply was over before it could be killed:\n%s", m.name, p.Output())
		}
		p.KillProvider()
		p.Wait()
		wantNoneFailed(t, l, "killed "+m.name)

		started := time.Now()
		w.Apply()
		t.Logf("applied again after %s", time.Since(started).Round(time.Second))
		wantNoneFailed(t, l, "applied again after a kill "+m.name)
		version := strings.TrimPrefix(m.image, "app:")
		if got, want := names(t, s), "kamal-proxy shop-web-"+version; got != want {
			t.Errorf("killed %s, running after the next apply: %q, want %q", m.name, got, want)
		}
		if got := s.SSH(t, `ls .kamal; docker ps --all --format '{{.Names}}'`); strings.Contains(got, "lock-shop") || strings.Contains(got, "_replaced_") {
			t.Errorf("killed %s, left over:\n%s", m.name, got)
		}
	}
}
