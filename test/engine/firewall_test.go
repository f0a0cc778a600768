package engine

import (
	"fmt"
	"strings"
	"testing"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/firewall"
)

// A try is one connection and what shall come of it.
type try struct {
	what string
	// from: "stranger" or "friend", both outside, "host", or a container.
	from     string
	protocol string
	port     int
	// to: "" is the server; else a container's own address, "outside", or "127.0.0.1".
	to string
	// Who answers: without a firewall, and with it.
	reply
	// before28 is the reply where Docker is older than 28, if that differs: such
	// a Docker takes what comes straight to a container that publishes the port,
	// or to the server's 127.0.0.1 from outside. The first is not closed by these
	// rules: kamal_firewall is about ports of the server.
	before28 *reply
}

// A reply is "" where nobody answers.
type reply struct{ before, after string }

var cases = []try{
	{"published, allowed, host port is not the container's", "stranger", "tcp", 8080, "", reply{"web 80", "web 80"}, nil},
	{"published, not allowed", "stranger", "tcp", 5432, "", reply{"db 5432", ""}, nil},
	{"published, not allowed, even for a friend", "friend", "tcp", 5432, "", reply{"db 5432", ""}, nil},
	{"published on 127.0.0.1, its number allowed", "stranger", "tcp", 6379, "", reply{"", ""}, nil},
	{"the same, sent to 127.0.0.1", "stranger", "tcp", 6379, "127.0.0.1", reply{"", ""}, &reply{"db 6379", ""}},
	{"published on one IP version only", "stranger", "tcp", 7000, "", reply{"web 70", ""}, nil},
	{"allowed for another source", "stranger", "tcp", 9000, "", reply{"web 90", ""}, nil},
	{"allowed for this source", "friend", "tcp", 9000, "", reply{"web 90", "web 90"}, nil},
	{"container port is an allowed host port", "stranger", "tcp", 8081, "", reply{"db 8080", ""}, nil},
	{"UDP, allowed", "stranger", "udp", 5353, "", reply{"db 53", "db 53"}, nil},
	{"UDP, not allowed", "stranger", "udp", 5354, "", reply{"db 53", ""}, nil},
	{"TCP where UDP is allowed", "stranger", "tcp", 5353, "", reply{"db 53", ""}, nil},
	{"first of a range", "stranger", "tcp", 8000, "", reply{"web 80", "web 80"}, nil},
	{"last of a range", "stranger", "tcp", 8001, "", reply{"web 80", "web 80"}, nil},
	{"behind a range", "stranger", "tcp", 8002, "", reply{"web 80", ""}, nil},
	{"proxy, HTTP", "stranger", "tcp", 80, "", reply{"kamal-proxy 80", "kamal-proxy 80"}, nil},
	{"proxy, HTTPS", "stranger", "tcp", 443, "", reply{"kamal-proxy 443", "kamal-proxy 443"}, nil},
	{"straight to a container, published", "stranger", "tcp", 5432, "db", reply{"", ""}, &reply{"db 5432", "db 5432"}},
	{"container to container", "web", "tcp", 5432, "db", reply{"db 5432", "db 5432"}, nil},
	{"container to container, not published", "web", "tcp", 3000, "db", reply{"db 3000", "db 3000"}, nil},
	{"container to outside, port of a closed one", "web", "tcp", 5432, "outside", reply{"outside", "outside"}, nil},
	{"container to outside, port of an open one", "db", "tcp", 8080, "outside", reply{"outside", "outside"}, nil},
	{"the host itself, closed outside", "host", "tcp", 5432, "", reply{"db 5432", "db 5432"}, nil},
	{"container to the host's published port", "web", "tcp", 8081, "", reply{"db 8080", "db 8080"}, nil},
	{"SSH", "stranger", "tcp", 22, "", reply{"SSH", "SSH"}, nil},
}

// caseContainers are those of the cases.
const caseContainers = containerFunction + `
container web '-p 8080:80 -p 0.0.0.0:7000:70 -p 9000:90 -p 8000:80 -p 8001:80 -p 8002:80' 80 70 90
container db '-p 5432:5432 -p 127.0.0.1:6379:6379 -p 8081:8080 -p 5353:53/udp -p 5353:53/tcp -p 5354:53/udp' 5432 6379 8080 53 3000
mkdir -p /srv/proxy; echo '[]' > /srv/proxy/kamal-proxy.state
container kamal-proxy '-p 80:80 -p 443:443 -v /srv/proxy:/home/kamal-proxy/.config/kamal-proxy' 80 443
`

