package engine

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/firewall"
)

// webAndDB publish one port that the firewall opens, and one that it closes.
const webAndDB = containerFunction + "container web '-p 8080:80' 80; container db '-p 5432:5432' 5432"

func TestFirewallHasNoMomentInWhichAClosedPortIsOpen(t *testing.T) {
	onEngines(t, func(e *engine) {
		sc := e.scene()
		s := e.s
		e.daemonJSON(fullIPv6)
		s.SSH(e, webAndDB)
		sc.countArrivals(80, 5432)

		// What is open already when the port is closed stays open: so it is documented.
		sc.stranger.waitFor(e.T, s.Address, 5432, "db 5432")
		sc.stranger.waitFor(e.T, s.Address6, 5432, "db 5432")
		open, err := sc.stranger.dial("tcp", net.JoinHostPort(s.Address, "5432"), patient)
		if err != nil {
			e.Fatal(err)
		}
		defer open.Close()
		// Knocks must be able to get through an open port, and be counted.
		before := map[int]int{}
		for v, address := range map[int]string{4: s.Address, 6: s.Address6} {
			k, already := sc.stranger.knock(address, 5432), sc.arrived(v, 5432)
			eventually(e, time.Minute, "knocks get through an open port at "+address, func() bool { return sc.arrived(v, 5432) >= already+10 })
			k.end(e)
		}
		speak(e, open, "db 5432", "before the firewall")

		web := firewall.Rule{Port: "8080"}
		w := e.wall(web)
		w.set()
		speak(e, open, "db 5432", "a connection from before the rule")
		for _, v := range []int{4, 6} {
			before[v] = sc.arrived(v, 5432)
		}

		ssh, err := sc.stranger.dial("tcp", net.JoinHostPort(s.Address, "22"), patient)
		if err != nil {
			e.Fatal(err)
		}
		defer ssh.Close()
		webBefore := sc.arrived(4, 80)
		closed4, closed6, knocked := sc.stranger.knock(s.Address, 5432), sc.stranger.knock(s.Address6, 5432), sc.friend.knock(s.Address, 8080)
		// More often, and they would be what the server is busy with.
		allowed, login := sc.stranger.watch(s.Address, 8080, 250*time.Millisecond), sc.stranger.watch(s.Address, 22, 500*time.Millisecond)
		begin := time.Now()
		for i := range 4 {
			sources := []string{fmt.Sprintf("203.0.113.%d", i+1)}
			if i%2 == 0 {
				sources = []string{sc.friend.IPv4, sc.friend.IPv6}
			}
			w.spec.Allow = []firewall.Rule{web, {Port: "5432", Sources: sources}}
			_, err := w.apply()
			e.must(err)
			s.SSH(e, fmt.Sprintf("mkdir -p /root/rules/%d && cp /etc/kamal-firewall/rules.v[46] /root/rules/%[1]d/", i%2))
		}
		// The rest of fifty changes without the looks at the server, which are most of
		// an apply: the same files, loaded as an apply loads them.
		s.SSH(e, `for v in 4 6; do if cmp -s /root/rules/0/rules.v$v /root/rules/1/rules.v$v; then echo "nothing changes"; exit 1; fi; done
for i in $(seq 23); do for d in 0 1; do cp /root/rules/$d/* /etc/kamal-firewall/; sh /etc/kamal-firewall/load late; done; done; rm -r /root/rules`)
		took := time.Since(begin)
		for _, k := range []*knocker{closed4, closed6, knocked} {
			k.end(e)
			if few := int(took / knockEvery / 4); k.sent < few {
				e.Errorf("only %d knocks in %s", k.sent, took)
			}
		}
		allowed.end()
		login.end()
		got4, got6, gotWeb := sc.arrived(4, 5432)-before[4], sc.arrived(6, 5432)-before[6], sc.arrived(4, 80)-webBefore
		e.Logf("%s: closed: %d of %d knocks got through over IPv4, %d of %d over IPv6; allowed: %d of %d, and %d answers, %d lost; SSH: %d answers, %d lost",
			took.Round(time.Millisecond), got4, closed4.sent, got6, closed6.sent, gotWeb, knocked.sent, allowed.answered, allowed.not, login.answered, login.not)
		if got4+got6 > 0 {
			e.Errorf("a closed port was open for a moment: %d times over IPv4, %d over IPv6", got4, got6)
		}
		// The questions of the watch get through as well.
		if want := knocked.sent + allowed.answered; gotWeb < want {
			e.Errorf("an allowed port was closed for a moment: %d of %d got through", gotWeb, want)
		}
		if allowed.not > 0 || allowed.answered == 0 {
			e.Errorf("an allowed port: %d answers, %d lost", allowed.answered, allowed.not)
		}
		if login.not > 0 || login.answered == 0 {
			e.Errorf("SSH: %d answers, %d lost", login.answered, login.not)
		}
		if line, err := bufio.NewReader(ssh).ReadString('\n'); err != nil || !strings.HasPrefix(line, "SSH-") {
			e.Errorf("the SSH connection did not live on: %q, %v", line, err)
		}
	})
}

func TestFirewallGuardsFromBeforeDockerStarts(t *testing.T) {
	onEngines(t, func(e *engine) {
		sc := e.scene()
		s := e.s
		e.daemonJSON(withoutProxy)
		s.SSH(e, webAndDB)
		w := e.wall(firewall.Rule{Port: "8080"})
		w.set()
		sc.countArrivals(80, 5432)
		// Without the unit before Docker, the ports would be open for this long.
		s.SSH(e, `mkdir /etc/systemd/system/kamal-firewall.service.d
			printf '[Service]\nExecStartPre=/bin/sleep 3\n' > /etc/systemd/system/kamal-firewall.service.d/slow.conf; systemctl daemon-reload`)
		e.Cleanup(func() {
			s.SSH(e, "rm -r /etc/systemd/system/kamal-firewall.service.d; systemctl daemon-reload")
		})
		for name, restart := range map[string]func(){
			"reboot":            func() { s.Reboot(e) },
			"restart of Docker": func() { s.SSH(e, restartDocker) },
		} {
			before, webBefore := sc.arrived(4, 5432), sc.arrived(4, 80)
			closed, allowed := sc.stranger.knock(s.Address, 5432), sc.stranger.knock(s.Address, 8080)
			restart()
			sc.stranger.waitFor(e.T, s.Address, 8080, "web 80")
			// Allowed ones get there, so others would have, too.
			soon := sc.arrived(4, 80)
			eventually(e, time.Minute, "knocks at the allowed port get through", func() bool { return sc.arrived(4, 80) >= soon+10 })
			closed.end(e)
			allowed.end(e)
			got := sc.arrived(4, 5432) - before
			e.Logf("%s: %d of %d knocks at a closed port got through, %d of %d at an allowed one", name, got, closed.sent, sc.arrived(4, 80)-webBefore, allowed.sent)
			if got > 0 {
				e.Errorf("%s: the closed port was reached %d times", name, got)
			}
			s.SSH(e, "systemctl start kamal-firewall.service") // waits until it is through
			w.wantConverged()
		}
	})
}
