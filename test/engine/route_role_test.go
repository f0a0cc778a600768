package engine

import (
	"strings"
	"testing"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/approle"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/proxy"
	"github.com/kamal-terraform/terraform-provider-kamal/test/byhand"
	"github.com/kamal-terraform/terraform-provider-kamal/test/testbed"
)

// A root entry with TLS and a path of another role beside it, which inherits
// that TLS at kamal-proxy: neither a swap nor a move of hosts leaves a diff.
// The SSH user is not root, and not in group docker.
func TestRoutesOfRolesStayAsTheyAreWhenRolesAreSwapped(t *testing.T) {
	onEngines(t, func(e *engine) {
		s := e.s
		byhand.BootProxyAs(e, e.bed, s, testbed.User)
		deploy := []string{testbed.User + "@" + s.Address}
		names := []string{"web", "api", "old"}
		roles, routes := map[string]*role{}, map[string]*route{}
		for _, name := range names {
			roles[name] = e.role(func(spec *approle.Spec) { spec.Role.Role = name })
			routes[name] = e.route(name)
			roles[name].servers, routes[name].servers = deploy, deploy
			roles[name].deploy("app:v1")
		}
		cert, key := selfSigned(e, 1, "shop.example.com", "www.example.com")
		routes["web"].deploy(ownCertificate(cert, key))
		routes["api"].deploy(func(r *proxy.Route) { r.PathPrefixes = []string{"/api"} })
		routes["old"].deploy(func(r *proxy.Route) { r.Hosts = []string{"old.example.com", "www.example.com"} })
		wantVersion(e, s, "https://shop.example.com/", "v1")
		wantVersion(e, s, "https://shop.example.com/api/", "v1")
		if got := e.entryOption(s, "shop-api", "options", "tls_enabled"); got != "true" {
			e.Fatalf("the path has not inherited TLS: %s", got)
		}
		if got := s.SSH(e, "find ~deploy/.kamal -user root"); strings.TrimSpace(got) != "" {
			e.Errorf("the SSH user can't change %s", got)
		}
		if got := s.SSH(e, "stat -c '%n %a' ~deploy/.kamal/proxy/apps-config/shop/tls/web/*"); !strings.Contains(got, "key.pem 400") {
			e.Errorf("files: %s", got)
		}
		converged := func() {
			e.Helper()
			for _, name := range names {
				roles[name].wantConverged()
				routes[name].wantConverged()
			}
		}

		// A swap moves the traffic, and no option of a route.
		before := entryOptions(e, s)
		for _, name := range []string{"web", "api"} {
			roles[name].deploy("app:v2")
		}
		wantVersion(e, s, "https://shop.example.com/", "v2")
		wantVersion(e, s, "https://shop.example.com/api/", "v2")
		wantSame(e, "what kamal-proxy has of the routes", before, entryOptions(e, s))
		for _, name := range names {
			if got := e.entryOption(s, "shop-"+name, "target_options", "buffer_requests"); got != "true" {
				e.Errorf("after the swap buffer_requests of %s is %s", name, got)
			}
		}
		converged()

		// A host goes from one route to another in one run: the one that gets it waits.
		run := e.newRun()
		routes["web"].want.Hosts = []string{"shop.example.com", "www.example.com"}
		getting := e.start(func() error { _, err := routes["web"].applyIn(e.ctx(), run); return err })
		eventually(e, hostWait, "the route that is to get the host has looked", func() bool { return len(run.remoteCalls(deploy[0])) > 0 })
		routes["old"].want.Hosts = []string{"old.example.com"}
		_, err := routes["old"].applyIn(e.ctx(), run)
		e.must(err)
		e.must(getting.wait())
		converged()
		wantVersion(e, s, "https://www.example.com/", "v2")
		wantVersion(e, s, "http://old.example.com/", "v1")

		// Destroyed and made again, as -replace does.
		routes["web"].destroy()
		wantStatus(e, s, "http://www.example.com/", 404)
		routes["web"].deploy()
		wantVersion(e, s, "https://www.example.com/", "v2")

		// The container dies by hand: role and route are mended together.
		s.SSH(e, "docker rm --force shop-web-v2")
		routes["web"].wantLeft(deploy[0], "target")
		if left := roles["web"].left(deploy[0]); len(left) == 0 {
			e.Error("the role's plan is empty after docker rm")
		}
		roles["web"].deploy("app:v2")
		routes["web"].wantConverged()
		wantVersion(e, s, "https://www.example.com/", "v2")
		for _, name := range names {
			routes[name].destroy()
			if _, err := roles[name].remove(); err != nil {
				e.Error(err)
			}
		}
		if got := s.SSH(e, "find ~deploy/.kamal/proxy/apps-config -mindepth 1"); got != "" {
			e.Errorf("left after destroy: %s", got)
		}
	})
}
