package acceptance

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/test/testbed"
)

// fullIPv6 has Docker publish over IPv6 as it does over IPv4, by rules; both
// Dockers can, and need to be told.
const fullIPv6 = `mkdir -p /etc/docker
echo '{"userland-proxy": false, "experimental": true, "ip6tables": true, "ipv6": true, "fixed-cidr-v6": "fd00:5::/64"}' > /etc/docker/daemon.json
systemctl restart docker`

const tableFirewall = `
resource "kamal_firewall" "web" {
  server = "{{server 0}}"
  allow = [
    { port = "80" },
    { port = "443", description = "proxy" },
    { port = "8080" },
    { port = "6379" },
    { port = "9000", sources = ["FRIEND4", "FRIEND6/128"], description = "the office" },
    { port = "5353", protocol = "udp" },
    { port = "8000-8001" },
  ]
}
`

// A try is one connection and what shall come of it.
type try struct {
	what string
	// from: "stranger" or "friend", both outside, "host", or a container.
	from     string
	protocol string
	port     int
	// to: "" is the server; else a container or "outside".
	to string
	// answer is who answers, "" for nobody: without a firewall, and with it.
	before, after string
}

var table = []try{
	{"published, allowed, host port is not the container's", "stranger", "tcp", 8080, "", "web", "web"},
	{"published, not allowed", "stranger", "tcp", 5432, "", "db", ""},
	{"published, not allowed, even for a friend", "friend", "tcp", 5432, "", "db", ""},
	{"published on 127.0.0.1, its number allowed", "stranger", "tcp", 6379, "", "", ""},
	{"published on one IP version only", "stranger", "tcp", 7000, "", "one", ""},
	{"allowed for another source", "stranger", "tcp", 9000, "", "office", ""},
	{"allowed for this source", "friend", "tcp", 9000, "", "office", "office"},
	{"container port is an allowed host port", "stranger", "tcp", 8081, "", "other", ""},
	{"UDP, allowed", "stranger", "udp", 5353, "", "dns", "dns"},
	{"UDP, not allowed", "stranger", "udp", 5354, "", "dns", ""},
	{"TCP where UDP is allowed", "stranger", "tcp", 5353, "", "dns", ""},
	{"first of a range", "stranger", "tcp", 8000, "", "range", "range"},
	{"last of a range", "stranger", "tcp", 8001, "", "range", "range"},
	{"behind a range", "stranger", "tcp", 8002, "", "range", ""},
	{"proxy, HTTP", "stranger", "tcp", 80, "", "kamal-proxy", "kamal-proxy"},
	{"proxy, HTTPS", "stranger", "tcp", 443, "", "kamal-proxy", "kamal-proxy"},
	{"container to container", "web", "tcp", 5432, "db", "db", "db"},
	{"container to outside, port of a closed one", "web", "tcp", 5432, "outside", "outside", "outside"},
	{"container to outside, port of an open one", "db", "tcp", 8080, "outside", "outside", "outside"},
	{"the host itself, closed outside", "host", "tcp", 5432, "", "db", "db"},
	{"container to the host's published port", "web", "tcp", 8081, "", "other", "other"},
	{"SSH", "stranger", "tcp", 22, "", "SSH", "SSH"},
}

// tableContainers are those of the table. The container "one" is published on
// the address that its argument names.
const tableContainers = containerFunction + `
container web '-p 8080:80' 80
container db '-p 5432:5432' 5432
container local '-p 127.0.0.1:6379:6379' 6379
container one '-p 0.0.0.0:7000:80' 80
container office '-p 9000:80' 80
container other '-p 8081:8080' 8080
container dns '-p 5353:53/udp -p 5353:53/tcp -p 5354:53/udp' 53
container range '-p 8000:80 -p 8001:80 -p 8002:80' 80
mkdir -p /srv/proxy; echo '[]' > /srv/proxy/kamal-proxy.state
container kamal-proxy '-p 80:80 -p 443:443 -v /srv/proxy:/home/kamal-proxy/.config/kamal-proxy' 80 443
`

// A scene is a server with containers and people around it.
type scene struct {
	t                *testing.T
	server           *testbed.Server
	friend, stranger *outsider
	// proxied6: containers have no IPv6; what gets to them over it comes by Docker's userland proxy.
	proxied6 bool
}

func newScene(t *testing.T, kind testbed.Kind) *scene {
	t.Helper()
	b := bed(t)
	s := b.Server(t, kind)
	if s.Address6 == "" {
		t.Fatalf("the testbed %s has no IPv6: make it anew where the kernel has it", b.Name)
	}
	sc := &scene{t: t, server: s, friend: newOutsider(t, b, s), stranger: newOutsider(t, b, s)}
	toOutside(t, s)
	installNamer(t, s)
	return sc
}

