package acceptance

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/test/testbed"
)

func TestFirewallTellsDriftAndMendsIt(t *testing.T) {
	aboutServers(t)
	t.Parallel()
	s := bed(t).Server(t, testbed.Debian12)
	s.SSH(t, withoutProxy)
	w := newWorkspace(t, s)
	w.Write("main.tf", `resource "kamal_firewall" "web" {
  server = "{{server 0}}"
  allow  = [{ port = "80" }, { port = "5432", sources = ["192.0.2.0/24"] }]
}`)
	const web = "kamal_firewall.web"
	w.Apply()
	if n, calls := w.Handshakes(s.Address), w.RemoteCalls(s.Address); n != 1 || len(calls) != 2 {
		t.Errorf("%d handshakes, calls %q; want one and two", n, calls)
	}
	fine := s.SSH(t, "iptables -S FORWARD; iptables -S DOCKER-USER; iptables -S KAMAL-FW; iptables -S KAMAL-FW-ALLOW; cat /etc/kamal-firewall/*")
	for _, d := range []struct{ spoil, says string }{
		{"iptables -D DOCKER-USER -m comment --comment kamal-firewall -j KAMAL-FW", "IPv4: DOCKER-USER does not jump to KAMAL-FW: nothing is filtered"},
		{"iptables -D DOCKER-USER 1; iptables -F KAMAL-FW; iptables -X KAMAL-FW", "IPv4: the chain KAMAL-FW is gone"},
		{"iptables -I KAMAL-FW-ALLOW -s 203.0.113.1 -j RETURN", "not ours: KAMAL-FW-ALLOW -s 203.0.113.1/32 -j RETURN"},
		{"iptables -D KAMAL-FW-ALLOW 2", "missing: KAMAL-FW-ALLOW -p tcp -m conntrack --ctorigdstport 80 -j RETURN"},
		{"iptables -D KAMAL-FW-ALLOW -j DROP", "missing: KAMAL-FW-ALLOW -j DROP"},
		{"iptables -D FORWARD -j DOCKER-USER; iptables -A FORWARD -j DOCKER-USER", "FORWARD does not jump to DOCKER-USER before Docker's own rules"},
		{"iptables -F DOCKER-USER", "DOCKER-USER does not jump to KAMAL-FW"},
		{"systemctl disable --quiet kamal-firewall.service", "kamal-firewall.service is not enabled"},
		{"systemctl disable --quiet kamal-firewall-early.service", "kamal-firewall-early.service is not enabled"},
		{"echo >> /etc/kamal-firewall/rules.v4", "/etc/kamal-firewall/rules.v4 was changed"},
		{"rm /etc/kamal-firewall/load", "/etc/kamal-firewall/load is gone"},
		{"chmod 644 /etc/kamal-firewall/spec.json", "/etc/kamal-firewall/spec.json is not root's with mode 600"},
		{"chmod 755 /etc/kamal-firewall", "/etc/kamal-firewall is not root's with mode 700"},
		{"rm /etc/systemd/system/kamal-firewall.service; systemctl daemon-reload", "/etc/systemd/system/kamal-firewall.service is gone"},
	} {
		s.SSH(t, d.spoil)
		p := w.Plan()
		if drift := fmt.Sprint(p.Before(web, "drift")); p.Actions(web) != "update" || !slices.Equal(p.Changed(web), []string{"drift"}) || !strings.Contains(drift, d.says) {
			t.Errorf("%s: %s, drift %s; want %q in it", d.spoil, p.Actions(web), drift, d.says)
		}
		w.CLI("apply", p.File)
		if now := s.SSH(t, "iptables -S FORWARD; iptables -S DOCKER-USER; iptables -S KAMAL-FW; iptables -S KAMAL-FW-ALLOW; cat /etc/kamal-firewall/*"); d.spoil != "iptables -F DOCKER-USER" && now != fine {
			t.Errorf("%s: not mended:\n%s\nwas\n%s", d.spoil, now, fine)
		}
		fine = s.SSH(t, "iptables -S FORWARD; iptables -S DOCKER-USER; iptables -S KAMAL-FW; iptables -S KAMAL-FW-ALLOW; cat /etc/kamal-firewall/*")
	}
	w.PlanEmpty()

	// What is the same in other words changes nothing.
	s.SSH(t, `iptables -D KAMAL-FW-ALLOW 2; iptables -I KAMAL-FW-ALLOW 3 -m conntrack --ctorigdstport 80 -p tcp -m comment --comment "a word" -j RETURN`)
	w.PlanEmpty()

	// Another configuration doesn't take it over, the same one does.
	w.CLI("state", "rm", web)
	w.Write("main.tf", "resource \"kamal_firewall\" \"web\" {\n  server = \"{{server 0}}\"\n}\n")
	w.ApplyFails("has a firewall of this provider already", "import it: the import id is "+s.Address, "nothing was changed")
}

func TestFirewallIsImported(t *testing.T) {
	t.Parallel()
	s := bed(t).Server(t, testbed.Debian13)
	s.SSH(t, withoutProxy)
	w := newWorkspace(t, s)
	const web = "kamal_firewall.web"
	w.Write("main.tf", `resource "kamal_firewall" "web" {
  server     = "{{server 0}}"
  interfaces = ["eth0"]
  allow = [
    { port = "80-90", description = "the \"web\", für alle" },
    { port = "5432", protocol = "udp", sources = ["2001:db8::/32", "192.0.2.1"] },
  ]
}`)
	w.ImportFails(web, s.Address, "there is none of this provider")
	w.Apply()
	w.CLI("state", "rm", web)
	w.Import(web, s.Address)
	w.PlanEmpty()
	// With everything gone by hand it is made anew.
	s.SSH(t, "sh /etc/kamal-firewall/load remove; rm -r /etc/kamal-firewall /etc/systemd/system/kamal-firewall*")
	if p := w.Plan(); p.Actions(web) != "create" {
		t.Errorf("all gone: %s", p.Text)
	}
	w.Apply()
	w.Destroy()
}

