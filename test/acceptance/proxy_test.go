package acceptance

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/kamal-terraform/terraform-provider-kamal/test/byhand"
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

// A kamal-proxy's life as a plan shows it: booted, updated, disturbed, removed.
func TestProxyLives(t *testing.T) {
	story(t)
	t.Parallel()
	s := bed(t).Warm(t, newest)
	w := newWorkspace(t, s)
	w.Write("main.tf", webProxy)
	p := w.Plan()
	if p.Actions(proxyAddress) != "create" || p.After(proxyAddress, "running") != true || !p.Unknown(proxyAddress, "container") {
		t.Errorf("first plan:\n%s", p.Text)
	}
	w.Apply()
	wantPort(t, s, 80, http.StatusNotFound)
	byhand.Serve(t, w.Bed, s, "shop-web")

	before := containerID(t, s)
	w.Write("main.tf", withProxy(`version = "v0.9.3"`))
	p = w.Plan()
	if p.Actions(proxyAddress) != "update" || !slices.Equal(p.Changed(proxyAddress), []string{"container", "version"}) {
		t.Errorf("plan of another version: %s of %q\n%s", p.Actions(proxyAddress), p.Changed(proxyAddress), p.Text)
	}
	w.Apply()
	wantPort(t, s, 80, http.StatusOK)
	if containerID(t, s) == before {
		t.Error("another version left the container as it was")
	}
	onServers(t, w, "drifts", proxyDrifts)

	w.DestroyFails("Unable to remove kamal-proxy on "+s.Address, "it serves what this provider did not deploy: shop-web", "nothing was changed")
	proxyCLI(t, s, "remove shop-web")
	w.Destroy()
	s.SSH(t, `! docker inspect kamal-proxy >/dev/null 2>&1`)
}

// proxyDrifts has every attribute changed that shows what was found, and each
// drift in the plan.
func proxyDrifts(t *testing.T, w *workspace) {
	s := w.Servers[0]
	w.Write("main.tf", withProxy(`version = "v0.9.3"`, "http_port = 8080", `bind_addresses = ["{{server 0}}", "127.0.0.1"]`, "metrics_port = 9090", "debug = true", `log_max_size = "5m"`))
	w.Apply()
	wantPort(t, s, 8080, http.StatusOK)
	w.Write("main.tf", webProxy)
	for _, d := range []struct {
		name, spoil string
		changed     []string
		says        string
	}{
		{"back", ":", []string{"bind_addresses", "container", "debug", "http_port", "log_max_size", "metrics_port", "version"}, "metrics_port = 9090 -> null"},
		{"stopped", "docker stop -t 1 kamal-proxy", []string{"container", "running"}, "running = false -> true"},
		{"restart policy by hand", "docker update --restart no kamal-proxy", []string{"container", "faults"}, `- "its restart policy is \"no\"",`},
		{"another one by hand", `docker rm -f kamal-proxy && docker run -d --name kamal-proxy --network kamal --restart unless-stopped --log-opt max-size=10m -v kamal-proxy-config:/home/kamal-proxy/.config/kamal-proxy \
			-v /root/.kamal/proxy/apps-config:/home/kamal-proxy/.apps-config -p 8081:80 -p 443:443 ` + w.Bed.Image("basecamp/kamal-proxy:v0.9.3"),
			[]string{"container", "http_port", "version"}, "http_port = 8081 -> 80"},
	} {
		s.SSH(t, d.spoil)
		p := w.Plan()
		if got := p.Changed(proxyAddress); p.Actions(proxyAddress) != "update" || !slices.Equal(got, d.changed) || !says(p.Text, d.says) {
			t.Errorf("%s: %s of %q, want an update of %q that says %s\n%s", d.name, p.Actions(proxyAddress), got, d.changed, d.says, p.Text)
		}
		w.Apply(p.File)
		wantPort(t, s, 80, http.StatusOK)
	}
}

// One that Kamal booted is refused, and imported by its server or its identity.
func TestProxyIsImported(t *testing.T) {
	t.Parallel()
	s := bed(t).Warm(t, oldest)
	w := newWorkspace(t, s)
	w.Write("main.tf", webProxy)
	w.ImportFails(proxyAddress, s.Address, "Nothing to import", "There is no kamal-proxy on "+s.Address)
	bootProxy(t, s)
	before := containerID(t, s)
	w.ApplyFails("Unable to boot kamal-proxy on "+s.Address, "there is a kamal-proxy already", "import", s.Address)
	if got := w.Addresses(); !slices.Equal(got, []string{"kamal_server.web"}) {
		t.Errorf("in the state: %q", got)
	}
	w.Import(proxyAddress, s.Address)
	w.PlanEmpty()
	t.Run("by identity", func(t *testing.T) {
		needs(t, importByIdentity)
		w := w.in(t)
		w.CLI("state", "rm", proxyAddress)
		w.Write("import.tf", "import {\n  to       = kamal_proxy.web\n  identity = { server = \"{{server 0}}\" }\n}\n")
		w.Apply()
	})
	if containerID(t, s) != before {
		t.Error("an import restarted kamal-proxy")
	}
}

func TestProxyMovesToAnotherMachine(t *testing.T) {
	aboutServers(t)
	t.Parallel()
	old, next := bed(t).Warm(t, newest), bed(t).Warm(t, oldest)
	w := newWorkspace(t, old, next)
	w.Write("main.tf", webProxy)
	w.Apply()
	before := containerID(t, old)
	w.Write("main.tf", strings.Replace(webProxy, `"{{server 0}}"`, `"root@{{server 0}}:22"`, 1))
	w.Apply()
	if containerID(t, old) != before {
		t.Error("another spelling of the server touched kamal-proxy")
	}
	byhand.Serve(t, w.Bed, old, "shop-web")
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
