package engine

import (
	"strings"
	"testing"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/proxy"
	"github.com/kamal-terraform/terraform-provider-kamal/test/byhand"
	"github.com/kamal-terraform/terraform-provider-kamal/test/testbed"
)

// served is the serial number of the certificate that visitors of a host get.
func (e *engine) served(host string) int64 {
	e.Helper()
	a := visit(e, e.s, "https://"+host+"/")
	if a.Cert == nil {
		e.Fatalf("no TLS: %+v", a)
	}
	return a.Cert.SerialNumber.Int64()
}

func TestRouteServesItsOwnCertificate(t *testing.T) {
	onEngines(t, func(e *engine) {
		s := e.s
		e.bootProxy(s)
		e.runRole(s, "web", "v1")
		r := e.route("web")
		pair := func(serial int64) func(*proxy.Route) {
			return ownCertificate(selfSigned(e, serial, "shop.example.com"))
		}
		// Wants the pair that is served, and nothing in the log.
		wantServed := func(when string, serial int64) {
			e.Helper()
			if got := e.served("shop.example.com"); got != serial {
				e.Errorf("%s it serves certificate %d, want %d", when, got, serial)
			}
			e.run.log.mustNotHold(e, strings.Split(r.want.TLS.PrivateKey, "\n")[1])
		}
		first := pair(1)
		r.deploy(first)
		wantServed("first", 1)
		if got := wantStatus(e, s, "http://shop.example.com/x", 301).Location; got != "https://shop.example.com/x" {
			e.Errorf("redirects to %q", got)
		}
		user := strings.TrimSpace(s.SSH(e, `stat -c %u /proc/$(docker inspect -f '{{.State.Pid}}' kamal-proxy)`))
		if got := e.certificates(s); got != "shop/tls/web/cert.pem 644 0 shop/tls/web/key.pem 400 "+user || user != "1000" {
			e.Errorf("files %q, and the proxy's user %s", got, user)
		}

		// A renewal is taken over in place, in one remote call, under the same file name.
		pair(2)(&r.want)
		r.wantLeft(s.Address, "tls")
		path := e.entryOption(s, "shop-web", "options", "tls_certificate_path")
		r.deploy()
		if calls := e.run.remoteCalls(s.Address); len(calls) != 2 || e.entryOption(s, "shop-web", "options", "tls_certificate_path") != path {
			e.Errorf("a renewal made the calls %q", calls)
		}
		wantServed("after the renewal", 2)

		// A deploy that fails leaves the pair that is served: a restart of kamal-proxy reads the files.
		files := e.certificateSums(s)
		s.SSH(e, "docker pause shop-web-v1")
		r.fails(func(r *proxy.Route) { first(r); r.DeployTimeout = 2 * time.Second },
			"Unable to route shop.example.com to shop-web on "+s.Address, "failed to become healthy", "What to do")
		s.SSH(e, "docker unpause shop-web-v1; docker restart kamal-proxy >/dev/null")
		eventually(e, 30*time.Second, "kamal-proxy is back", func() bool { return visit(e, s, "https://shop.example.com/").Status == 200 })
		wantServed("after the failed renewal", 2)
		wantSame(e, "the certificate's files", files, e.certificateSums(s))
		r.deploy(first)
		wantServed("after the next apply", 1)

		// Imported with its certificate; the private key is not asked for.
		other := e.route("web", first, func(r *proxy.Route) { r.TLS.PrivateKey = "" })
		other.adopt()
		if i := other.observe(s.Address); i.Route.App != "shop" || !proxy.SamePEM(i.Route.TLS.Certificate, r.want.TLS.Certificate) || i.Route.TLS.PrivateKey != "" {
			e.Errorf("what an import sees: %+v, %+v", i.Route, i.Route.TLS)
		}

		// Without TLS, and with TLS again, and gone: nothing is left each time.
		r.deploy(func(r *proxy.Route) { r.TLS, r.ForwardHeaders = nil, true })
		if got := s.SSH(e, "find .kamal/proxy/apps-config -mindepth 1"); got != "" {
			e.Errorf("left without TLS: %s", got)
		}
		wantVersion(e, s, "http://shop.example.com/", "v1")
		r.deploy(pair(3))
		wantServed("with TLS again", 3)
		// To another service: its certificate goes along, to that one's place.
		e.runRole(s, "next", "v2")
		r.deploy(func(r *proxy.Route) { r.Service = "shop-next" })
		wantServed("after the move", 3)
		if got := e.certificates(s); got != "shop/tls/next/cert.pem 644 0 shop/tls/next/key.pem 400 1000" {
			e.Errorf("files after the move: %s", got)
		}
		// It was not there to begin with: a create that fails leaves no file.
		r.destroy()
		if got := s.SSH(e, "find .kamal/proxy/apps-config -mindepth 1"); got != "" {
			e.Errorf("left after destroy: %s", got)
		}
		s.SSH(e, "docker pause shop-next-v2")
		r.fails(func(r *proxy.Route) { r.DeployTimeout = time.Second }, "Unable to route shop.example.com to shop-next on "+s.Address)
		s.SSH(e, "docker unpause shop-next-v2")
		if got := s.SSH(e, "find .kamal/proxy/apps-config -mindepth 1 -type f"); got != "" || e.proxyMarks(s) != "" {
			e.Errorf("left after a create that failed: %s %s", got, e.proxyMarks(s))
		}
	})
}

// certificateSums tells one set of certificates from another.
func (e *engine) certificateSums(s *testbed.Server) string {
	e.Helper()
	return s.SSH(e, "cd .kamal/proxy/apps-config && find . -type f | sort | xargs -r sha256sum")
}

// A certificate that kamal-proxy could not read is not given to it: it would
// start without any service.
func TestRouteRefusesACertificateThatTheProxyCannotRead(t *testing.T) {
	onEngines(t, func(e *engine) {
		s := e.s
		byhand.BootProxyAs(e, e.bed, s, testbed.User)
		e.runRole(s, "web", "v1")
		r := e.route("web", ownCertificate(selfSigned(e, 1, "shop.example.com")))
		r.fails(routeAsItIs, "kamal-proxy mounts /home/deploy/.kamal/proxy/apps-config", "it was booted by another user, log in as that one")
		if got := e.certificates(s); got != "" || proxyEntry(e, s, "shop-web") != nil || e.proxyMarks(s) != "" {
			e.Errorf("left: %s %s %s", got, proxyState(e, s), e.proxyMarks(s))
		}
		s.SSH(e, `docker rm -f kamal-proxy >/dev/null
			docker run --name kamal-proxy --network kamal --detach --publish 80:80 --publish 443:443 `+e.bed.Image("basecamp/kamal-proxy:v0.9.2")+` >/dev/null
			n=0; until docker exec kamal-proxy kamal-proxy list >/dev/null 2>&1; do n=$((n+1)); [ $n -lt 300 ] || exit 1; sleep 0.1; done`)
		before := footprint(e, s)
		r.fails(routeAsItIs, "kamal-proxy's container does not mount /home/kamal-proxy/.apps-config, so it can't read a certificate", "let kamal_proxy boot it anew")
		wantSame(e, "the server", before, footprint(e, s))
	})
}
