package acceptance

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/test/load"
	"github.com/kamal-terraform/terraform-provider-kamal/test/testbed"
)

const (
	proxyAddress = "kamal_proxy.web"

	webProxy = `
resource "kamal_server" "web" {
  server = "{{server 0}}"
}

resource "kamal_proxy" "web" {
  server = kamal_server.web.server
  image  = "{{image "basecamp/kamal-proxy"}}"
}
`
)

// withProxy is webProxy with more arguments for kamal_proxy.
func withProxy(arguments ...string) string {
	return strings.Replace(webProxy, "kamal-proxy\"}}\"\n", "kamal-proxy\"}}\"\n  "+strings.Join(arguments, "\n  ")+"\n", 1)
}

// serveByHand runs an app of the testbed and a route to it, as somebody would
// without this provider.
func serveByHand(t *testing.T, s *testbed.Server, b *testbed.Bed, service string) {
	t.Helper()
	r := b.Registry
	s.SSH(t, fmt.Sprintf(`printf %%s %s | docker login --username %s --password-stdin %s >/dev/null 2>&1
		docker run --detach --restart unless-stopped --network kamal --name %s-app %s >/dev/null; docker logout %s >/dev/null
		docker exec kamal-proxy kamal-proxy deploy %s --target $(docker inspect --format '{{slice .Id 0 12}}' %s-app):3000`,
		r.Password, r.Username, r.Address, service, b.Image("app:v1"), r.Address, service, service))
}

// httpStatus is the status that a server answers with on a port, 0 for none.
func httpStatus(t *testing.T, s *testbed.Server, port int) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://%s:%d/", s.Address, port), nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return 0
	}
	return resp.StatusCode
}

func wantPort(t *testing.T, s *testbed.Server, port, want int) {
	t.Helper()
	if got := httpStatus(t, s, port); got != want {
		t.Errorf("port %d answers %d, want %d", port, got, want)
	}
}

func containerID(t *testing.T, s *testbed.Server) string {
	t.Helper()
	return strings.TrimSpace(s.SSH(t, "docker inspect --format '{{.Id}} {{.State.StartedAt}}' kamal-proxy"))
}

func TestProxyLivesOnDebian12(t *testing.T) {
	aboutServers(t)
	t.Parallel()
	proxyLife(t, testbed.Debian12)
}

func TestProxyLivesOnDebian13(t *testing.T) {
	story(t)
	t.Parallel()
	proxyLife(t, testbed.Debian13)
}