// observed is who answers a try over IP version v.
func (sc *scene) observed(tr try, v int, bound time.Duration) string {
	address, outside, inspect := sc.server.Address, sc.stranger.IPv4, "{{.NetworkSettings.IPAddress}}"
	if v == 6 {
		address, outside, inspect = sc.server.Address6, sc.stranger.IPv6, "{{.NetworkSettings.GlobalIPv6Address}}"
	}
	switch tr.to {
	case "":
	case "outside":
		address = outside
	default:
		address = strings.TrimSpace(sc.server.SSH(sc.t, "docker inspect --format '"+inspect+"' "+tr.to))
	}
	switch tr.from {
	case "stranger", "friend":
		o := sc.stranger
		if tr.from == "friend" {
			o = sc.friend
		}
		answer := o.ask(tr.protocol, net.JoinHostPort(address, fmt.Sprint(tr.port)), bound)
		if strings.HasPrefix(answer, "SSH-") {
			return "SSH"
		}
		return answer
	case "host":
		return strings.TrimSpace(sc.server.SSH(sc.t, fmt.Sprintf("perl /srv/ask.pl %s %d || :", address, tr.port)))
	}
	return strings.TrimSpace(sc.server.SSH(sc.t, fmt.Sprintf("docker exec %s perl /srv/ask.pl %s %d || :", tr.from, address, tr.port)))
}

// check tries the whole table over both IP versions and prints what was
// expected beside what was seen. What shall answer may take its time: a
// container has to start. What shall not is asked once, for long enough.
func (sc *scene) check(when string, guarded bool) {
	sc.t.Helper()
	type row struct {
		try
		v         int
		want, got string
	}
	var rows []row
	for _, v := range []int{4, 6} {
		for _, tr := range table {
			want := tr.before
			if guarded {
				want = tr.after
			}
			switch {
			case v == 4:
			case tr.port == 7000: // published on 0.0.0.0
				want = ""
			case sc.proxied6 && slices.Contains([]string{"web", "db"}, tr.from):
				continue
			case sc.proxied6 && guarded && tr.to == "" && tr.port != 22:
				want = "" // the userland proxy is off
			}
			rows = append(rows, row{try: tr, v: v, want: want})
		}
	}
	var wg sync.WaitGroup
	for i := range rows {
		r := &rows[i]
		wg.Go(func() {
			bound := patient
			if r.want == "" {
				bound = time.Second
			}
			for end := time.Now().Add(time.Minute); ; {
				if r.got = sc.observed(r.try, r.v, bound); r.got == r.want || r.want == "" || time.Now().After(end) {
					return
				}
			}
		})
	}
	wg.Wait()
	var text strings.Builder
	bad := 0
	for _, r := range rows {
		mark := ""
		if r.got != r.want {
			mark = "  <-- WRONG"
			bad++
		}
		fmt.Fprintf(&text, "  IPv%d  %-55s %-9s %s/%-5d expected %-12q observed %-12q%s\n", r.v, r.what, r.from, r.protocol, r.port, r.want, r.got, mark)
	}
	sc.t.Logf("%s, %s:\n%s", sc.server.Kind, when, text.String())
	if bad > 0 {
		sc.t.Errorf("%s, %s: %d of %d wrong", sc.server.Kind, when, bad, len(rows))
	}
}

// saved is the packet filter without counters and comments, and without empty
// tables, which the start of the unit before Docker may leave.
func (sc *scene) saved() string {
	sc.t.Helper()
	return sc.server.SSH(sc.t, `for p in iptables ip6tables; do for t in filter nat; do $p-save -t $t | sed -e '/^#/d' -e 's/ \[.*//'; done; $p-save -t mangle | grep '^-A' || :; done`)
}

