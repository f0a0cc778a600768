package engine

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/approle"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/workload"
	"github.com/kamal-terraform/terraform-provider-kamal/test/byhand"
	"github.com/kamal-terraform/terraform-provider-kamal/test/load"
	"github.com/kamal-terraform/terraform-provider-kamal/test/testbed"
)

// withAssets is a role whose assets are bridged.
func withAssets(s *approle.Spec) { s.AssetPath = "/public/assets" }

// asksFor sends requests for the assets of versions until the test ends: what
// pages ask for that those versions have made.
func (e *engine) asksFor(versions ...string) *load.Load {
	e.Helper()
	var targets []load.Target
	for _, v := range versions {
		targets = append(targets, load.Target{URL: "http://shop.example.com/assets/application-" + v + ".css", Addr: e.s.Address + ":80"})
	}
	check := func(t load.Target, status int, body []byte) error {
		_, version, _ := strings.Cut(strings.TrimSuffix(t.URL, ".css"), "application-")
		if err := load.Status(200)(t, status, body); err != nil || string(body) == "/* "+version+" */\n" {
			return err
		}
		return &wrongAsset{string(body)}
	}
	l, err := load.Start(context.WithoutCancel(e.Context()), load.Options{Targets: targets, Rate: 100, Check: check})
	e.must(err)
	e.Cleanup(func() { l.Stop() })
	return l
}

type wrongAsset struct{ body string }

func (w *wrongAsset) Error() string { return "another file: " + w.body }

// wantAsset wants the asset of a version to be answered with a status.
func (e *engine) wantAsset(version string, status int) {
	e.Helper()
	byhand.WantStatus(e, e.s, "http://shop.example.com/assets/application-"+version+".css", status)
}

// wantAssets wants these directories of assets on the server, and nothing
// besides them in Kamal's.
func (e *engine) wantAssets(when string, want ...string) {
	e.Helper()
	got := strings.Fields(e.s.SSH(e, "[ ! -d .kamal/apps/shop/assets ] || (cd .kamal/apps/shop/assets && find . -mindepth 1 -maxdepth 2 ! -path ./extracted ! -path ./volumes | sed 's,^./,,' | sort)"))
	if !slices.Equal(got, want) {
		e.Errorf("%s, assets on the server: %q, want %q", when, got, want)
	}
	if got := e.s.SSH(e, "docker ps --all --format '{{.Names}}'"); strings.Contains(got, "-assets") {
		e.Errorf("%s, a container is left over:\n%s", when, got)
	}
}

// Pages of one version find their assets at the other, during and after every
// swap, whether the provider or Kamal makes it.
func TestRoleAssetsUnderLoad(t *testing.T) {
	onEngines(t, func(e *engine) {
		// Even where the old version knows nothing of it yet.
		r := e.role()
		r.deploy("app:v1")
		byhand.RouteWeb(e, e.bed, e.s)
		first := e.asksFor("v1")
		r.with(withAssets).deploy("app:v2")
		want := []string{"take the deploy lock and look at the server", "pull the image", "start the new container", "switch to the new container"}
		if got := e.run.remoteCalls(e.s.Address); !slices.Equal(got, want) {
			e.Errorf("remote calls of a warm deploy: %q, want %q", got, want)
		}
		wantNoneFailed(e, first, "the first deploy with asset_path")
		e.wantAssets("after it", "extracted/web-v2", "volumes/web-v2")

		l := e.asksFor("v1", "v2")
		for i := range 10 {
			version, by := []string{"v1", "v2"}[i%2], "the provider"
			if i == 3 || i == 6 || i == 7 {
				by = "Kamal"
				byhand.KamalDeploy(e, e.bed, e.s, version)
			} else {
				r.deploy("app:" + version)
			}
			wantNoneFailed(e, l, version+" by "+by)
			e.wantAssets(version+" by "+by, "extracted/web-"+version, "volumes/web-"+version)
		}
		wantServed(e, l, "after ten swaps")
		l.Stop()
		first.Stop()

		// The same version with another configuration has the same volume.
		l = e.asksFor("v1", "v2")
		r.with(func(s *approle.Spec) { s.Env = map[string]string{"GREETING": "hello"} }).deploy("")
		wantNoneFailed(e, l, "another configuration")
		e.wantAssets("then", "extracted/web-v2", "volumes/web-v2")
		r.deploy("app:v3")
		e.wantAsset("v2", 200)
		e.wantAsset("v1", 404) // of the versions before Kamal keeps one
		l.Stop()

		// The older version's volume is gone by now.
		l = e.asksFor("v3")
		r.deploy("app:v1")
		wantNoneFailed(e, l, "back to v1")
		e.wantAsset("v1", 200)
		e.wantAsset("v2", 404)

		// Taken out, it goes with the next deploy.
		r.with(func(s *approle.Spec) { s.AssetPath = "" })
		r.wantLeft("other asset_path")
		r.deploy("")
		e.wantAsset("v1", 200)
		e.wantAsset("v3", 404)
		e.wantAssets("taken out")
	})
}

