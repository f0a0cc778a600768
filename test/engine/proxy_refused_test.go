package engine

import (
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/proxy"
	"github.com/kamal-terraform/terraform-provider-kamal/test/byhand"
)

// holdPort is a program that listens on port 80, with a child that shares its
// socket, as the workers of a web server do.
const holdPort = `systemd-run -q --unit=holds-port perl -e '
use Socket;
socket(S, PF_INET, SOCK_STREAM, 0); setsockopt(S, SOL_SOCKET, SO_REUSEADDR, 1);
until (bind(S, sockaddr_in(80, INADDR_ANY))) { select(undef, undef, undef, 0.001) }
listen(S, 5); fork(); sleep 1000'
`

func TestProxyNamesWhoHoldsItsPorts(t *testing.T) {
	onEngines(t, func(e *engine) {
		p, s := e.kamalProxy(), e.s
		s.SSH(e, holdPort+`n=0; until grep -q ':0050 00000000:0000 0A' /proc/net/tcp; do n=$((n+1)); [ $n -lt 300 ] || exit 1; sleep 0.1; done`)
		release := func() { s.SSH(e, "systemctl stop holds-port 2>/dev/null || :") }
		e.Cleanup(release)
		held := "port 80 is held by perl (pid " + s.SSH(e, "systemctl show --property MainPID --value holds-port") + ")"
		before := footprint(e, s)
		p.fails(proxyAsItIs, "Unable to boot kamal-proxy on "+s.Address, held, "nothing was changed", "http_port, https_port, bind_addresses")
		wantSame(e, "the server", before, footprint(e, s))
		// Next to it, on another port.
		p.deploy(func(spec *proxy.ContainerSpec) { spec.HTTPPort = 8080 })
		wantPort(e, s, 8080, http.StatusNotFound)
		// An update to the port that is taken touches nothing either.
		id := e.proxyID()
		to80 := func(spec *proxy.ContainerSpec) { spec.HTTPPort = 80 }
		p.fails(to80, "Unable to update kamal-proxy on "+s.Address, held)
		if e.proxyID() != id {
			e.Error("an update to a port that is taken touched kamal-proxy")
		}
		// Another container that publishes the port is named as one.
		release()
		s.SSH(e, "docker run -d --name squatter --publish 127.0.0.1:80:80 "+e.bed.Image("basecamp/kamal-proxy:v0.9.2"))
		p.fails(to80, "port 80 is published by the container squatter")
		if e.proxyID() != id {
			e.Error("an update to a port that is published touched kamal-proxy")
		}
		// Beside it, on another address.
		p.deploy(to80, func(spec *proxy.ContainerSpec) { spec.BindAddresses = []netip.Addr{netip.MustParseAddr(s.Address)} })
		wantPort(e, s, 80, http.StatusNotFound)
	})
}

func TestProxyThatSomebodyElseBootedIsRefused(t *testing.T) {
	onEngines(t, func(e *engine) {
		s := e.s
		e.bootProxy(s)
		before := e.proxyID()
		p := e.kamalProxy()
		p.fails(proxyAsItIs, "Unable to boot kamal-proxy on "+s.Address, "there is a kamal-proxy already, booted by Kamal or by hand", "import", s.Address, "nothing was changed")
		p.adopt()
		if e.proxyID() != before {
			e.Error("an import restarted kamal-proxy")
		}
		p.deploy(func(spec *proxy.ContainerSpec) { spec.Debug = true })
		if e.proxyID() == before {
			e.Error("an option was changed, and the container is the same")
		}
		// Another configuration's: found by its mark.
		other := e.kamalProxy()
		other.fails(proxyAsItIs, "another configuration, or a lost state, manages", "import")
		// What was made by hand in its place is taken over with the state.
		s.SSH(e, "docker rm -f kamal-proxy")
		if have := p.observe(); have.ID != "" {
			e.Errorf("seen after docker rm: %+v", have)
		}

		// A run is booting it this moment; one that died half-way is taken over.
		_, err := p.remove()
		e.must(err)
		let := e.holdProxy(s)
		first := e.newRun()
		booting := e.start(func() error { return e.kamalProxy().applyIn(e.ctx(), first) })
		e.waitsForProxy(s)
		other.fails(proxyAsItIs, "is booting it this moment", "half a minute")
		first.kill()
		e.wantFailure(booting.wait(), "Unable to boot kamal-proxy on "+s.Address)
		let()
		s.SSH(e, "touch -d '31 seconds ago' .kamal/terraform/proxy.kamal-proxy.json")
		eventually(e, time.Minute, "the boot that was cut off has ended", func() bool {
			_, err := s.Run(e.Context(), "! pgrep -f 'docker start [k]amal-proxy'")
			return err == nil
		})
		other.deploy()
		wantPort(e, s, 80, http.StatusNotFound)
	})
}

