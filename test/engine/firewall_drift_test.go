package engine

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/firewall"
)

// ourRules are all rules that ours are among, and our files.
const ourRules = "iptables -S FORWARD; iptables -S DOCKER-USER; iptables -S KAMAL-FW; iptables -S KAMAL-FW-ALLOW; cat /etc/kamal-firewall/*; stat -c '%n %a' /etc/kamal-firewall /etc/kamal-firewall/*"

func TestFirewallTellsDriftAndMendsIt(t *testing.T) {
	onEngines(t, func(e *engine) {
		s := e.s
		e.daemonJSON(withoutProxy)
		w := e.wall(firewall.Rule{Port: "80"}, firewall.Rule{Port: "5432", Sources: []string{"192.0.2.0/24"}})
		w.set()
		if n, calls := e.run.handshakes(s.Address), e.run.remoteCalls(s.Address); n != 1 || len(calls) != 2 {
			e.Errorf("%d handshakes, calls %q; want one and two", n, calls)
		}
		if got := w.observe().Spec; got == nil || fmt.Sprint(*got) != fmt.Sprint(w.spec) {
			e.Errorf("an import would read %+v", got)
		}
		fine := s.SSH(e, ourRules)
		// In each round something of the rules and something of the files or units.
		for _, d := range []struct {
			spoil string
			says  []string
		}{
			{"iptables -D DOCKER-USER -m comment --comment kamal-firewall -j KAMAL-FW; chmod 755 /etc/kamal-firewall",
				[]string{"IPv4: DOCKER-USER does not jump to KAMAL-FW: nothing is filtered", "/etc/kamal-firewall is not root's with mode 700"}},
			{"iptables -D DOCKER-USER 1; iptables -F KAMAL-FW; iptables -X KAMAL-FW; systemctl disable --quiet kamal-firewall.service",
				[]string{"IPv4: the chain KAMAL-FW is gone", "kamal-firewall.service is not enabled"}},
			{"iptables -I KAMAL-FW-ALLOW -s 203.0.113.1 -j RETURN; systemctl disable --quiet kamal-firewall-early.service",
				[]string{"not ours: KAMAL-FW-ALLOW -s 203.0.113.1/32 -j RETURN", "kamal-firewall-early.service is not enabled"}},
			{"iptables -D KAMAL-FW-ALLOW 2; echo >> /etc/kamal-firewall/rules.v4",
				[]string{"missing: KAMAL-FW-ALLOW -p tcp -m conntrack --ctorigdstport 80 -j RETURN", "/etc/kamal-firewall/rules.v4 was changed"}},
			{"iptables -D KAMAL-FW-ALLOW -j DROP; rm /etc/kamal-firewall/load",
				[]string{"missing: KAMAL-FW-ALLOW -j DROP", "/etc/kamal-firewall/load is gone"}},
			{"iptables -D KAMAL-FW-ALLOW -j DROP; iptables -I KAMAL-FW-ALLOW -j DROP; chmod 644 /etc/kamal-firewall/spec.json",
				[]string{"KAMAL-FW-ALLOW was changed (its rules are in another order)", "/etc/kamal-firewall/spec.json is not root's with mode 600"}},
			{"mv /etc/kamal-firewall/load /root; ! systemctl restart kamal-firewall.service 2>/dev/null; mv /root/load /etc/kamal-firewall; iptables -A DOCKER-USER -j KAMAL-FW",
				[]string{"DOCKER-USER jumps to KAMAL-FW more than once", "kamal-firewall.service failed"}},
			{"iptables -D FORWARD -j DOCKER-USER; iptables -A FORWARD -j DOCKER-USER; rm /etc/systemd/system/kamal-firewall.service; systemctl daemon-reload",
				[]string{"FORWARD does not jump to DOCKER-USER before Docker's own rules", "/etc/systemd/system/kamal-firewall.service is gone"}},
			{"iptables-legacy -N KAMAL-FW", []string{"our chains are among the legacy rules too, which Docker does not use"}},
			{flushed, []string{"DOCKER-USER does not jump to KAMAL-FW"}},
		} {
			s.SSH(e, d.spoil)
			w.wantDrift(d.spoil, d.says...)
			w.set()
			now := s.SSH(e, ourRules)
			if d.spoil == flushed {
				fine = now // Docker's own last rule is gone, as somebody wished
			}
			wantSame(e, d.spoil+", and mended: this", fine, now)
		}

		// What is the same in other words changes nothing.
		s.SSH(e, `iptables -D KAMAL-FW-ALLOW 2; iptables -I KAMAL-FW-ALLOW 3 -m conntrack --ctorigdstport 80 -p tcp -m comment --comment "a word" -j RETURN`)
		w.wantConverged()

		// Another configuration doesn't take it over, the same one does.
		e.wall().fails("has a firewall of this provider already", "import it: the import id is "+s.Address, "nothing was changed")
		e.wall(w.spec.Allow...).set()

		// Docker is stopped, and then without its rules.
		s.SSH(e, "systemctl stop docker.socket docker.service; iptables -F FORWARD; iptables -F DOCKER-USER; iptables -X DOCKER-USER")
		w.wantDrift("Docker stopped", "IPv4: there is no chain DOCKER-USER: Docker does not run")
		s.SSH(e, restartDocker)
		w.set()
	})
}

const flushed = "iptables -F DOCKER-USER"

func TestFirewallWithAThousandRules(t *testing.T) {
	onEngines(t, func(e *engine) {
		e.daemonJSON(withoutProxy)
		w := e.wall()
		const many = 1000
		rules := func(network string) {
			w.spec.Allow = nil
			for i := range many {
				w.spec.Allow = append(w.spec.Allow, firewall.Rule{Port: fmt.Sprint(1000 + i), Sources: []string{fmt.Sprintf("%s.%d", network, i%250)}, Description: fmt.Sprintf("rule %d", i)})
			}
		}
		there := func(network string) string {
			return strings.TrimSpace(e.s.SSH(e, "iptables -S KAMAL-FW-ALLOW | grep -c 'RETURN' ; iptables -S KAMAL-FW-ALLOW | grep -c 's "+network+"'"))
		}
		for _, network := range []string{"192.0.2", "203.0.113"} {
			rules(network)
			begin := time.Now()
			_, err := w.apply()
			e.must(err)
			applied := time.Since(begin)
			if n := there(network); n != "1000\n1000" {
				e.Errorf("rules, and those from %s: %s", network, n)
			}
			begin = time.Now()
			w.wantConverged()
			e.Logf("%d rules from %s: apply %s, plan %s", many, network, applied.Round(time.Millisecond), time.Since(begin).Round(time.Millisecond))
			if applied > 30*time.Second {
				e.Errorf("the apply took %s", applied)
			}
		}
		e.s.SSH(e, "iptables -D KAMAL-FW-ALLOW 500; iptables -I KAMAL-FW-ALLOW -s 198.51.100.1 -j RETURN")
		w.wantDrift("one of a thousand is gone, one is new", "missing: KAMAL-FW-ALLOW -s 203.0.113.", "not ours: KAMAL-FW-ALLOW -s 198.51.100.1/32 -j RETURN")
		e.must(w.remove())
		if w.observe().Present() {
			e.Error("something of it is left")
		}
	})
}