// caseRules are the firewall's.
func (sc *scene) caseRules() []firewall.Rule {
	return []firewall.Rule{
		{Port: "80"},
		{Port: "443", Description: "proxy"},
		{Port: "8080"},
		{Port: "6379"},
		{Port: "9000", Sources: []string{sc.friend.IPv4, sc.friend.IPv6 + "/128"}, Description: "the office"},
		{Port: "5353", Protocol: "udp"},
		{Port: "8000-8001"},
	}
}

func TestFirewallLetsThroughWhatIsAllowedAndNothingElse(t *testing.T) {
	onEngines(t, func(e *engine) {
		sc := e.scene()
		s := e.s
		sc.stranger.serve(e.T, 5432)
		sc.stranger.serve(e.T, 8080)
		ufw := e.start(func() error {
			_, err := s.Run(e.ctx(), `apt-get -qq -o Dir::Etc::sourceparts=- update && DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends ufw >/dev/null 2>&1`)
			return err
		})
		tries := &tries{scene: sc, docker: e.dockerVersion()}
		families := []string{"iptables", "ip6tables"}
		// Docker 20.10 has an IPv6 by rules that can't be filtered.
		if tries.proxied6 = tries.docker == 20; tries.proxied6 {
			families = families[:1]
		} else {
			e.daemonJSON(fullIPv6)
		}
		each := func(command string) {
			for _, f := range families {
				s.SSH(e, f+" "+strings.ReplaceAll(command, "SOMEBODY", map[string]string{"iptables": "192.0.2.1", "ip6tables": "2001:db8::1"}[f]))
			}
		}
		s.SSH(e, caseContainers)
		each("-I DOCKER-USER -s SOMEBODY -j DROP") // another tool's
		tries.check("without a firewall", false)

		w := e.wall(sc.caseRules()...)
		if tries.proxied6 {
			before := e.packetFilter()
			w.fails("Unable to set up the firewall on "+s.Address, "userland proxy passes on what comes in over IPv6", `"userland-proxy": false`, "allow_ipv6_userland_proxy = true", "nothing was changed")
			wantSame(e, "what a refused apply found", before, e.packetFilter())
			e.daemonJSON(withoutProxy)
		}
		w.set()
		if o := w.observe(); fmt.Sprintf("%v %v", o.Guarded(w.spec), o.IPv4.Kind) != "[eth0] nft" {
			e.Errorf("guarded: %v, backend %q", o.Guarded(w.spec), o.IPv4.Kind)
		}
		s.SSH(e, `[ "$(stat -c %a%u /etc/kamal-firewall)" = 7000 ] && [ "$(stat -c %a%u /etc/kamal-firewall/* | sort -u)" = 6000 ]`)
		tries.check("with the firewall", true)

		s.SSH(e, restartDocker)
		tries.check("after a restart of Docker", true)
		w.wantConverged()

		e.must(ufw.wait())
		s.Reboot(e)
		tries.check("after a reboot", true)
		w.wantConverged()
		each("-I DOCKER-USER -s SOMEBODY -j DROP")
		w.wantDrift("a rule before ours", "the jump to KAMAL-FW is not the first rule of DOCKER-USER")
		w.set()
		s.SSH(e, "iptables -S DOCKER-USER | sed -n 2p | grep KAMAL-FW && iptables -S DOCKER-USER | sed -n 3p | grep 192.0.2.1")

		each("-F DOCKER-USER")
		sc.stranger.waitFor(e.T, s.Address, 5432, "db 5432")
		for _, f := range families {
			w.wantDrift("flushed", map[string]string{"iptables": "IPv4", "ip6tables": "IPv6"}[f]+": DOCKER-USER does not jump to KAMAL-FW")
		}
		w.set()
		tries.check("after it was flushed and applied again", true)

		s.SSH(e, "ufw allow 22/tcp && ufw --force enable")
		tries.check("with ufw enabled", true)
		w.wantConverged()
		s.SSH(e, "ufw disable")

		s.SSH(e, containerFunction+"container hand '-p 5555:80' 80")
		sc.wantClosed(sc.stranger, 5555, s.Address)
		tries.check("with a container started by hand", true)
		w.wantConverged()
	})
}
