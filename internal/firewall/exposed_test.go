package firewall

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
)

// containers is docker inspect's answer for containers of which only names and ports matter.
func containers(t *testing.T, list ...string) []docker.Container {
	t.Helper()
	var out []string
	for _, c := range list {
		name, ports, _ := strings.Cut(c, " ")
		out = append(out, fmt.Sprintf(`{"Name": "/%s", "State": {"Running": true}, "NetworkSettings": {"Ports": {%s}, "Networks": {"kamal": {"IPAddress": "172.18.0.2"}}}}`, name, ports))
	}
	cs, err := docker.ParseContainers([]byte("[" + strings.Join(out, ",") + "]"))
	if err != nil {
		t.Fatal(err)
	}
	return cs
}

// dockerRules is what a Docker without a firewall shows.
const dockerRules = "interfaces\tlo eth0 eth1 docker0 br-0\nroute4\tdefault via 192.0.2.1 dev eth0\naddr6\t2: eth0 inet6 2001:db8::5/64 scope global\nkind4\tnft\nkind6\t\n" +
	"rule4\t:FORWARD\nrule4\t:DOCKER-USER\nrule4\t-A FORWARD -j DOCKER-USER\nrule4\t-A FORWARD -o docker0 -j DOCKER\nrule4\t-A DOCKER-USER -j RETURN\n"

// ours is the same with our rules loaded.
func ours(s Spec) string {
	out := strings.Replace(dockerRules, "rule4\t-A DOCKER-USER -j RETURN\n", "rule4\t-A DOCKER-USER -m comment --comment kamal-firewall -j KAMAL-FW\nrule4\t-A DOCKER-USER -j RETURN\n", 1)
	for _, r := range wanted(4, s, []string{"eth0"}) {
		out += "rule4\t" + r.String() + "\n"
	}
	return out
}

func TestWhoReachesWhat(t *testing.T) {
	t.Parallel()
	list := []string{
		`db "5432/tcp": [{"HostIp": "0.0.0.0", "HostPort": "5432"}, {"HostIp": "::", "HostPort": "5432"}]`,
		`cache "6379/tcp": [{"HostIp": "127.0.0.1", "HostPort": "6379"}]`,
		`kamal-proxy "80/tcp": [{"HostIp": "", "HostPort": "80"}], "90/tcp": null`,
	}
	spec := Spec{Allow: []Rule{{Port: "80", Protocol: "tcp"}, {Port: "5000-6000", Protocol: "tcp", Sources: []string{"10.0.0.0/8", "2001:db8::/32"}}}}
	const listens = "proxy\t/usr/bin/docker-proxy -proto tcp -host-ip :: -host-port 5432 -container-ip 172.18.0.2 -container-port 5432 \n"
	for name, tt := range map[string]struct {
		rules string
		want  []string // reach of 80, 5432 over IPv4, 5432 over IPv6, 6379
		open  int
	}{
		"nothing but Docker":    {dockerRules + listens, []string{"anywhere nothing filters", "anywhere nothing filters", "anywhere Docker's userland proxy", "server published on 127.0.0.1 only"}, 2},
		"ufw":                   {dockerRules + listens + "ufw\tactive\n", []string{"anywhere whatever it says of this port does not count", "anywhere does not count", "unknown ufw is enabled and does filter this", "server"}, 1},
		"ours":                  {ours(spec), []string{"anywhere kamal_firewall allows it", "sources[10.0.0.0/8] eth1 is not filtered", "nobody userland proxy is off", "server"}, 0},
		"ours, nothing allowed": {ours(Spec{}), []string{"nobody kamal_firewall closes it", "nobody kamal_firewall closes it", "nobody", "server"}, 0},
		"ours, flushed":         {strings.Replace(ours(spec), "rule4\t-A DOCKER-USER -m comment --comment kamal-firewall -j KAMAL-FW\n", "", 1), []string{"anywhere not in force", "anywhere not in force", "nobody", "server"}, 1},
		"ours, its DROP gone":   {strings.Replace(ours(Spec{}), "rule4\t-A KAMAL-FW-ALLOW -j DROP\n", "", 1), []string{"anywhere lack the DROP", "anywhere lack the DROP", "nobody", "server"}, 1},
		"ours, a rule added":    {strings.Replace(ours(spec), "rule4\t-A KAMAL-FW-ALLOW -p tcp", "rule4\t-A KAMAL-FW-ALLOW -m limit --limit 5/min -j RETURN\nrule4\t-A KAMAL-FW-ALLOW -p tcp", 1), []string{"unknown limit", "unknown limit", "nobody", "server"}, 0},
		"another tool's":        {strings.Replace(dockerRules, "-A DOCKER-USER -j RETURN", "-A DOCKER-USER -i eth0 -j ufw-user-forward", 1), []string{"unknown ufw-user-forward", "unknown ufw-user-forward", "nobody", "server"}, 0},
		"without IPv6":          {strings.Replace(dockerRules, "addr6", "nothing", 1) + listens, []string{"anywhere", "anywhere", "nobody the server has no IPv6 address", "server"}, 1},
	} {
		snap := &fleet.Snapshot{Firewall: tt.rules, Containers: containers(t, list...)}
		e, err := Expose(snap)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if len(e.Ports) != 4 {
			t.Errorf("%s: %+v", name, e.Ports)
			continue
		}
		for i, p := range e.Ports {
			got := string(p.Reach)
			if len(p.Sources) > 0 {
				got += fmt.Sprint(p.Sources)
			}
			reach, why, _ := strings.Cut(tt.want[i], " ")
			if got != reach || !strings.Contains(p.Why, why) {
				t.Errorf("%s: %s port %d over IPv%d: %s (%s), want %s (%s)", name, p.Container, p.Port, p.V(), got, p.Why, reach, why)
			}
		}
		if open := e.Open(); len(open) != tt.open {
			t.Errorf("%s: open %+v, want %d", name, open, tt.open)
		}
	}
	// A port that is not published yet.
	port := Published{Address: netip.IPv4Unspecified(), Port: 5432, Protocol: "tcp"}
	for rules, want := range map[string]Reach{dockerRules: Anywhere, ours(Spec{}): Nobody, ours(Spec{Allow: []Rule{{Port: "5432", Sources: []string{"192.0.2.1"}}}}): Sources} {
		if got, why, err := Foresee(&fleet.Snapshot{Firewall: rules}, port); err != nil || got != want || ByRule(why) != (want == Sources) {
			t.Errorf("foreseen: %s, %s, %v, want %s", got, why, err, want)
		}
	}
	if _, _, err := Foresee(&fleet.Snapshot{Firewall: "denied\tdeploy\n"}, port); err == nil {
		t.Error("foreseen without root")
	}
	if _, err := Expose(&fleet.Snapshot{Firewall: "denied\tdeploy\n"}); err == nil || !strings.Contains(err.Error(), "deploy is not root") {
		t.Errorf("without root: %v", err)
	}
}

