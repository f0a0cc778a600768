package engine

import (
	"net/http"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/proxy"
	"github.com/kamal-terraform/terraform-provider-kamal/test/byhand"
)

// A kamal-proxy's life: booted, updated, given a version that does not come up,
// removed.
func TestProxyLives(t *testing.T) {
	onEngines(t, func(e *engine) {
		p, s := e.kamalProxy(), e.s
		if have := p.observe(); have.ID != "" || proxy.PlanContainer(p.spec, have) != proxy.Boot {
			e.Errorf("before the first apply: %+v", have)
		}
		p.deploy()
		if have := p.observe(); !have.Running || len(have.Faults) > 0 {
			e.Errorf("after the first apply: %+v", have)
		}
		s.SSH(e, `[ "$(docker inspect --format '{{.HostConfig.RestartPolicy.Name}} {{.HostConfig.NetworkMode}} {{index .HostConfig.LogConfig.Config "max-size"}} ' kamal-proxy)" = 'unless-stopped kamal 10m ' ]
			docker inspect --format '{{range .HostConfig.Binds}}{{println .}}{{end}}' kamal-proxy > binds
			grep -qxF kamal-proxy-config:/home/kamal-proxy/.config/kamal-proxy binds
			grep -qxF /root/.kamal/proxy/apps-config:/home/kamal-proxy/.apps-config binds
			docker port kamal-proxy > ports; grep -qxF '80/tcp -> 0.0.0.0:80' ports; grep -qxF '443/tcp -> 0.0.0.0:443' ports; rm binds ports
			! grep -r auth /root/.docker 2>/dev/null && [ -z "$(ls -d /dev/shm/docker-config.* 2>/dev/null)" ]`)
		wantPort(e, s, 80, http.StatusNotFound)
		byhand.Serve(e, e.bed, s, "shop-web")
		wantPort(e, s, 80, http.StatusOK)

		// Another version: pulled first, then put in the place of the old one.
		before := e.proxyID()
		s.SSH(e, "docker image rm "+e.bed.Image("basecamp/kamal-proxy:"+newProxy)+" >/dev/null 2>&1 || :")
		p.deploy(proxyVersion(newProxy))
		if got, want := e.run.remoteCalls(s.Address), []string{"look at kamal-proxy and its ports", "pull kamal-proxy's image", "replace kamal-proxy"}; !slices.Equal(got, want) {
			e.Errorf("remote calls of an update: %q, want %q", got, want)
		}
		wantPort(e, s, 80, http.StatusOK)
		if e.proxyID() == before {
			e.Error("another version left the container as it was")
		}

		// An apply with nothing to do: one look, nothing touched.
		before = e.proxyID()
		p.deploy()
		if calls := e.run.remoteCalls(s.Address); len(calls) != 1 || e.proxyID() != before {
			e.Errorf("an apply with nothing to do made the calls %q", calls)
		}
		p.deploy(proxyVersion(oldProxy))
		wantPort(e, s, 80, http.StatusOK)

		// A version that does not come up: the old one serves again.
		e.brokenProxy("v0.9.9")
		id := inspect(e, s, "kamal-proxy", ".Id")
		p.fails(proxyVersion("v0.9.9"), "Unable to update kamal-proxy on "+s.Address, "the new kamal-proxy did not come up", "unknown command", "v0.9.2), put back, with all its routes")
		wantPort(e, s, 80, http.StatusOK)
		if now := inspect(e, s, "kamal-proxy", ".Id"); now != id {
			e.Errorf("after a version that did not come up %s runs, want %s", now, id)
		}

		// One that can't be pulled: the old one is not even stopped.
		before = e.proxyID()
		p.fails(proxyVersion("v0.9.8"), "Unable to update kamal-proxy on "+s.Address, "pull "+e.bed.Image("basecamp/kamal-proxy:v0.9.8"), "it was not touched")
		wantPort(e, s, 80, http.StatusOK)
		if e.proxyID() != before {
			e.Error("an image that could not be pulled touched kamal-proxy")
		}
		p.wantConverged()
		if left := e.containers(s); left != "kamal-proxy shop-web-app" {
			e.Errorf("containers at the end: %s", left)
		}

		// Destroying it would cut off what others deployed.
		before = e.proxyID()
		_, err := p.remove()
		e.wantFailure(err, "Unable to remove kamal-proxy on "+s.Address, "it serves what this provider did not deploy: shop-web", "nothing was changed")
		if e.proxyID() != before {
			e.Error("a destroy that was refused touched kamal-proxy")
		}
		proxyCLI(e, s, "remove shop-web")
		served, err := p.remove()
		e.must(err)
		if len(served) > 0 {
			e.Errorf("it served %q at its end", served)
		}
		s.SSH(e, `! docker inspect kamal-proxy >/dev/null 2>&1 && docker volume inspect kamal-proxy-config && docker image inspect `+e.bed.Image("basecamp/kamal-proxy:v0.9.2")+`
			[ ! -e /root/.kamal/terraform/proxy.kamal-proxy.json ]`)
		if _, err := p.remove(); err != nil {
			e.Errorf("removing what is gone: %v", err)
		}
	})
}

