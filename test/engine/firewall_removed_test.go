package engine

import (
	"strings"
	"testing"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/firewall"
)

func TestFirewallIsRemovedWithoutATrace(t *testing.T) {
	onEngines(t, func(e *engine) {
		sc := e.scene()
		s := e.s
		e.daemonJSON(fullIPv6)
		s.SSH(e, containerFunction+"container open '-p 80:80' 80; container closed '-p 5432:80' 80")
		e.in("nft", func(e *engine) { sc.comesAndGoes(e, "nft") })
		e.Cleanup(func() { s.SSH(e, changeBackend("legacy", "nft")) })
		s.SSH(e, changeBackend("nft", "legacy"))
		e.in("legacy", func(e *engine) { sc.comesAndGoes(e, "legacy") })
	})
}

// changeBackend has Docker write its rules with the other kind of iptables,
// and takes away those of the one before, as a reboot would.
func changeBackend(from, to string) string {
	return strings.NewReplacer("FROM", from, "TO", to).Replace(`systemctl stop docker.socket docker.service
for p in iptables ip6tables; do
  for t in filter nat mangle raw; do $p-FROM -t $t -F; $p-FROM -t $t -X; done
  $p-FROM -P FORWARD ACCEPT
  update-alternatives --quiet --set $p /usr/sbin/$p-TO
done
`) + restartDocker
}

// comesAndGoes sets up a firewall between rules of others and removes it.
func (sc *scene) comesAndGoes(e *engine, backend string) {
	s := e.s
	s.SSH(e, "iptables -I DOCKER-USER -s 192.0.2.1 -j DROP; ip6tables -A DOCKER-USER -s 2001:db8::1 -m comment --comment 'someone else' -j DROP; iptables -t mangle -A FORWARD -s 192.0.2.2 -j DROP")
	before := e.packetFilter()
	w := e.wall(firewall.Rule{Port: "80"}, firewall.Rule{Port: "9000", Sources: []string{"2001:db8::/32", "192.0.2.0/24"}})
	w.set()
	if got := w.observe().IPv4.Kind; got != backend {
		e.Errorf("backend %q", got)
	}
	if with := e.packetFilter(); with == before || !strings.Contains(with, "--ctorigdstport 9000") {
		e.Errorf("nothing changed:\n%s", with)
	}
	for _, address := range []string{s.Address, s.Address6} {
		sc.stranger.waitFor(e.T, address, 80, "open 80")
	}
	sc.wantClosed(sc.stranger, 5432, s.Address, s.Address6)
	e.must(w.remove())
	wantSame(e, "the packet filter", before, e.packetFilter())
	if w.observe().Present() {
		e.Error("something of it is left")
	}
	s.SSH(e, "! ls -d /etc/kamal-firewall /etc/systemd/system/*kamal-firewall* /etc/systemd/system/*/*kamal-firewall* /run/kamal-firewall* 2>/dev/null; ! systemctl list-units --all --no-legend | grep kamal-firewall")
}
