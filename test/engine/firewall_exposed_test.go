package engine

import (
	"fmt"
	"maps"
	"net/netip"
	"strings"
	"testing"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/firewall"
)

// exposed is what a new run says of who reaches what is published.
func (e *engine) exposed() (ports, why map[string]string, all *firewall.Exposed) {
	e.Helper()
	all, err := firewall.Expose(e.snapshot(e.s.Address))
	e.must(err)
	ports, why = map[string]string{}, map[string]string{}
	for _, p := range all.Ports {
		port := fmt.Sprintf("%s %d v%d", p.Container, p.Port, p.V())
		ports[port], why[port] = strings.Join(append([]string{string(p.Reach)}, p.Sources...), " "), p.Why
	}
	return ports, why, all
}

// wantExposed wants all published ports to be reached as said.
func (e *engine) wantExposed(when string, want map[string]string) *firewall.Exposed {
	e.Helper()
	got, why, all := e.exposed()
	if !maps.Equal(got, want) {
		e.Errorf("%s:\n%v, want\n%v\n%v", when, got, want, why)
	}
	return all
}

// wantForeseen wants what is going to be published on all IPv4 addresses to be
// reached as said: a Reach, and a part of the reason.
func (e *engine) wantForeseen(when string, want map[uint16]string) {
	e.Helper()
	snap := e.snapshot(e.s.Address)
	for port, text := range want {
		reach, why, err := firewall.Foresee(snap, firewall.Published{Address: netip.IPv4Unspecified(), Port: port, Protocol: "tcp"})
		e.must(err)
		wantReach, because, _ := strings.Cut(text, ": ")
		if string(reach) != wantReach || !strings.Contains(why, because) || firewall.ByRule(why) != strings.HasPrefix(because, "kamal_firewall allows") {
			e.Errorf("%s: port %d: %s, %s; want %s", when, port, reach, why, text)
		}
	}
}

func TestExposedPortsAreWhatTheOutsideReaches(t *testing.T) {
	onEngines(t, func(e *engine) {
		sc := e.scene()
		s := e.s
		s.SSH(e, containerFunction+`mkdir -p /srv/proxy /etc/ufw; echo '[]' > /srv/proxy/kamal-proxy.state
container kamal-proxy '-p 80:80 -p 443:443 -v /srv/proxy:/home/kamal-proxy/.config/kamal-proxy' 80 443
container db '-p 5432:5432' 5432
container cache '-p 127.0.0.1:6379:6379' 6379
echo ENABLED=yes > /etc/ufw/ufw.conf`)
		e.Cleanup(func() { s.SSH(e, "rm -r /etc/ufw") })
		const ufw = "nothing filters what Docker publishes. ufw is enabled, and whatever it says of this port does not count"
		// Over IPv6 the userland proxy takes it, and that a real ufw would filter.
		all := e.wantExposed("with ufw", map[string]string{"kamal-proxy 80 v4": "anywhere", "kamal-proxy 80 v6": "unknown", "kamal-proxy 443 v4": "anywhere", "kamal-proxy 443 v6": "unknown",
			"db 5432 v4": "anywhere", "db 5432 v6": "unknown", "cache 6379 v4": "server"})
		if open := all.Open(); len(open) != 1 || open[0].Container != "db" || open[0].V() != 4 || !strings.Contains(open[0].Why, ufw) || all.Firewall || !all.UFW {
			e.Errorf("open: %+v", all)
		}
		e.wantForeseen("with ufw", map[uint16]string{80: "anywhere: " + ufw, 5432: "anywhere: " + ufw, 9000: "anywhere: " + ufw})
		s.SSH(e, "mv /etc/ufw/ufw.conf /etc/ufw/kept")
		open := map[int]string{80: "kamal-proxy 80", 443: "kamal-proxy 443", 5432: "db 5432"}
		for port, name := range open {
			for _, address := range []string{s.Address, s.Address6} {
				sc.stranger.waitFor(e.T, address, port, name)
			}
		}
		all = e.wantExposed("without ufw", map[string]string{"kamal-proxy 80 v4": "anywhere", "kamal-proxy 80 v6": "anywhere", "kamal-proxy 443 v4": "anywhere", "kamal-proxy 443 v6": "anywhere",
			"db 5432 v4": "anywhere", "db 5432 v6": "anywhere", "cache 6379 v4": "server"})
		if n := len(all.Open()); n != 2 {
			e.Errorf("%d ports are open to the world: %+v", n, all.Open())
		}

		e.daemonJSON(withoutProxy)
		w := e.wall(firewall.Rule{Port: "5432", Sources: []string{sc.friend.IPv4}}, firewall.Rule{Port: "443"})
		planned := func(spec firewall.Spec, port uint16) string {
			reach, why := spec.Reach(port, "tcp")
			return fmt.Sprint(reach, " ", firewall.ByRule(why))
		}
		for port, want := range map[uint16]string{80: "nobody false", 443: "anywhere true", 5432: "sources true", 9000: "nobody false"} {
			if got := planned(w.spec, port); got != want {
				e.Errorf("planned: port %d: %s, want %s", port, got, want)
			}
		}
		w.set()
		// Without its userland proxy Docker publishes over IPv4 only.
		all = e.wantExposed("with the firewall", map[string]string{"kamal-proxy 80 v4": "nobody", "kamal-proxy 443 v4": "anywhere",
			"db 5432 v4": "sources " + sc.friend.IPv4 + "/32", "cache 6379 v4": "server"})
		if !all.Firewall || len(all.Open()) > 0 {
			e.Errorf("with the firewall: %+v", all)
		}
		sc.stranger.waitFor(e.T, s.Address, 443, "kamal-proxy 443")
		sc.friend.waitFor(e.T, s.Address, 5432, "db 5432")
		sc.wantClosed(sc.stranger, 5432, s.Address, s.Address6)
		sc.wantClosed(sc.friend, 80, s.Address, s.Address6)
		if ports := fmt.Sprint(firewall.ProxyPorts(e.snapshot(s.Address))); ports != "[{80 tcp} {443 tcp}]" {
			e.Errorf("kamal-proxy's ports: %s", ports)
		}
		e.wantForeseen("with the firewall", map[uint16]string{80: "nobody: kamal_firewall closes it", 443: "anywhere: kamal_firewall allows it",
			5432: "sources: kamal_firewall allows it for these networks", 9000: "nobody: kamal_firewall closes it"})

		s.SSH(e, "iptables -F DOCKER-USER; mv /etc/ufw/kept /etc/ufw/ufw.conf")
		const not = "anywhere: kamal_firewall is there, but its rules are not in force: see its drift. ufw is enabled, and whatever it says of this port does not count"
		e.wantForeseen("with one that is flushed", map[uint16]string{80: not, 443: not, 5432: not, 9000: not})
		sc.stranger.waitFor(e.T, s.Address, 80, "kamal-proxy 80")
	})
}