func TestFirewallRefusesWhatCantBe(t *testing.T) {
	aboutServers(t)
	t.Parallel()
	s := bed(t).Server(t, testbed.Debian13)
	s.SSH(t, withoutProxy+"; apt-get -qq update >/dev/null")
	w := newWorkspace(t, s)
	before := s.SSH(t, "iptables-save -t filter | grep -v '^[#:]'")
	with := func(body string) {
		w.Write("main.tf", "resource \"kamal_firewall\" \"web\" {\n  server = \"{{server 0}}\"\n"+body+"\n}\n")
	}
	for _, bad := range []struct {
		body string
		says []string
	}{
		{`allow = [{ port = "80" }, { port = "0" }]`, []string{`"0" is no port`, "Invalid allow[1].port"}},
		{`allow = [{ port = "8100-8000" }]`, []string{"Invalid allow[0].port", "is reversed: write 8000-8100"}},
		{`allow = [{ port = "80", sources = ["10.0.0.0/33"] }]`, []string{"Invalid allow[0].sources[0]", `"10.0.0.0/33" is no network`}},
		{`allow = [{ port = "80", sources = ["10.0.0.1/8"] }]`, []string{"write 10.0.0.0/8"}},
		{`allow = [{ port = "80", protocol = "icmp" }]`, []string{`"tcp" "udp"`}},
		{`allow = [{ port = "80" }, { port = "80-80" }]`, []string{"Invalid allow[1]", "allow[0] says the same already"}},
		{`allow = []`, []string{"at least 1"}},
		{`interfaces = ["eth+"]`, []string{`"eth+" is no name of a network interface`}},
	} {
		with(bad.body)
		w.PlanFails(bad.says...)
	}
	with(`interfaces = ["eth0", "eth9"]`)
	w.ApplyFails("the server has no network interface eth9", "Invalid interfaces[1]", "docker0, eth0, lo")
	s.SSH(t, "sysctl -q -w net.ipv6.conf.eth0.disable_ipv6=1")
	with(`allow = [{ port = "80" }, { port = "81", sources = ["2001:db8::/32"] }]`)
	w.ApplyFails("all sources are IPv6 networks, and the server has no IPv6 address")
	s.SSH(t, "sysctl -q -w net.ipv6.conf.eth0.disable_ipv6=0")
	s.SSH(t, "docker swarm init >/dev/null 2>&1 || { sed -i 's/, \"live-restore\": true//' /etc/docker/daemon.json; systemctl restart docker; docker swarm init >/dev/null; }")
	with("")
	w.ApplyFails("Docker is in swarm mode there", "docker swarm leave", "nothing was changed")
	s.SSH(t, "docker swarm leave --force >/dev/null")
	s.SSH(t, "DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends firewalld >/dev/null 2>&1; systemctl start firewalld; firewall-cmd --state")
	w.ApplyFails("firewalld is active there", "stop and mask firewalld", "nothing was changed")
	s.SSH(t, "systemctl disable --now --quiet firewalld; systemctl reset-failed docker; systemctl restart docker")
	s.SSH(t, "systemctl stop docker.socket docker")
	w.ApplyFails("Docker does not run there", "kamal_server")
	s.SSH(t, `echo '{"iptables": false}' > /etc/docker/daemon.json; iptables -F FORWARD; iptables -F DOCKER-USER; iptables -X DOCKER-USER; systemctl reset-failed docker; systemctl start docker`)
	w.ApplyFails("there is no chain DOCKER-USER", "does not manage the packet filter")
	if after := s.SSH(t, "iptables-save | grep KAMAL || :; ls -d /etc/kamal* 2>/dev/null || :"); after != "" {
		t.Errorf("something was changed: %s\n%s", after, before)
	}
}

func TestFirewallWithAThousandRules(t *testing.T) {
	aboutServers(t)
	t.Parallel()
	s := bed(t).Server(t, testbed.Debian13)
	s.SSH(t, withoutProxy)
	w := newWorkspace(t, s)
	w.Write("main.tf", `resource "kamal_firewall" "web" {
  server = "{{server 0}}"
  allow  = [for i in flatten([for a in range(5) : [for b in range(200) : a * 200 + b]]) : { port = tostring(1000 + i), sources = ["192.0.2.${i % 250}"], description = "rule ${i}" }]
}`)
	begin := time.Now()
	w.Apply(NoEmptyPlanCheck) // timed apart, below
	applied := time.Since(begin)
	if n := strings.TrimSpace(s.SSH(t, "iptables -S KAMAL-FW-ALLOW | grep -c RETURN")); n != "1000" {
		t.Errorf("%s rules", n)
	}
	begin = time.Now()
	w.PlanEmpty()
	t.Logf("1,000 rules: apply %s, plan %s", applied.Round(time.Second), time.Since(begin).Round(time.Second))
	// Most of it is the CLI's and the framework's own time, which grows with the
	// square of the rules: 5,000 take half a minute.
	if applied > time.Minute {
		t.Errorf("the apply took %s", applied)
	}
	w.Destroy()
}
