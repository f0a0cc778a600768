package acceptance

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// withoutProxy turns the userland proxy off; containers run on.
const withoutProxy = `mkdir -p /etc/docker; echo '{"userland-proxy": false, "live-restore": true}' > /etc/docker/daemon.json; systemctl restart docker`

func TestFirewallIsImported(t *testing.T) {
	t.Parallel()
	s := bed(t).Warm(t, newest)
	s.SSH(t, withoutProxy)
	w := newWorkspace(t, s)
	const web = "kamal_firewall.web"
	const config = `resource "kamal_firewall" "web" {
  server     = "{{server 0}}"
  interfaces = ["eth0"]
  allow = [
    { port = "80-90", description = "the \"web\", für alle" },
    { port = "5432", protocol = "udp", sources = ["2001:db8::/32", "192.0.2.1"] },
  ]
}`
	w.Write("main.tf", strings.Replace(config, `"eth0"`, `"eth0", "eth9"`, 1))
	w.ApplyFails("Invalid interfaces[1]", "the server has no network interface eth9")
	w.Write("main.tf", config)
	w.ImportFails(web, s.Address, "there is none of this provider")
	w.Apply()
	if state := w.State(web); fmt.Sprintf("%v %v %v", state["guarded_interfaces"], state["backend"], state["drift"]) != "[eth0] nft []" {
		t.Errorf("state: %v", state)
	}
	w.CLI("state", "rm", web)
	w.Import(web, s.Address)
	w.PlanEmpty()

	s.SSH(t, "iptables -F DOCKER-USER")
	p := w.Plan()
	if drift := fmt.Sprint(p.Before(web, "drift")); p.Actions(web) != "update" || !slices.Equal(p.Changed(web), []string{"drift"}) || !strings.Contains(drift, "IPv4: DOCKER-USER does not jump to KAMAL-FW") {
		t.Errorf("flushed:\n%s", p.Text)
	}
	w.Apply()
	// With everything gone by hand it is made anew.
	s.SSH(t, "sh /etc/kamal-firewall/load remove; rm -r /etc/kamal-firewall /etc/systemd/system/kamal-firewall*")
	if p := w.Plan(); p.Actions(web) != "create" {
		t.Errorf("all gone: %s", p.Text)
	}
	w.Apply()
	w.Destroy()
}

// What can't be on any server is told by the plan, with its place. There is no server.
func TestFirewallConfigurationsThatCantBe(t *testing.T) {
	aboutServers(t)
	t.Parallel()
	w := newWorkspace(t)
	var all strings.Builder
	var says []string
	for i, bad := range []struct {
		body string
		says []string
	}{
		{`allow = [{ port = "80" }, { port = "0" }]`, []string{`"0" is no port`, "Invalid allow[1].port"}},
		{`allow = [{ port = "8100-8000" }]`, []string{"Invalid allow[0].port", "is reversed: write 8000-8100"}},
		{`allow = [{ port = "80", sources = ["10.0.0.0/33"] }]`, []string{"Invalid allow[0].sources[0]", `"10.0.0.0/33" is no network`}},
		{`allow = [{ port = "80", sources = ["10.0.0.1/8"] }]`, []string{"write 10.0.0.0/8"}},
		{`allow = [{ port = "80", protocol = "icmp" }]`, []string{`"tcp" "udp"`}},
		{`allow = [{ port = "80" }, { port = "80-80" }]`, []string{"Invalid allow[1]", "allow[0] says the same already"}},
		{`allow = [{ port = "80", sources = [] }]`, []string{"allow[0].sources is empty", "take the rule out for nowhere"}},
		{`interfaces = ["eth+"]`, []string{`"eth+" is no name of a network interface`}},
	} {
		fmt.Fprintf(&all, "resource \"kamal_firewall\" \"bad%d\" {\n  server = \"192.0.2.1\"\n  %s\n}\n", i, bad.body)
		says = append(says, bad.says...)
	}
	w.Write("main.tf", all.String())
	w.PlanFails(says...)

	// Of a plan of many rules most is the CLI's and the framework's own time,
	// which grows with the square of the rules.
	w.Write("main.tf", `resource "kamal_firewall" "web" {
  server = "192.0.2.1"
  allow  = [for i in range(1000) : { port = tostring(1000 + i), sources = ["192.0.2.${i % 250}"], description = "rule ${i}" }]
}`)
	begin := time.Now()
	if p := w.Plan(); p.Actions("kamal_firewall.web") != "create" {
		t.Errorf("a thousand rules: %s", p.Text)
	}
	if took := time.Since(begin); took > time.Minute {
		t.Errorf("the plan of a thousand rules took %s", took)
	}
}