// proxyLife is a kamal-proxy's life: booted, updated, disturbed, removed.
func proxyLife(t *testing.T, kind testbed.Kind) {
	s := bed(t).Server(t, kind)
	w := newWorkspace(t, s)
	w.Write("main.tf", webProxy)
	p := w.Plan()
	if p.Actions(proxyAddress) != "create" || p.After(proxyAddress, "running") != true || !p.Unknown(proxyAddress, "container") {
		t.Errorf("first plan:\n%s", p.Text)
	}
	w.Apply()
	s.SSH(t, `[ "$(docker inspect --format '{{.HostConfig.RestartPolicy.Name}} {{.HostConfig.NetworkMode}} {{index .HostConfig.LogConfig.Config "max-size"}} ' kamal-proxy)" = 'unless-stopped kamal 10m ' ]
		docker inspect --format '{{range .HostConfig.Binds}}{{println .}}{{end}}' kamal-proxy > binds
		grep -qxF kamal-proxy-config:/home/kamal-proxy/.config/kamal-proxy binds
		grep -qxF /root/.kamal/proxy/apps-config:/home/kamal-proxy/.apps-config binds
		docker port kamal-proxy > ports; grep -qxF '80/tcp -> 0.0.0.0:80' ports; grep -qxF '443/tcp -> 0.0.0.0:443' ports
		! grep -r auth /root/.docker 2>/dev/null && [ -z "$(ls -d /dev/shm/docker-config.* 2>/dev/null)" ]`)
	wantPort(t, s, 80, http.StatusNotFound)
	serveByHand(t, s, w.Bed, "shop-web")
	wantPort(t, s, 80, http.StatusOK)

	// Another version: pulled first, then put in the place of the old one.
	before := containerID(t, s)
	w.Write("main.tf", withProxy(`version = "v0.9.3"`))
	p = w.Plan()
	if p.Actions(proxyAddress) != "update" || !slices.Equal(p.Changed(proxyAddress), []string{"container", "version"}) {
		t.Errorf("plan of another version: %s of %q\n%s", p.Actions(proxyAddress), p.Changed(proxyAddress), p.Text)
	}
	w.Apply()
	if calls := w.RemoteCalls(s.Address); !slices.Equal(calls[len(calls)-3:], []string{"look at kamal-proxy and its ports", "pull kamal-proxy's image", "replace kamal-proxy"}) {
		t.Errorf("remote calls of an update: %q", calls)
	}
	wantPort(t, s, 80, http.StatusOK)
	if containerID(t, s) == before {
		t.Error("another version left the container as it was")
	}

	if kind != testbed.Debian12 { // whose Docker makes no difference to the plan
		onServers(t, w, "changes and drifts", proxyChangesAndDrifts)
	}
	w.Write("main.tf", webProxy)
	w.Apply()
	wantPort(t, s, 80, http.StatusOK)

	// A version that does not come up: the old one serves again.
	s.SSH(t, fmt.Sprintf("printf 'FROM %s\\nCMD [\"kamal-proxy\",\"nonsense\"]\\n' | docker build -t %s - >/dev/null 2>&1",
		w.Bed.Image("basecamp/kamal-proxy:v0.9.2"), w.Bed.Image("basecamp/kamal-proxy:v0.9.9")))
	id := s.SSH(t, "docker inspect --format '{{.Id}}' kamal-proxy")
	w.Write("main.tf", withProxy(`version = "v0.9.9"`))
	w.ApplyFails("Unable to update kamal-proxy on "+s.Address, "the new kamal-proxy did not come up", "unknown command", "v0.9.2), put back, with all its routes")
	wantPort(t, s, 80, http.StatusOK)
	if now := s.SSH(t, "docker inspect --format '{{.Id}}' kamal-proxy"); now != id {
		t.Errorf("after a version that did not come up %s runs, want %s", now, id)
	}
	w.Write("main.tf", withProxy(`version = "v0.9.8"`))
	w.ApplyFails("Unable to update kamal-proxy on "+s.Address, "pull "+w.Bed.Image("basecamp/kamal-proxy:v0.9.8"), "it was not touched")
	wantPort(t, s, 80, http.StatusOK)
	w.Write("main.tf", webProxy)
	w.PlanEmpty()
	if left := strings.TrimSpace(s.SSH(t, "docker ps -a --format '{{.Names}}' | sort | xargs")); left != "kamal-proxy shop-web-app" {
		t.Errorf("containers at the end: %s", left)
	}

	// Destroying it would cut off what others deployed.
	before = containerID(t, s)
	w.DestroyFails("Unable to remove kamal-proxy on "+s.Address, "it serves what this provider did not deploy: shop-web", "nothing was changed")
	if containerID(t, s) != before {
		t.Error("a destroy that was refused touched kamal-proxy")
	}
	s.SSH(t, "docker exec kamal-proxy kamal-proxy remove shop-web")
	w.Destroy()
	s.SSH(t, `! docker inspect kamal-proxy >/dev/null 2>&1 && docker volume inspect kamal-proxy-config && docker image inspect `+w.Bed.Image("basecamp/kamal-proxy:v0.9.2")+`
		[ ! -e /root/.kamal/terraform/proxy.kamal-proxy.json ]`)
}

// proxyChangesAndDrifts changes ports and options, and has each drift shown and mended.
func proxyChangesAndDrifts(t *testing.T, w *workspace) {
	s := w.Servers[0]
	// Other ports and options.
	w.Write("main.tf", withProxy(`version = "v0.9.3"`, "http_port = 8080", `bind_addresses = ["{{server 0}}", "127.0.0.1"]`, "metrics_port = 9090", "debug = true", `log_max_size = "5m"`))
	w.Apply()
	wantPort(t, s, 8080, http.StatusOK)
	wantPort(t, s, 80, 0)
	s.SSH(t, "docker inspect --format '{{.Config.Cmd}} {{.Config.ExposedPorts}}' kamal-proxy | grep -F '[kamal-proxy run --metrics-port 9090 --debug]' | grep -F 9090/tcp")
	w.Write("main.tf", webProxy)
	w.Apply()
	wantPort(t, s, 80, http.StatusOK)

	drifts := []struct {
		name, spoil string
		changed     []string
		says        string
	}{
		{"stopped", "docker stop kamal-proxy", []string{"container", "running"}, "running = false -> true"},
		{"paused", "docker pause kamal-proxy", []string{"container", "running"}, "running = false -> true"},
		{"removed", "docker rm -f kamal-proxy", []string{"container", "running"}, "running = false -> true"},
		{"restart policy by hand", "docker update --restart no kamal-proxy", []string{"container", "faults"}, `- "its restart policy is \"no\"",`},
		{"another one by hand", `docker rm -f kamal-proxy && docker run -d --name kamal-proxy --network kamal --restart unless-stopped --log-opt max-size=10m -v kamal-proxy-config:/home/kamal-proxy/.config/kamal-proxy \
			-v /root/.kamal/proxy/apps-config:/home/kamal-proxy/.apps-config -p 8081:80 -p 443:443 ` + w.Bed.Image("basecamp/kamal-proxy:v0.9.3"),
			[]string{"container", "http_port", "version"}, "http_port = 8081 -> 80"},
	}
	for _, d := range drifts {
		s.SSH(t, d.spoil)
		p := w.Plan()
		if got := p.Changed(proxyAddress); p.Actions(proxyAddress) != "update" || !slices.Equal(got, d.changed) || !says(p.Text, d.says) {
			t.Errorf("%s: %s of %q, want an update of %q that says %s\n%s", d.name, p.Actions(proxyAddress), got, d.changed, d.says, p.Text)
		}
		w.Apply(p.File)
		wantPort(t, s, 80, http.StatusOK)
	}
}

