package acceptance

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// Who reaches what is shown in test/engine. Here: what the data source makes
// of it, and when the firewall warns that it closes the proxy.
func TestExposedPortsAreTold(t *testing.T) {
	aboutServers(t)
	t.Parallel()
	s := bed(t).Warm(t, oldest)
	s.LogIn(t)
	s.SSH(t, withoutProxy+"; mkdir -p /etc/ufw; echo ENABLED=yes > /etc/ufw/ufw.conf")
	s.SSH(t, strings.ReplaceAll(`mkdir -p /srv/proxy; echo "[]" > /srv/proxy/kamal-proxy.state
docker run --detach --name kamal-proxy --volume /srv/proxy:/home/kamal-proxy/.config/kamal-proxy --publish 80:3000 --publish 443:3000 IMAGE
docker run --detach --name db --publish 5432:3000 IMAGE
docker run --detach --name cache --publish 127.0.0.1:6379:3000 IMAGE`, "IMAGE", bed(t).Image("app:v1")))
	w := newWorkspace(t, s)
	const data = `
data "kamal_exposed_ports" "web" {
  server = %s
}
output "ports" {
  value = { for p in data.kamal_exposed_ports.web.ports : "${p.container} ${p.port} v${p.ip_version}" => join(" ", concat([p.reachable_from], p.sources)) }
}
output "open" {
  value = data.kamal_exposed_ports.web.open
}
`
	want := func(open string, ports map[string]any) {
		t.Helper()
		if got := fmt.Sprint(w.Output("open")); got != open {
			t.Errorf("open: %s, want %s", got, open)
		}
		if got := fmt.Sprint(w.Output("ports")); got != fmt.Sprint(ports) {
			t.Errorf("ports: %s, want %v", got, ports)
		}
	}
	w.Write("data.tf", fmt.Sprintf(data, `"{{server 0}}"`))
	out := w.Apply()
	if !says(out, "Containers on "+s.Address+" are open to the world") || !says(out, "db: port 5432/tcp over IPv4: nothing filters what Docker publishes. ufw is enabled, and whatever it says of this port does not count") ||
		strings.Contains(out, "kamal-proxy: port") {
		t.Errorf("the warning:\n%s", out)
	}
	want("[80/tcp 443/tcp 5432/tcp]", map[string]any{"kamal-proxy 80 v4": "anywhere", "kamal-proxy 443 v4": "anywhere", "db 5432 v4": "anywhere", "cache 6379 v4": "server"})

	firewall := func(more string) {
		w.Write("main.tf", "resource \"kamal_firewall\" \"web\" {\n  server = \"{{server 0}}\"\n  allow = [{ port = \"5432\", sources = [\"192.0.2.7\"] }, { port = \"443\" }"+more+"]\n}\n")
	}
	w.Write("data.tf", fmt.Sprintf(data, "kamal_firewall.web.id"))
	firewall("")
	const closes = "The firewall closes port 80 of kamal-proxy"
	if out := w.Apply(); !says(out, closes) || says(out, "port 443 of kamal-proxy") || says(out, "are open to the world") {
		t.Errorf("a create that closes the proxy:\n%s", out)
	}
	want("[443/tcp]", map[string]any{"kamal-proxy 80 v4": "nobody", "kamal-proxy 443 v4": "anywhere", "db 5432 v4": "sources 192.0.2.7/32", "cache 6379 v4": "server"})
	if p := w.Plan(); !says(p.Text, closes) || !p.Empty() {
		t.Errorf("a plan that closes the proxy:\n%s", p.Text)
	}
	firewall(`, { port = "80" }`)
	if p := w.Plan(); says(p.Text, closes) || !slices.Contains(p.Changed("kamal_firewall.web"), "allow") {
		t.Errorf("a plan that opens the proxy:\n%s", p.Text)
	}
}

// What an accessory and kamal-proxy will publish is warned of in the plan, by
// what was seen in force, or by what this plan says of the firewall; what a
// rule opens is not.
func TestPlansWarnOfPortsThatNoRuleOpens(t *testing.T) {
	aboutServers(t)
	t.Parallel()
	s := bed(t).Warm(t, oldest)
	s.SSH(t, withoutProxy+"; mkdir -p /etc/ufw; echo ENABLED=yes > /etc/ufw/ufw.conf")
	w := newWorkspace(t, s)
	w.Write("main.tf", webServer)
	w.Apply()
	const publish = `
resource "kamal_proxy" "web" {
  server     = kamal_server.web.server
  depends_on = [AFTER]
}

resource "kamal_accessory" "db" {
  service    = "shop"
  name       = "db"
  server     = kamal_server.web.server
  image      = "{{image "app:v1"}}"
  ports      = ["0.0.0.0:5432:3000", "0.0.0.0:9000:9000", "6379"]
  depends_on = [AFTER]
}
`
	const rules = `
resource "kamal_firewall" "web" {
  server = kamal_server.web.server
  allow  = [{ port = "5432", sources = ["192.0.2.0/24"] }, { port = "443" }]
}
`
	const open, ufw = "nothing filters what Docker publishes", "ufw is enabled, and whatever it says of this port does not count"
	const proxyOpen, proxyClosed, others = "No rule says who reaches kamal-proxy on", "The firewall closes port 80 of kamal-proxy", "Ports that others can reach"
	check := func(when string, with []string, without []string) {
		t.Helper()
		p := w.Plan()
		for _, text := range with {
			if !says(p.Text, text) {
				t.Errorf("%s: no word of %q", when, text)
			}
		}
		for _, text := range without {
			if says(p.Text, text) {
				t.Errorf("%s: a word of %q", when, text)
			}
		}
		if t.Failed() {
			t.Log(p.Text)
		}
	}
	w.Write("publish.tf", strings.ReplaceAll(publish, "AFTER", "kamal_server.web"))
	check("without a firewall", []string{proxyOpen, "It publishes 80 and 443", "- 0.0.0.0:5432:3000: " + open, "- 0.0.0.0:9000:9000: " + open, ufw}, []string{proxyClosed, "6379: "})

	w.Write("firewall.tf", rules)
	w.Write("publish.tf", strings.ReplaceAll(publish, "AFTER", "kamal_firewall.web"))
	check("with a planned one", []string{proxyClosed}, []string{proxyOpen, others, "- 0.0.0.0", "closes port 443"})
}
