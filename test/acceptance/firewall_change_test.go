package acceptance

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/test/testbed"
)

const oneRule = `
resource "kamal_firewall" "web" {
  server = "{{server 0}}"
  allow  = [{ port = "8080" }]
}
`

// withoutProxy turns the userland proxy off; containers run on.
const withoutProxy = `mkdir -p /etc/docker; echo '{"userland-proxy": false, "live-restore": true}' > /etc/docker/daemon.json; systemctl restart docker`

func TestFirewallHasNoMomentInWhichAClosedPortIsOpen(t *testing.T) {
	aboutServers(t)
	t.Parallel()
	sc := newScene(t, testbed.Debian13)
	s := sc.server
	s.SSH(t, fullIPv6)
	s.SSH(t, containerFunction+"container web '-p 8080:80' 80; container db '-p 5432:5432' 5432")

	// What is open already when the port is closed stays open: so it is documented.
	sc.stranger.waitFor(t, s.Address, 5432, "db")
	sc.stranger.waitFor(t, s.Address6, 5432, "db")
	open, err := sc.stranger.dial("tcp", net.JoinHostPort(s.Address, "5432"), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	// The watch must be able to see an open port. A process answers each try, so
	// they come more slowly than on a port that is closed.
	for _, address := range []string{s.Address, s.Address6} {
		eventually(t, time.Minute, "the watch reaches an open port at "+address, func() bool {
			seen := sc.stranger.watch(address, 5432, 20*time.Millisecond)
			time.Sleep(time.Second)
			seen.end(t)
			return seen.reached >= 10
		})
	}
	if got := askOn(open, 5*time.Second); got != "db" {
		t.Fatalf("before: %q", got)
	}

	w := newWorkspace(t, s)
	w.Write("main.tf", oneRule)
	w.Apply()
	if got := askOn(open, 5*time.Second); got != "db" {
		t.Errorf("a connection from before the rule was cut: %q", got)
	}

	ssh, err := sc.stranger.dial("tcp", net.JoinHostPort(s.Address, "22"), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer ssh.Close()
	closed4, closed6 := sc.stranger.watch(s.Address, 5432, time.Millisecond), sc.stranger.watch(s.Address6, 5432, time.Millisecond)
	// More often, and they would be what the server is busy with.
	allowed, login := sc.stranger.watch(s.Address, 8080, 250*time.Millisecond), sc.stranger.watch(s.Address, 22, 500*time.Millisecond)
	begin := time.Now()
	for i := range 10 {
		sources := fmt.Sprintf("203.0.113.%d", i+1)
		if i%2 == 0 {
			sources = sc.friend.IPv4 + `", "` + sc.friend.IPv6
		}
		w.Write("main.tf", strings.Replace(oneRule, "]", `, { port = "5432", sources = ["`+sources+`"] }]`, 1))
		w.must(w.run("apply", "-auto-approve", "-no-color", "-refresh=false"))
		s.SSH(t, fmt.Sprintf("mkdir -p /root/rules/%d && cp /etc/kamal-firewall/rules.v[46] /root/rules/%[1]d/", i%2))
	}
	// The rest of the fifty without the CLI and the looks at the server, which are
	// most of an apply: the same files, loaded as an apply loads them.
	s.SSH(t, `for v in 4 6; do if cmp -s /root/rules/0/rules.v$v /root/rules/1/rules.v$v; then echo "nothing changes"; exit 1; fi; done
for i in $(seq 20); do for d in 0 1; do cp /root/rules/$d/* /etc/kamal-firewall/; sh /etc/kamal-firewall/load late; done; done`)
	took := time.Since(begin)
	for name, watched := range map[string]*watch{"closed, IPv4": closed4, "closed, IPv6": closed6, "allowed": allowed, "SSH": login} {
		watched.end(t)
		t.Logf("%s: %d tries in %s, %d reached, %d lost", name, watched.tried, took.Round(time.Second), watched.reached, watched.lost)
	}
	if few := int(took.Milliseconds()) / 10; closed4.tried < few || closed6.tried < few {
		t.Errorf("only %d and %d tries in %s", closed4.tried, closed6.tried, took)
	}
	if closed4.reached+closed6.reached > 0 {
		t.Errorf("a closed port was open for a moment: %d times over IPv4, %d over IPv6", closed4.reached, closed6.reached)
	}
	if allowed.lost > 0 || allowed.reached == 0 {
		t.Errorf("an allowed port: %d reached, %d lost", allowed.reached, allowed.lost)
	}
	if login.lost > 0 || login.reached == 0 {
		t.Errorf("SSH: %d reached, %d lost", login.reached, login.lost)
	}
	if line, err := bufio.NewReader(ssh).ReadString('\n'); err != nil || !strings.HasPrefix(line, "SSH-") {
		t.Errorf("the SSH connection did not live on: %q, %v", line, err)
	}
}

func TestFirewallGuardsFromBeforeDockerStarts(t *testing.T) {
	aboutServers(t)
	for _, kind := range []testbed.Kind{testbed.Debian12, testbed.Debian13} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			sc := newScene(t, kind)
			s := sc.server
			s.SSH(t, withoutProxy)
			s.SSH(t, containerFunction+"container web '-p 8080:80' 80; container db '-p 5432:5432' 5432")
			w := newWorkspace(t, s)
			w.Write("main.tf", oneRule)
			w.Apply()
			// Without the unit before Docker, the ports would be open for this long.
			s.SSH(t, `mkdir /etc/systemd/system/kamal-firewall.service.d
				printf '[Service]\nExecStartPre=/bin/sleep 3\n' > /etc/systemd/system/kamal-firewall.service.d/slow.conf; systemctl daemon-reload`)
			for name, restart := range map[string]func(){
				"reboot":            func() { s.Reboot(t) },
				"restart of Docker": func() { s.SSH(t, "systemctl restart docker") },
			} {
				closed, allowed := sc.stranger.watch(s.Address, 5432, time.Millisecond), sc.stranger.watch(s.Address, 8080, 250*time.Millisecond)
				restart()
				sc.stranger.waitFor(t, s.Address, 8080, "web")
				allowed.sees(t) // so the other would have seen its port, too
				closed.end(t)
				allowed.end(t)
				t.Logf("%s, %s: closed %d of %d, allowed %d of %d", kind, name, closed.reached, closed.tried, allowed.reached, allowed.tried)
				if closed.reached > 0 {
					t.Errorf("%s: the closed port was reached %d times", name, closed.reached)
				}
				s.SSH(t, "systemctl start kamal-firewall.service") // waits until it is through
				w.PlanEmpty()
			}
		})
	}
}