func TestProxyNamesWhoHoldsItsPorts(t *testing.T) {
	aboutServers(t)
	t.Parallel()
	s := bed(t).Server(t, testbed.Debian13)
	s.SSH(t, "apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends nginx-light >/dev/null && systemctl start nginx")
	pid := strings.TrimSpace(s.SSH(t, "cat /run/nginx.pid"))
	w := newWorkspace(t, s)
	w.Write("main.tf", webProxy)
	w.ApplyFails("Unable to boot kamal-proxy on "+s.Address, "port 80 is held by nginx (pid "+pid+")", "nothing was changed", "http_port, https_port, bind_addresses")
	s.SSH(t, "systemctl is-active nginx && [ -z \"$(docker ps -aq)\" ] && [ ! -e /root/.kamal ]")
	if got := w.Addresses(); !slices.Equal(got, []string{"kamal_server.web"}) {
		t.Errorf("in the state: %q", got)
	}
	// Next to it, on another port.
	w.Write("main.tf", withProxy("http_port = 8080"))
	w.Apply()
	wantPort(t, s, 8080, http.StatusNotFound)
	// An update to the port that is taken touches nothing either.
	before := containerID(t, s)
	w.Write("main.tf", webProxy)
	w.ApplyFails("Unable to update kamal-proxy on "+s.Address, "port 80 is held by nginx (pid "+pid+")")
	if containerID(t, s) != before {
		t.Error("an update to a port that is taken touched kamal-proxy")
	}
	// Another container that publishes the port is named as one.
	s.SSH(t, "systemctl stop nginx; docker run -d --name squatter --publish 127.0.0.1:80:80 "+w.Bed.Image("basecamp/kamal-proxy:v0.9.2"))
	w.ApplyFails("port 80 is published by the container squatter")
}

func TestProxyOfKamalIsRefusedThenImported(t *testing.T) {
	aboutServers(t)
	t.Parallel()
	s := bed(t).Server(t, testbed.Debian13)
	w := newWorkspace(t, s)
	w.Write("main.tf", strings.Split(webProxy, "\nresource \"kamal_proxy\"")[0])
	w.Apply()
	r := w.Bed.Registry
	image := w.Bed.Image("basecamp/kamal-proxy:v0.9.2")
	// As Kamal 2.12 boots it.
	s.SSH(t, fmt.Sprintf(`printf %%s %s | docker login --username %s --password-stdin %s >/dev/null 2>&1; docker pull -q %s; docker logout %s >/dev/null
		mkdir -p .kamal/proxy/apps-config
		docker run --name kamal-proxy --network kamal --detach --restart unless-stopped --volume kamal-proxy-config:/home/kamal-proxy/.config/kamal-proxy \
		--volume $PWD/.kamal/proxy/apps-config:/home/kamal-proxy/.apps-config --publish 80:80 --publish 443:443 --log-opt max-size=10m %s`,
		r.Password, r.Username, r.Address, image, r.Address, image))
	before := containerID(t, s)
	w.Write("main.tf", webProxy)
	w.ApplyFails("Unable to boot kamal-proxy on "+s.Address, "there is a kamal-proxy already", "import", s.Address)
	w.Import(proxyAddress, s.Address)
	w.PlanEmpty()
	w.CLI("state", "rm", proxyAddress)
	// Another configuration's: found by its mark.
	w.Import(proxyAddress, s.Address)
	w.Write("main.tf", withProxy("debug = true"))
	w.Apply()
	if containerID(t, s) == before {
		t.Error("an option was changed, and the container is the same")
	}
	w.CLI("state", "rm", proxyAddress)
	w.ApplyFails("another configuration, or a lost state, manages", "import")
	s.SSH(t, "docker rm -f kamal-proxy")
	w.ImportFails(proxyAddress, s.Address, "Nothing to import", "There is no kamal-proxy on "+s.Address)
}