func TestFirewallLetsThroughWhatIsAllowedAndNothingElse(t *testing.T) {
	aboutServers(t)
	for _, kind := range []testbed.Kind{testbed.Debian12, testbed.Debian13} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			sc := newScene(t, kind)
			s := sc.server
			sc.stranger.serve(t, 5432)
			sc.stranger.serve(t, 8080)
			families := []string{"iptables", "ip6tables"}
			if sc.proxied6 = kind == testbed.Debian12; sc.proxied6 {
				families = families[:1]
			} else {
				s.SSH(t, fullIPv6)
			}
			each := func(command string) {
				for _, f := range families {
					s.SSH(t, f+" "+strings.ReplaceAll(command, "SOMEBODY", map[string]string{"iptables": "192.0.2.1", "ip6tables": "2001:db8::1"}[f]))
				}
			}
			s.SSH(t, tableContainers)
			each("-I DOCKER-USER -s SOMEBODY -j DROP") // another tool's
			sc.check("without a firewall", false)

			w := newWorkspace(t, s)
			w.Write("main.tf", strings.NewReplacer("FRIEND4", sc.friend.IPv4, "FRIEND6", sc.friend.IPv6).Replace(tableFirewall))
			const web = "kamal_firewall.web"
			if sc.proxied6 {
				before := sc.saved()
				w.ApplyFails("Unable to set up the firewall on "+s.Address, "userland proxy passes on what comes in over IPv6", `"userland-proxy": false`, "allow_ipv6_userland_proxy = true", "nothing was changed")
				if after := sc.saved(); after != before {
					t.Errorf("a refused apply changed the rules:\n%s", after)
				}
				s.SSH(t, `echo '{"userland-proxy": false, "live-restore": true}' > /etc/docker/daemon.json; systemctl restart docker`)
			}
			w.Apply()
			if state := w.State(web); fmt.Sprintf("%v %v %v", state["guarded_interfaces"], state["backend"], state["drift"]) != "[eth0] nft []" {
				t.Errorf("state: %v", state)
			}
			s.SSH(t, `[ "$(stat -c %a%u /etc/kamal-firewall)" = 7000 ] && [ "$(stat -c %a%u /etc/kamal-firewall/* | sort -u)" = 6000 ]`)
			sc.check("with the firewall", true)

			s.SSH(t, "systemctl restart docker")
			sc.check("after a restart of Docker", true)
			w.PlanEmpty()

			s.Reboot(t)
			sc.check("after a reboot", true)
			w.PlanEmpty()
			each("-I DOCKER-USER -s SOMEBODY -j DROP")
			if p := w.Plan(); p.Actions(web) != "update" || !says(p.Text, "the jump to KAMAL-FW is not the first rule of DOCKER-USER") {
				t.Errorf("a rule before ours:\n%s", p.Text)
			}
			w.Apply()
			s.SSH(t, "iptables -S DOCKER-USER | sed -n 2p | grep KAMAL-FW && iptables -S DOCKER-USER | sed -n 3p | grep 192.0.2.1")

			each("-F DOCKER-USER")
			sc.stranger.waitFor(t, s.Address, 5432, "db")
			p := w.Plan()
			drift := fmt.Sprint(p.Before(web, "drift"))
			if p.Actions(web) != "update" || !slices.Equal(p.Changed(web), []string{"drift"}) ||
				!strings.Contains(drift, "IPv4: DOCKER-USER does not jump to KAMAL-FW") || !sc.proxied6 && !strings.Contains(drift, "IPv6: DOCKER-USER does not jump to KAMAL-FW") {
				t.Errorf("flushed:\n%s", p.Text)
			}
			w.Apply()
			sc.check("after it was flushed and applied again", true)

			s.SSH(t, "apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends ufw >/dev/null 2>&1; ufw allow 22/tcp && ufw --force enable")
			sc.check("with ufw enabled", true)
			w.PlanEmpty()
			s.SSH(t, "ufw disable")

			s.SSH(t, containerFunction+"container hand '-p 5555:80' 80")
			if got := sc.stranger.ask("tcp", net.JoinHostPort(s.Address, "5555"), time.Second); got != "" {
				t.Errorf("a container started by hand is open: %q", got)
			}
			sc.check("with a container started by hand", true)
			w.PlanEmpty()
			s.SSH(t, "docker rm -f hand")
		})
	}
}

func TestFirewallIsRemovedWithoutATrace(t *testing.T) {
	aboutServers(t)
	for _, backend := range []string{"nft", "legacy"} {
		t.Run(backend, func(t *testing.T) {
			t.Parallel()
			sc := newScene(t, testbed.Debian13)
			s := sc.server
			if backend == "legacy" {
				s.SSH(t, "for p in iptables ip6tables; do update-alternatives --set $p /usr/sbin/$p-legacy; done; systemctl disable docker")
				s.Reboot(t) // the rules that Docker made with nft go
				s.SSH(t, "systemctl enable docker")
			}
			s.SSH(t, fullIPv6)
			s.SSH(t, containerFunction+"container open '-p 80:80' 80; container closed '-p 5432:80' 80")
			s.SSH(t, "iptables -I DOCKER-USER -s 192.0.2.1 -j DROP; ip6tables -A DOCKER-USER -s 2001:db8::1 -m comment --comment 'someone else' -j DROP; iptables -t mangle -A FORWARD -s 192.0.2.2 -j DROP")
			before := sc.saved()
			w := newWorkspace(t, s)
			w.Write("main.tf", `resource "kamal_firewall" "web" {
  server = "{{server 0}}"
  allow  = [{ port = "80" }, { port = "9000", sources = ["2001:db8::/32", "192.0.2.0/24"] }]
}`)
			w.Apply()
			if got := w.State("kamal_firewall.web")["backend"]; got != backend {
				t.Errorf("backend %v", got)
			}
			if with := sc.saved(); with == before || !strings.Contains(with, "--ctorigdstport 9000") {
				t.Errorf("nothing changed:\n%s", with)
			}
			for _, address := range []string{s.Address, s.Address6} {
				sc.stranger.waitFor(t, address, 80, "open")
				if got := sc.stranger.ask("tcp", net.JoinHostPort(address, "5432"), time.Second); got != "" {
					t.Errorf("port 5432 of %s: %q", address, got)
				}
			}
			w.Destroy()
			if after := sc.saved(); after != before {
				t.Errorf("left behind:\n%s\n\nthere was before:\n%s", after, before)
			}
			s.SSH(t, "! ls -d /etc/kamal-firewall /etc/systemd/system/*kamal-firewall* /etc/systemd/system/*/*kamal-firewall* /run/kamal-firewall* 2>/dev/null; ! systemctl list-units --all --no-legend | grep kamal-firewall")
		})
	}
}