func TestPreflight(t *testing.T) {
	t.Parallel()
	off := fleet.Docker{Running: true, DaemonJSON: `{"userland-proxy": false}`}
	type change func(*fleet.Snapshot)
	rules := func(more string) change { return func(s *fleet.Snapshot) { s.Firewall += more } }
	for name, tt := range map[string]struct {
		spec   Spec
		change change
		says   string
	}{
		"fine":                       {Spec{}, rules(""), ""},
		"not root":                   {Spec{}, rules("denied\tdeploy\n"), "deploy is not root"},
		"no systemd":                 {Spec{}, func(s *fleet.Snapshot) { s.Facts.Systemd = false }, "systemd does not run"},
		"no Docker":                  {Spec{}, func(s *fleet.Snapshot) { s.Docker.Running = false }, "Docker does not run"},
		"nftables, in the file":      {Spec{}, func(s *fleet.Snapshot) { s.Docker.DaemonJSON = `{"firewall-backend": "nftables"}` }, "nftables"},
		"nftables, as a flag":        {Spec{}, func(s *fleet.Snapshot) { s.Docker.Command = []string{"dockerd", "--firewall-backend", "nftables"} }, "nftables"},
		"swarm":                      {Spec{}, func(s *fleet.Snapshot) { s.Docker.Swarm = true }, "swarm"},
		"firewalld":                  {Spec{}, rules("firewalld\tactive\n"), "firewalld"},
		"no DOCKER-USER":             {Spec{}, rules("kind4\t\n"), "no chain DOCKER-USER"},
		"unknown interface":          {Spec{Interfaces: []string{"eth0", "eth9"}}, rules(""), "no network interface eth9"},
		"no default route":           {Spec{}, func(s *fleet.Snapshot) { s.Firewall = strings.Replace(s.Firewall, "route4", "no", 1) }, "no default route"},
		"no default route, named":    {Spec{Interfaces: []string{"eth0"}}, func(s *fleet.Snapshot) { s.Firewall = strings.Replace(s.Firewall, "route4", "no", 1) }, ""},
		"userland proxy on":          {Spec{}, func(s *fleet.Snapshot) { s.Docker.DaemonJSON = "" }, "userland proxy passes on"},
		"userland proxy on, allowed": {Spec{AllowIPv6Proxy: true}, func(s *fleet.Snapshot) { s.Docker.DaemonJSON = "" }, ""},
		"userland proxy off by flag": {Spec{}, func(s *fleet.Snapshot) {
			s.Docker.DaemonJSON, s.Docker.Command = "", []string{"dockerd", "--userland-proxy=false"}
		}, ""},
		"userland proxy still runs":   {Spec{}, rules("proxy\tdocker-proxy -proto tcp -host-ip :: -host-port 5432\n"), "still runs, for port 5432"},
		"userland proxy on 127.0.0.1": {Spec{}, rules("proxy\tdocker-proxy -proto tcp -host-ip ::1 -host-port 5432\n"), ""},
		"userland proxy on, without IPv6": {Spec{}, func(s *fleet.Snapshot) {
			s.Docker.DaemonJSON, s.Firewall = "", strings.Replace(s.Firewall, "addr6", "no", 1)
		}, ""},
		"IPv6 by rules, no chain": {Spec{AllowIPv6Proxy: true}, rules("unguarded6\tnat\n"), "no chain DOCKER-USER for IPv6"},
		"only IPv6 sources, without IPv6": {Spec{Allow: []Rule{{Port: "80", Protocol: "tcp", Sources: []string{"2001:db8::/32"}}}},
			func(s *fleet.Snapshot) { s.Firewall = strings.Replace(s.Firewall, "addr6", "no", 1) }, "nobody could use the rule"},
		"IPv6 and IPv4 sources, without IPv6": {Spec{Allow: []Rule{{Port: "80", Protocol: "tcp", Sources: []string{"2001:db8::/32", "10.0.0.0/8"}}}},
			func(s *fleet.Snapshot) { s.Firewall = strings.Replace(s.Firewall, "addr6", "no", 1) }, ""},
	} {
		snap := &fleet.Snapshot{Firewall: dockerRules, Docker: off, Facts: fleet.Facts{Systemd: true}}
		tt.change(snap)
		o, err := Observe(snap)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		err = preflight(tt.spec, o, snap)
		if (err == nil) != (tt.says == "") || err != nil && !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v, want %q", name, err, tt.says)
		}
	}
}