func TestProxyIsImportedByIdentity(t *testing.T) {
	needs(t, importByIdentity)
	t.Parallel()
	s := bed(t).Server(t, testbed.Debian12)
	w := newWorkspace(t, s)
	w.Write("main.tf", webProxy)
	w.Apply()
	before := containerID(t, s)
	w.CLI("state", "rm", proxyAddress)
	w.Write("import.tf", "import {\n  to       = kamal_proxy.web\n  identity = { server = \"{{server 0}}\" }\n}\n")
	w.Apply()
	if containerID(t, s) != before {
		t.Error("an import restarted kamal-proxy")
	}
}

// The docs say how long an update interrupts traffic: this is where it is measured.
func TestProxyUpdateInterruptsTrafficBriefly(t *testing.T) {
	aboutServers(t)
	t.Parallel()
	for _, kind := range []testbed.Kind{testbed.Debian12, testbed.Debian13} {
		s := bed(t).Server(t, kind)
		w := newWorkspace(t, s)
		w.Write("main.tf", webProxy)
		w.Apply()
		serveByHand(t, s, w.Bed, "shop-web")
		const rate = 100
		l, err := load.Start(t.Context(), load.Options{Targets: []load.Target{{URL: "http://shop.example.com/", Addr: s.Address + ":80"}}, Rate: rate})
		if err != nil {
			t.Fatal(err)
		}
		for _, version := range []string{"v0.9.3", "v0.9.2", "v0.9.3"} {
			l.Take()
			w.Write("main.tf", withProxy(fmt.Sprintf("version = %q", version)))
			w.Apply()
			r := l.Take()
			gap := time.Duration(float64(r.Failed) / rate * float64(time.Second))
			t.Logf("%s: update to %s: %d of %d requests failed at %d/s: an interruption of about %s", kind, version, r.Failed, r.Requests, rate, gap)
			if gap > 5*time.Second {
				t.Errorf("%s: an update interrupted traffic for %s\n%s", kind, gap, strings.Join(r.Failures, "\n"))
			}
		}
		l.Stop()
	}
}

func TestProxyUpdateGoesOnWhenTheProviderIsKilled(t *testing.T) {
	aboutServers(t)
	t.Parallel()
	s := bed(t).Server(t, testbed.Debian12)
	w := newWorkspace(t, s)
	w.Write("main.tf", webProxy)
	w.Apply()
	serveByHand(t, s, w.Bed, "shop-web")
	w.Write("main.tf", withProxy(`version = "v0.9.3"`))
	// A request under way keeps the old proxy from stopping at once.
	s.SSH(t, "(curl -s -m 30 'http://127.0.0.1/slow?ms=6000' >/dev/null 2>&1 &) ; sleep 0.5")
	apply := w.Start()
	eventually(t, time.Minute, "the old proxy is being stopped", func() bool {
		out, err := s.Run(t.Context(), "docker ps -a --format '{{.Names}}'")
		return err == nil && strings.Contains(out, "kamal-proxy-new") && httpStatus(t, s, 80) == 0
	})
	apply.KillProvider()
	apply.Wait()
	eventually(t, time.Minute, "the new proxy serves", func() bool { return httpStatus(t, s, 80) == http.StatusOK })
	eventually(t, time.Minute, "nothing is left over", func() bool {
		out, err := s.Run(t.Context(), "docker ps -a --format '{{.Names}}' | sort | xargs")
		return err == nil && strings.TrimSpace(out) == "kamal-proxy shop-web-app"
	})
	w.Apply()
	s.SSH(t, "docker inspect --format '{{.Config.Image}}' kamal-proxy | grep v0.9.3")
}