// Whatever keeps the new container from serving is told, and the old one serves
// again if there is one.
func TestProxyThatDoesNotComeUpSaysWhy(t *testing.T) {
	onEngines(t, func(e *engine) {
		p, s := e.kamalProxy(), e.s
		noPort := func(spec *proxy.ContainerSpec) { spec.MetricsPort = 70000 }
		s.LogIn(e)
		s.SSH(e, "docker pull -q "+p.spec.Ref())
		e.brokenProxy("v0.9.9")
		for _, first := range []struct {
			change func(*proxy.ContainerSpec)
			texts  []string
		}{
			{proxyVersion("v0.9.9"), []string{"it did not come up:", "unknown command"}},
			{noPort, []string{"docker refused to make the container:", "70000"}},
		} {
			p.fails(first.change, append(first.texts, "Unable to boot kamal-proxy on "+s.Address, "no kamal-proxy")...)
			if left, marks := e.containers(s), s.SSH(e, "ls .kamal/terraform | grep -v flock || :"); left != "" || marks != "" {
				e.Errorf("left after a first boot that failed: %q, %q", left, marks)
			}
		}

		p.deploy()
		byhand.Serve(e, e.bed, s, "shop-web")
		before := e.proxyID()
		p.fails(noPort, "Unable to update kamal-proxy on "+s.Address, "docker refused to make the container:", "v0.9.2), untouched")
		if e.proxyID() != before {
			e.Error("a container that docker refuses touched the old one")
		}

		// An address that is not the server's: refused only when the old one is stopped.
		p.fails(func(spec *proxy.ContainerSpec) { spec.BindAddresses = []netip.Addr{netip.MustParseAddr("192.0.2.1")} },
			"the new kamal-proxy did not come up", "v0.9.2), put back, with all its routes")
		wantPort(e, s, 80, http.StatusOK)

		// Somebody takes the port as soon as the old one gives it up: neither comes up.
		s.SSH(e, holdPort)
		release := func() { s.SSH(e, "systemctl stop holds-port 2>/dev/null || :") }
		e.Cleanup(release)
		p.fails(proxyVersion(newProxy), "the new kamal-proxy did not come up, and the old one did not come back", "the server's apps can't be reached", "docker logs kamal-proxy")
		p.fails(proxyAsItIs, "port 80 is held by perl")
		release()
		p.deploy()
		wantPort(e, s, 80, http.StatusOK)
		if left := e.containers(s); left != "kamal-proxy shop-web-app" {
			e.Errorf("containers at the end: %s", left)
		}

		// Without Docker nobody knows what it serves.
		s.SSH(e, "systemctl stop docker.socket docker")
		p.fails(proxyAsItIs, "Docker does not run there", "let kamal_server set the server up")
		_, err := p.remove()
		e.wantFailure(err, "Unable to remove kamal-proxy on "+s.Address, "Docker does not run there, so nobody can tell what kamal-proxy serves")
		s.SSH(e, `systemctl reset-failed docker docker.socket; systemctl start docker
			n=0; until docker exec kamal-proxy kamal-proxy list >/dev/null 2>&1; do n=$((n+1)); [ $n -lt 300 ] || exit 1; sleep 0.1; done`)
		p.wantConverged()
	})
}