// Each option is given to the container, and each drift seen and mended.
func TestProxyDriftIsSeenAndMended(t *testing.T) {
	onEngines(t, func(e *engine) {
		p, s := e.kamalProxy(), e.s
		p.deploy(proxyVersion(newProxy), func(spec *proxy.ContainerSpec) {
			spec.HTTPPort, spec.MetricsPort, spec.Debug, spec.LogMaxSize = 8080, 9090, true, "5m"
			spec.BindAddresses = []netip.Addr{netip.MustParseAddr(s.Address), netip.MustParseAddr("127.0.0.1")}
		})
		byhand.Serve(e, e.bed, s, "shop-web")
		wantPort(e, s, 8080, http.StatusOK)
		wantPort(e, s, 80, 0)
		s.SSH(e, "docker inspect --format '{{.Config.Cmd}} {{.Config.ExposedPorts}}' kamal-proxy | grep -F '[kamal-proxy run --metrics-port 9090 --debug]' | grep -F 9090/tcp")
		if got := inspect(e, s, "kamal-proxy", `index .HostConfig.LogConfig.Config "max-size"`); got != "5m" {
			e.Errorf("the log is rotated at %q", got)
		}
		image := p.spec.Image
		p.spec = proxy.DefaultContainer
		p.deploy(func(spec *proxy.ContainerSpec) { spec.Image = image })
		wantPort(e, s, 80, http.StatusOK)

		for _, d := range []struct {
			name, spoil string
			action      proxy.Action
			is          func(*proxy.ContainerState) // what it makes of the container that is wanted
		}{
			{"stopped", "docker stop -t 1 kamal-proxy", proxy.Start, func(is *proxy.ContainerState) { is.Running = false }},
			{"paused", "docker pause kamal-proxy", proxy.Start, func(is *proxy.ContainerState) { is.Running = false }},
			{"removed", "docker rm -f kamal-proxy", proxy.Boot, func(is *proxy.ContainerState) { *is = proxy.ContainerState{} }},
			{"restart policy by hand", "docker update --restart no kamal-proxy", proxy.Replace, func(is *proxy.ContainerState) { is.Faults = []string{`its restart policy is "no"`} }},
			{"another one by hand", `docker rm -f kamal-proxy && docker run -d --name kamal-proxy --network kamal --restart unless-stopped --log-opt max-size=10m -v kamal-proxy-config:/home/kamal-proxy/.config/kamal-proxy \
				-v /root/.kamal/proxy/apps-config:/home/kamal-proxy/.apps-config -p 8081:80 -p 443:443 ` + e.bed.Image("basecamp/kamal-proxy:v0.9.3"), proxy.Replace,
				func(is *proxy.ContainerState) { is.Spec.HTTPPort, is.Spec.Version = 8081, "v0.9.3" }},
			// Nothing of what Kamal boots it with.
			{"quite another one by hand", `docker rm -f kamal-proxy && docker run -d --name kamal-proxy -p 8080:80 -p 8081:80 -p 9000:9000/udp ` +
				e.bed.Image("basecamp/kamal-proxy:v0.9.2") + ` kamal-proxy run --metrics-port=9091 --http-port 80 --https-port 444 --verbose`, proxy.Replace,
				func(is *proxy.ContainerState) {
					is.Spec.HTTPPort, is.Spec.HTTPSPort, is.Spec.MetricsPort, is.Spec.LogMaxSize, is.Running = 8081, 0, 9091, "", false
					is.Faults = []string{"port 80 is published more than once", "it publishes 9000/udp", "it listens on another port: --https-port=444",
						"its command has --verbose", `its restart policy is "no"`, "it is not in the network kamal", `its volume is "", not kamal-proxy-config`,
						`its directory for certificates and error pages is "", not /root/.kamal/proxy/apps-config`}
				}},
		} {
			want := p.observe()
			s.SSH(e, d.spoil)
			d.is(&want)
			is := p.observe()
			if is.ID != "" {
				want.ID = is.ID // of another one by hand
			}
			if d.name == "quite another one by hand" {
				// It ends by itself, as it does not know its flag: before or after we looked.
				is.Running = false
			}
			if action := proxy.PlanContainer(p.spec, is); action != d.action || !reflect.DeepEqual(is, want) {
				e.Errorf("%s: to %s, seen %+v\nwant to %s, seen %+v", d.name, action, is, d.action, want)
			}
			p.deploy()
			wantPort(e, s, 80, http.StatusOK)
		}
		if left := e.containers(s); left != "kamal-proxy shop-web-app" {
			e.Errorf("containers at the end: %s", left)
		}
	})
}

// What is served is left to others: an SSH user who is not root, and not in
// group docker, gets a kamal-proxy with files of its own.
func TestProxyBootedThroughSudoKeepsItsFilesTheUsers(t *testing.T) {
	onEngines(t, func(e *engine) {
		p, s := e.kamalProxy(), e.s
		p.server = "deploy@" + s.Address
		before := strings.TrimSpace(s.SSH(e, "ls -d /root/.kamal 2>/dev/null || :"))
		p.deploy()
		wantPort(e, s, 80, http.StatusNotFound)
		s.SSH(e, `docker inspect --format '{{.HostConfig.Binds}}' kamal-proxy | grep -F /home/deploy/.kamal/proxy/apps-config:
			[ -z "$(find /home/deploy/.kamal ! -user deploy)" ]`)
		if now := strings.TrimSpace(s.SSH(e, "ls -d /root/.kamal 2>/dev/null || :")); now != before {
			e.Error("it made root's .kamal")
		}
		s.SSH(e, "docker stop -t 1 kamal-proxy")
		p.deploy()
		_, err := p.remove()
		e.must(err)
		s.SSH(e, "! docker inspect kamal-proxy >/dev/null 2>&1")
	})
}