func TestProxyMovesToAnotherMachine(t *testing.T) {
	aboutServers(t)
	t.Parallel()
	old, next := bed(t).Server(t, testbed.Debian13), bed(t).Server(t, testbed.Debian12)
	w := newWorkspace(t, old, next)
	w.Write("main.tf", webProxy)
	w.Apply()
	before := containerID(t, old)
	w.Write("main.tf", strings.Replace(webProxy, `"{{server 0}}"`, `"root@{{server 0}}:22"`, 1))
	w.Apply()
	if containerID(t, old) != before {
		t.Error("another spelling of the server touched kamal-proxy")
	}
	serveByHand(t, old, w.Bed, "shop-web")
	w.Write("main.tf", strings.Replace(webProxy, "server 0", "server 1", 1))
	if out := w.Apply(); !says(out, "kamal-proxy was left on root@"+old.Address) || !says(out, "it serves shop-web") {
		t.Errorf("no word about the old machine's proxy:\n%s", out)
	}
	wantPort(t, old, 80, http.StatusOK)
	wantPort(t, next, 80, http.StatusNotFound)
	// Back: refused, because the one there is nobody's. Without it, the one on the left machine goes.
	w.Write("main.tf", webProxy)
	w.ApplyFails("Unable to boot kamal-proxy on "+old.Address, "import")
	old.SSH(t, "docker rm -f kamal-proxy shop-web-app; docker volume rm kamal-proxy-config; rm -r .kamal/terraform")
	w.Apply()
	wantPort(t, old, 80, http.StatusNotFound)
	next.SSH(t, "! docker inspect kamal-proxy >/dev/null 2>&1")
}

func TestProxyConfigurationIsCheckedAtPlan(t *testing.T) {
	t.Parallel()
	w := newWorkspace(t)
	for arguments, text := range map[string]string{
		`version = "latest"`:                       "Invalid version of kamal-proxy",
		`version = "v0.9.1"`:                       "Kamal needs v0.9.2 or newer",
		`image = "basecamp/kamal-proxy:v0.9.2"`:    "give the tag as version",
		`http_port = 443`:                          "Both http_port and https_port are 443",
		`http_port = 0`:                            "http_port",
		`bind_addresses = ["localhost"]`:           "no IP address",
		`bind_addresses = []`:                      "bind_addresses",
		`log_max_size = "big"`:                     "Invalid log size",
		`bind_addresses = ["10.0.0.1","10.0.0.1"]`: "bind_addresses",
	} {
		w.Write("main.tf", "resource \"kamal_proxy\" \"web\" {\n  server = \"10.0.0.1\"\n  "+arguments+"\n}\n")
		w.PlanFails(text)
	}
}

func TestProxyBootedThroughSudoKeepsItsFilesTheUsers(t *testing.T) {
	aboutServers(t)
	t.Parallel()
	s := bed(t).Server(t, testbed.Debian13Bare)
	w := newWorkspace(t, s)
	w.Write("main.tf", strings.Replace(webProxy, "{{server 0}}", testbed.User+"@{{server 0}}", 1))
	w.Apply()
	wantPort(t, s, 80, http.StatusNotFound)
	s.SSH(t, `docker inspect --format '{{.HostConfig.Binds}}' kamal-proxy | grep -F /home/deploy/.kamal/proxy/apps-config:
		[ -z "$(find /home/deploy/.kamal ! -user deploy)" ] && [ ! -e /root/.kamal ]`)
	s.SSH(t, "docker stop kamal-proxy")
	w.Apply()
	w.Destroy()
	s.SSH(t, "! docker inspect kamal-proxy >/dev/null 2>&1")
}

func TestProxyReplacedKeepsTheRoutesOfThisProvider(t *testing.T) {
	aboutServers(t)
	t.Parallel()
	s := bed(t).Server(t, testbed.Debian13)
	w := newWorkspace(t, s)
	w.Write("main.tf", webProxy+`
resource "kamal_app_role" "web" {
  service  = "shop"
  servers  = [kamal_proxy.web.server]
  image    = "{{image "app:v1"}}"
  app_port = 3000
}

resource "kamal_proxy_route" "web" {
  target  = kamal_app_role.web.proxy
  servers = kamal_app_role.web.servers
}
`)
	w.Apply()
	wantPort(t, s, 80, http.StatusOK)
	before := containerID(t, s)
	if out := w.Apply("-replace=" + proxyAddress); !says(out, "Nothing serves these apps on "+s.Address+" any more") || !says(out, "shop-web") {
		t.Errorf("no warning that a service went with kamal-proxy:\n%s", out)
	}
	wantPort(t, s, 80, http.StatusOK)
	if containerID(t, s) == before {
		t.Error("-replace left the container as it was")
	}
	for _, spoil := range []string{"docker stop kamal-proxy", "docker rm -f kamal-proxy"} {
		s.SSH(t, spoil)
		w.Apply()
		wantPort(t, s, 80, http.StatusOK)
	}
	w.Destroy()
	s.SSH(t, `[ -z "$(docker ps -aq)" ] && [ -z "$(ls -A .kamal/terraform 2>/dev/null | grep -v flock)" ]`)
}
