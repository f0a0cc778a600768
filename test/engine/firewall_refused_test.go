package engine

import (
	"testing"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/firewall"
)

func TestFirewallRefusesWhatCantBe(t *testing.T) {
	onEngines(t, func(e *engine) {
		s := e.s
		const ours = "for p in iptables ip6tables; do for t in filter mangle; do $p-save -t $t | grep KAMAL || :; done; done; ls -d /etc/kamal-firewall /etc/systemd/system/*kamal-firewall* 2>/dev/null || :"
		e.daemonJSON(`{"userland-proxy": false}`) // swarm mode wants no live-restore
		w := e.wall()
		w.spec = firewall.Spec{Interfaces: []string{"eth0", "eth9"}}
		w.failsAt("interfaces", 1, "", "the server has no network interface eth9", "docker0, eth0, lo")

		s.SSH(e, "sysctl -q -w net.ipv6.conf.eth0.disable_ipv6=1")
		w.spec = firewall.Spec{Allow: []firewall.Rule{{Port: "80"}, {Port: "81", Sources: []string{"2001:db8::/32"}}}}
		w.failsAt("allow", 1, "sources", "all sources are IPv6 networks, and the server has no IPv6 address")
		s.SSH(e, "sysctl -q -w net.ipv6.conf.eth0.disable_ipv6=0")

		w.spec = firewall.Spec{}
		s.SSH(e, "docker swarm init >/dev/null")
		w.fails("Docker is in swarm mode there", "docker swarm leave", "nothing was changed")
		s.SSH(e, "docker swarm leave --force >/dev/null")

		// A stand-in, which is called as Debian's is: the real one takes a minute
		// to install, and only this is asked of it.
		s.SSH(e, `printf '#!/bin/sh\n' > /usr/bin/firewall-cmd; chmod +x /usr/bin/firewall-cmd
printf '[Service]\nExecStart=/bin/sleep infinity\n' > /etc/systemd/system/firewalld.service; systemctl daemon-reload; systemctl start firewalld`)
		w.fails("firewalld is active there", "stop and mask firewalld", "nothing was changed")
		s.SSH(e, "systemctl stop firewalld; rm /usr/bin/firewall-cmd /etc/systemd/system/firewalld.service; systemctl daemon-reload")

		if version := e.dockerVersion(); version >= 26 {
			// Without the program nft this Docker would not start with it.
			s.SSH(e, `cp /etc/docker/daemon.json /root; sed -i 's/^{/{"firewall-backend":"nftables",/' /etc/docker/daemon.json`)
			w.fails("Docker writes its rules with nftables there", "nothing was changed")
			s.SSH(e, "mv /root/daemon.json /etc/docker/daemon.json")
		}

		s.SSH(e, "systemctl stop docker.socket docker.service")
		w.fails("Docker does not run there", "kamal_server")
		s.SSH(e, "iptables -F FORWARD; iptables -F DOCKER-USER; iptables -X DOCKER-USER")
		e.daemonJSON(`{"iptables": false}`)
		w.fails("there is no chain DOCKER-USER", "does not manage the packet filter")
		wantSame(e, "what there is of ours after all refusals", "", s.SSH(e, ours))
	})
}

func TestFirewallFailuresLeaveWhatWasThere(t *testing.T) {
	onEngines(t, func(e *engine) {
		s := e.s
		w := e.wall(firewall.Rule{Port: "80"})
		if e.dockerVersion() == 20 {
			e.daemonJSON(fullIPv6)
			w.fails("Docker publishes ports over IPv6 by rules of ip6tables there, but this version makes no chain DOCKER-USER for IPv6", "upgrade Docker", "nothing was changed")
		}
		e.daemonJSON(`{"userland-proxy": false, "live-restore": true, "experimental": false, "ip6tables": false, "ipv6": false}`)
		if e.dockerVersion() == 20 {
			w.fails("and reboot: the rules that Docker made stay until then")
			s.SSH(e, "ip6tables -t nat -F; ip6tables -t nat -X") // as a reboot does
		}
		w.set()
		fine := s.SSH(e, ourRules)

		w.spec.Allow = append(w.spec.Allow, firewall.Rule{Port: "443"})
		// What iptables does not take: no rule and no file changes.
		s.SSH(e, "cd /usr/sbin; mv iptables-nft-restore kept; ln -s /bin/false iptables-nft-restore")
		w.fails("Unable to set up the firewall on "+s.Address, "Step: try the rules", "iptables does not take the rules", "nothing was changed")
		wantSame(e, "what iptables did not take: this", fine, s.SSH(e, ourRules))

		// A removal that can't go on goes on later.
		told := e.wantFailure(w.remove(), "Unable to remove the firewall on "+s.Address, "Step: take the rules out", "another destroy goes on where this one ended")
		if !says(told, "some or all of the rules") {
			e.Error("it does not say what is running")
		}
		wantSame(e, "what could not be removed", fine, s.SSH(e, ourRules))
		s.SSH(e, "cd /usr/sbin; mv -f kept iptables-nft-restore")

		// A file in the way of a directory.
		e.must(w.remove())
		s.SSH(e, "touch /etc/kamal-firewall")
		w.fails("Step: write the files beside their places", "never none", "Another apply goes on where this one ended")
		s.SSH(e, "rm /etc/kamal-firewall")
		w.set()

		// Docker has forgotten its chain, and the unit says so.
		w.spec.Allow = w.spec.Allow[:1]
		s.SSH(e, "iptables -D FORWARD -j DOCKER-USER; iptables -F DOCKER-USER; iptables -X DOCKER-USER")
		w.wantDrift("the chain is gone", "IPv4: there is no chain DOCKER-USER: Docker does not manage the packet filter any more")
		w.fails("there is no chain DOCKER-USER", "let Docker manage its rules, and restart it")
		s.SSH(e, restartDocker)
		w.set()
		e.must(w.remove())
		e.must(w.remove()) // nothing is there to remove
	})
}