func TestWhetherForwardAsksDockerUser(t *testing.T) {
	t.Parallel()
	const user = "-A FORWARD -j DOCKER-USER"
	for _, tt := range []struct {
		rules []string
		want  bool
	}{
		{[]string{user, "-A FORWARD -o docker0 -j DOCKER"}, true},
		{[]string{"-A FORWARD -j DOCKER-ISOLATION-STAGE-1", user, "-A FORWARD -o docker0 -j DOCKER"}, true}, // live-restore
		{[]string{"-A FORWARD -j ufw-before-forward", user}, true},
		{[]string{"-A FORWARD -o docker0 -j DOCKER", user}, false},
		{[]string{"-A FORWARD -j DOCKER-FORWARD", user}, false},
		{[]string{"-A FORWARD -i eth0 -j ACCEPT", user}, false},
		{[]string{"-A FORWARD -i wg0 -j DOCKER-USER", "-A FORWARD -o docker0 -j DOCKER"}, false},
		{nil, false},
	} {
		f := &Family{}
		for _, line := range tt.rules {
			f.add(line)
		}
		if got := f.throughDockerUser(); got != tt.want {
			t.Errorf("%q: %t", tt.rules, got)
		}
	}
}

func TestDefaultRoutesOfAllKinds(t *testing.T) {
	t.Parallel()
	o, err := Observe(&fleet.Snapshot{Firewall: "route4\tdefault via 192.0.2.1 dev eth0 proto dhcp src 192.0.2.5 metric 100 \nroute4\tdefault proto static \n" +
		"route4\t\tnexthop via 192.0.2.1 dev eth1 weight 1 \nroute4\tdefault dev wg0 table 51820 scope link \nroute6\tdefault via fe80::1 dev eth0 proto ra metric 1024\nroute6\tunreachable default dev lo metric 4294967295\n"})
	if err != nil || !slices.Equal(o.External, []string{"eth0", "eth1", "wg0"}) {
		t.Errorf("%q, %v", o.External, err)
	}
}