// Behind a load balancer a page of one server's new container asks the other
// one's old container: the assets are on both before the first swap.
func TestRoleAssetsAreOnAllServersBeforeTheFirstSwap(t *testing.T) {
	onEngines(t, func(e *engine) {
		first, last := e.s, e.another(e.kind)
		r := e.role(withAssets, func(s *approle.Spec) { s.Boot = approle.Boot{Limit: 1, Wait: 5 * time.Second} })
		r.deploy("app:v1")
		for _, s := range []*testbed.Server{first, last} {
			byhand.RouteWeb(e, e.bed, s)
		}
		_, apply := r.start(e.ctx(), "app:v2")
		eventually(e, time.Minute, "the first server has the new version", func() bool {
			return byhand.Visit(e, first, "http://shop.example.com/env/APP_VERSION").Body == "v2" || !apply.running()
		})
		byhand.WantStatus(e, last, "http://shop.example.com/assets/application-v2.css", 200)
		wantVersion(e, last, "http://shop.example.com/", "v1")
		e.must(apply.wait())
		r.wantConverged()

		// Where the second doesn't get that far, nothing of it is left on either.
		r.fails("app:unhealthy", "503")
		for _, s := range []*testbed.Server{first, last} {
			if got := s.SSH(e, "ls .kamal/apps/shop/assets/*"); strings.Contains(got, "unhealthy") || !strings.Contains(got, "web-v2") {
				e.Errorf("on %s: %s", s.Name, got)
			}
		}

		// Whoever has taken the lock over meanwhile keeps the assets of theirs.
		_, apply = r.start(e.ctx(), "app:unhealthy")
		eventually(e, time.Minute, "the last server's assets are there", func() bool {
			_, err := last.Run(e.ctx(), "test -e /root/.kamal/apps/shop/assets/volumes/web-unhealthy/common.css")
			return err == nil || !apply.running()
		})
		last.SSH(e, "echo another > .kamal/lock-shop/run; mkdir .kamal/apps/shop/assets/volumes/web-v3; echo theirs > .kamal/apps/shop/assets/volumes/web-v3/common.css")
		if apply.wait() == nil {
			e.Fatal("the apply succeeded")
		}
		if got := last.SSH(e, "cat .kamal/apps/shop/assets/volumes/web-v3/common.css; cat .kamal/lock-shop/run; rm -r .kamal/lock-shop"); got != "theirs\nanother" {
			e.Errorf("after a run that lost its lock: %q", got)
		}
	})
}

// A role that Kamal deployed with asset_path is taken over with it.
func TestRoleAssetsThatKamalMade(t *testing.T) {
	onEngines(t, func(e *engine) {
		byhand.BootProxy(e, e.bed, e.s)
		byhand.KamalDeploy(e, e.bed, e.s, "v1")
		byhand.KamalDeploy(e, e.bed, e.s, "v2")
		// Another role of the app, whose names begin like web's.
		e.s.SSH(e, `cd .kamal/apps/shop/assets && mkdir extracted/web-admin-v1 volumes/web-admin-v1 && docker run --detach --name shop-web-admin-v1 --network kamal \
			--volume $PWD/volumes/web-admin-v1:/public/assets --label service=shop --label role=web-admin --label destination `+e.image("app:v1"))
		r := e.role()
		o := r.observe(e.s.Address)
		shown := approle.FromContainer(o, approle.Spec{Role: r.spec.Role, Spec: workload.Spec{LogDriver: "json-file", LogOptions: r.spec.LogOptions}})
		if shown.AssetPath != "/public/assets" || len(shown.Volumes) > 0 {
			e.Fatalf("it shows assets at %q, volumes %q", shown.AssetPath, shown.Volumes)
		}
		r.spec.Spec = shown.Spec
		r.has, r.recorded = r.servers, map[string]string{e.s.Address: o.Current.ID}
		r.wantConverged()

		l := e.asksFor("v2", "v1")
		r.deploy("app:v1")
		wantNoneFailed(e, l, "the first deploy after Kamal's")
		l.Stop()
		e.wantAssets("then", "extracted/web-admin-v1", "extracted/web-v1", "volumes/web-admin-v1", "volumes/web-v1")

		// Somebody runs it without the mount.
		e.s.SSH(e, `docker rm --force shop-web-v1 && `+byhand.KamalRun(e.bed, e.s, "shop-web-v1", ""))
		r.wantLeft("other asset_path")
		r.deploy("")
		if got := r.observe(e.s.Address); len(r.spec.Differs(got)) > 0 {
			e.Errorf("mended, it differs in %q", r.spec.Differs(got))
		}

		r.mustRemove()
		e.wantAssets("destroyed", "extracted/web-admin-v1", "volumes/web-admin-v1")
	})
}

