package acceptance

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/kamal-terraform/terraform-provider-kamal/test/testbed"
)

func TestExposedPortsAreWhatTheOutsideReaches(t *testing.T) {
	aboutServers(t)
	t.Parallel()
	sc := newScene(t, testbed.Debian12)
	s := sc.server
	s.SSH(t, containerFunction+`mkdir -p /srv/proxy /etc/ufw; echo '[]' > /srv/proxy/kamal-proxy.state
container kamal-proxy '-p 80:80 -p 443:443 -v /srv/proxy:/home/kamal-proxy/.config/kamal-proxy' 80 443
container db '-p 5432:5432' 5432
container cache '-p 127.0.0.1:6379:6379' 6379
echo ENABLED=yes > /etc/ufw/ufw.conf`)
	w := newWorkspace(t, s)
	const data = `
data "kamal_exposed_ports" "web" {
  server = %s
}
output "ports" {
  value = { for p in data.kamal_exposed_ports.web.ports : "${p.container} ${p.port} v${p.ip_version}" => join(" ", concat([p.reachable_from], p.sources)) }
}
output "why" {
  value = { for p in data.kamal_exposed_ports.web.ports : "${p.container} ${p.port} v${p.ip_version}" => p.why }
}
output "open" {
  value = data.kamal_exposed_ports.web.open
}
`
	ports := func(want map[string]string) {
		t.Helper()
		got, _ := w.Output("ports").(map[string]any)
		for port, reach := range want {
			if got[port] != reach {
				t.Errorf("%s: %v, want %s (%v)", port, got[port], reach, dig(w.Output("why"), port))
			}
		}
		if len(got) != len(want) {
			t.Errorf("ports: %v", got)
		}
	}
	w.Write("data.tf", fmt.Sprintf(data, `"{{server 0}}"`))
	out := w.Apply()
	if !says(out, "Containers on "+s.Address+" are open to the world") || !says(out, "db: port 5432/tcp over IPv4: nothing filters what Docker publishes. ufw is enabled, and whatever it says of this port does not count") ||
		strings.Contains(out, "kamal-proxy: port") {
		t.Errorf("the warning:\n%s", out)
	}
	// Over IPv6 the userland proxy takes it, and that a real ufw would filter.
	ports(map[string]string{"kamal-proxy 80 v4": "anywhere", "kamal-proxy 80 v6": "unknown", "kamal-proxy 443 v4": "anywhere", "kamal-proxy 443 v6": "unknown",
		"db 5432 v4": "anywhere", "db 5432 v6": "unknown", "cache 6379 v4": "server"})
	s.SSH(t, "rm /etc/ufw/ufw.conf")
	w.Apply()
	for _, port := range []int{80, 443, 5432} {
		for _, address := range []string{s.Address, s.Address6} {
			sc.stranger.waitFor(t, address, port, map[int]string{80: "kamal-proxy", 443: "kamal-proxy", 5432: "db"}[port])
		}
	}
	ports(map[string]string{"kamal-proxy 80 v4": "anywhere", "kamal-proxy 80 v6": "anywhere", "kamal-proxy 443 v4": "anywhere", "kamal-proxy 443 v6": "anywhere",
		"db 5432 v4": "anywhere", "db 5432 v6": "anywhere", "cache 6379 v4": "server"})

	s.SSH(t, withoutProxy)
	const rules = "resource \"kamal_firewall\" \"web\" {\n  server = \"{{server 0}}\"\n  allow = [{ port = \"5432\", sources = [\"FRIEND\"] }, { port = \"443\" }PORT80]\n}\n"
	firewall := func(more string) {
		w.Write("main.tf", strings.NewReplacer("FRIEND", sc.friend.IPv4, "PORT80", more).Replace(rules))
	}
	w.Write("data.tf", fmt.Sprintf(data, "kamal_firewall.web.id"))
	firewall("")
	const closes = "The firewall closes port 80 of kamal-proxy"
	if out := w.Apply(); !says(out, closes) || says(out, "port 443 of kamal-proxy") {
		t.Errorf("a create that closes the proxy:\n%s", out)
	}
	// Without its userland proxy this Docker publishes over IPv4 only.
	ports(map[string]string{"kamal-proxy 80 v4": "nobody", "kamal-proxy 443 v4": "anywhere",
		"db 5432 v4": "sources " + sc.friend.IPv4 + "/32", "cache 6379 v4": "server"})
	if open := fmt.Sprint(w.Output("open")); open != "[443/tcp]" {
		t.Errorf("open: %s", open)
	}
	if p := w.Plan(); !says(p.Text, closes) || !p.Empty() {
		t.Errorf("a plan that closes the proxy:\n%s", p.Text)
	}
	firewall(`, { port = "80" }`)
	if p := w.Plan(); says(p.Text, closes) || !slices.Contains(p.Changed("kamal_firewall.web"), "allow") {
		t.Errorf("a plan that opens the proxy:\n%s", p.Text)
	}
}

// What an accessory and kamal-proxy will publish is warned of in the plan, by
// what this plan says of the firewall and what is in force; what a rule opens is not.
func TestPlansWarnOfPortsThatNoRuleOpens(t *testing.T) {
	aboutServers(t)
	t.Parallel()
	s := bed(t).Server(t, testbed.Debian12)
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
	check := func(when string, p *Plan, with []string, without []string) {
		t.Helper()
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
	check("without a firewall", w.Plan(), []string{proxyOpen, "It publishes 80 and 443", "- 0.0.0.0:5432:3000: " + open, "- 0.0.0.0:9000:9000: " + open, ufw}, []string{proxyClosed, "6379: "})

	const someClosed = "- 0.0.0.0"
	w.Write("firewall.tf", rules)
	w.Write("publish.tf", strings.ReplaceAll(publish, "AFTER", "kamal_firewall.web"))
	check("with a planned one", w.Plan(), []string{proxyClosed}, []string{proxyOpen, others, someClosed, "closes port 443"})

	w.Write("publish.tf", strings.ReplaceAll(publish, "AFTER", "kamal_server.web"))
	w.Apply("-target=kamal_firewall.web")
	check("with one in force", w.Plan("-target=kamal_proxy.web", "-target=kamal_accessory.db"), []string{proxyClosed}, []string{proxyOpen, others, someClosed, "closes port 443"})
	s.SSH(t, "iptables -F DOCKER-USER")
	check("with one that is flushed", w.Plan("-target=kamal_proxy.web", "-target=kamal_accessory.db"),
		[]string{proxyOpen, "- 0.0.0.0:5432:3000: kamal_firewall is there, but its rules are not in force", ufw}, []string{proxyClosed})
}