// halfCopied is a server whose cp stops in the middle of a file, for good.
const halfCopied = `cat > /usr/local/bin/cp << 'EOF'
#!/bin/sh
[ "$1" = -rT ] || exec /bin/cp "$@"
mkdir -p "$3"; for f in "$2"/*; do printf / > "$3/${f##*/}"; done
touch /run/copying; exec sleep 600
EOF
chmod +x /usr/local/bin/cp`

func TestRoleAssetsThatFail(t *testing.T) {
	onEngines(t, func(e *engine) {
		r := e.role(withAssets, func(s *approle.Spec) { s.DeployTimeout = 3 * time.Second })
		noPath := func(s *approle.Spec) { s.AssetPath = "/rails/public/assets" }
		empty := footprint(e, e.s)
		r.with(noPath).fails("app:v1", "Unable to deploy shop-web v1 on "+e.s.Address, "copy the assets in /rails/public/assets out of the image",
			"docker could not copy /rails/public/assets (asset_path) out of the image", "if the image has no such directory, give the right one")
		wantSame(e, "the server after a create that failed", empty, footprint(e, e.s))

		r.with(withAssets).deploy("app:v1")
		byhand.RouteWeb(e, e.bed, e.s)
		l := e.asksFor("v1")
		before := footprint(e, e.s)
		r.with(noPath).fails("app:v2", "out of the image", "Running now: the old version goes on as before, container shop-web-v1")
		wantSame(e, "the server", before, footprint(e, e.s))

		// A version that doesn't get healthy leaves no assets but those that the old one has got of it.
		r.with(withAssets).fails("app:unhealthy", "503")
		e.wantAssets("after a version that is not healthy", "extracted/web-v1", "volumes/web-v1")

		e.s.SSH(e, halfCopied)
		run, apply := r.start(e.ctx(), "app:v2")
		eventually(e, time.Minute, "assets are copied", func() bool {
			_, err := e.s.Run(e.ctx(), "test -e /run/copying")
			return err == nil || !apply.running()
		})
		e.cutOff(run)
		if apply.wait() == nil {
			e.Fatal("the apply succeeded")
		}
		e.s.SSH(e, "rm /usr/local/bin/cp /run/copying")
		wantNoneFailed(e, l, "killed while assets are copied")
		e.age(".kamal/lock-shop/run")
		e.s.SSH(e, "mkdir -p .kamal/apps/shop/assets/volumes/web-v2; echo of another day > .kamal/apps/shop/assets/volumes/web-v2/common.css")
		r.deploy("")
		if got := byhand.WantStatus(e, e.s, "http://shop.example.com/assets/common.css", 200).Body; !strings.HasPrefix(got, "/* common, of v2 */") {
			e.Errorf("an asset without a version is that of another run: %q", got)
		}
		wantNoneFailed(e, l, "applied again")
		both := e.asksFor("v1", "v2")
		wantServed(e, both, "after the kill")
		e.wantAssets("after the kill", "extracted/web-v2", "volumes/web-v2")

		l.Stop()
		both.Stop()
		r.mustRemove()
		e.wantAssets("destroyed")
	})
}

// What the provider makes as root is the SSH user's: Kamal has to go on with it.
func TestRoleAssetsOfAUserWithSudo(t *testing.T) {
	onEngines(t, func(e *engine) {
		r := e.role(withAssets)
		r.servers = []string{testbed.User + "@" + e.s.Address}
		r.deploy("app:v1")
		r.deploy("app:v2")
		home := "/home/" + testbed.User
		if got := e.s.SSH(e, "find "+home+"/.kamal ! -user "+testbed.User); got != "" {
			e.Errorf("not the user's: %s", got)
		}
		if got, want := e.s.SSH(e, "ls "+home+"/.kamal/apps/shop/assets/volumes/web-v2 && find "+home+"/.kamal/apps/shop/assets ! -perm -a=r"),
			"application-v1.css\napplication-v2.css\ncommon.css"; got != want {
			e.Errorf("the volume has, and not all can read: %q", got)
		}
		if got := inspect(e, e.s, "shop-web-v2", "json .HostConfig.Binds"); got != `["`+home+`/.kamal/apps/shop/assets/volumes/web-v2:/public/assets"]` {
			e.Errorf("mounts %s", got)
		}
		r.mustRemove()
		if got := e.s.SSH(e, "ls "+home+"/.kamal/apps/shop 2>/dev/null || :"); got != "" {
			e.Errorf("left: %s", got)
		}
	})
}
