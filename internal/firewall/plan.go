package firewall

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
)

// A PreflightError says that a server can't be guarded. Nothing was changed.
type PreflightError struct {
	// Why says what is in the way, Next what to do.
	Why, Next string
}

func (e *PreflightError) Error() string { return e.Why }

// preflight finds what would make the firewall useless, and what no step can
// mend: an *InvalidError or a *PreflightError.
func preflight(s Spec, o *Observed, snap *fleet.Snapshot) error {
	refuse := func(why, next string) error { return &PreflightError{Why: why, Next: next} }
	daemon := readDaemon(snap.Docker)
	switch {
	case o.Denied != "":
		return refuse(fmt.Sprintf("the SSH user %s is not root and can't use sudo: the packet filter is root's.", o.Denied),
			"let the user run sudo without a password, give sudo_password in the provider's ssh block, or log in as root.")
	case !snap.Facts.Systemd:
		return refuse("systemd does not run there: nothing would bring the rules back after a reboot.", "use a server with systemd, as Debian and Ubuntu are.")
	case !snap.Docker.Running:
		return refuse("Docker does not run there, and its chain DOCKER-USER, where the rules belong, is made when it starts.",
			"start Docker: kamal_server does. Let the firewall depend on it: server = kamal_server.web.server.")
	case daemon.FirewallBackend == "nftables":
		return refuse("Docker writes its rules with nftables there, and then no packet passes DOCKER-USER: rules in it would have no effect.",
			`take "firewall-backend" out of /etc/docker/daemon.json and restart Docker; or filter with nftables tables of your own, without kamal_firewall.`)
	case snap.Docker.Swarm:
		return refuse("Docker is in swarm mode there. Ports of swarm services come in through an ingress network past these rules.",
			"leave the swarm (docker swarm leave), or filter in front of the server.")
	case o.Firewalld:
		return refuse("firewalld is active there. It rewrites the packet filter whenever it is reloaded, and the rules would be gone without a word.",
			"use firewalld's own means (the zone docker), or stop and mask firewalld.")
	case o.IPv4.Kind == "":
		return refuse("there is no chain DOCKER-USER: Docker runs, but does not manage the packet filter (\"iptables\": false in its configuration, a rootless Docker, or no iptables).",
			"let Docker manage its rules, and restart it.")
	}
	for i, name := range s.Interfaces {
		if !slices.Contains(o.Interfaces, name) {
			return &InvalidError{Attribute: "interfaces", Index: i, Source: -1,
				Why: fmt.Sprintf("the server has no network interface %s. It has: %s", name, strings.Join(o.Interfaces, ", "))}
		}
	}
	guarded := o.Guarded(s)
	if len(guarded) == 0 {
		return refuse("the server has no default route, so it can't be told which of its interfaces face the outside: "+strings.Join(o.Interfaces, ", ")+".",
			"name them in interfaces.")
	}
	if !o.hasIPv6(o.Interfaces) {
		for i, r := range s.Allow {
			if sources, everybody := r.family(4); !everybody && len(sources) == 0 {
				return &InvalidError{Attribute: "allow", Index: i, Key: "sources", Source: -1,
					Why: "all sources are IPv6 networks, and the server has no IPv6 address: nobody could use the rule"}
			}
		}
	}
	if why, next := ipv6Hole(s, o, daemon); why != "" {
		return refuse(why, next)
	}
	return nil
}

// ipv6Hole tells why IPv6 gets past the rules, "" where it does not, or where
// that is accepted. Docker's userland proxy listens on [::] for every port
// that is published without an address. It is a process of the host, so what
// it takes is neither forwarded nor seen by DOCKER-USER.
//
// Docker 20.10 with its experimental ip6tables is another way past: it leads
// IPv6 to containers by rules, without asking a chain DOCKER-USER.
func ipv6Hole(s Spec, o *Observed, d daemon) (why, next string) {
	if !o.hasIPv6(o.Guarded(s)) {
		return "", ""
	}
	if o.IPv6.unguarded {
		return "Docker publishes ports over IPv6 by rules of ip6tables there, but this version makes no chain DOCKER-USER for IPv6, where they could be filtered.",
			`upgrade Docker, or take "ip6tables" out of /etc/docker/daemon.json and reboot: the rules that Docker made stay until then.`
	}
	if s.AllowIPv6Proxy {
		return "", ""
	}
	const how = "the server has IPv6 addresses, and Docker's userland proxy passes on what comes in over IPv6 to published ports. It is a process of the host, past every rule for containers: " +
		"all ports that are published without an address would stay open over IPv6."
	if d.UserlandProxy == nil || *d.UserlandProxy {
		return how, `put "userland-proxy": false into /etc/docker/daemon.json and restart Docker. With "live-restore": true the containers run on, else they are restarted. ` +
			"Where kamal_server installs Docker that is done already. Or set allow_ipv6_userland_proxy = true, if something in front of the server filters IPv6."
	}
	for _, p := range o.Proxies {
		if p.Address.Is6() && !p.Address.IsLoopback() {
			return how + fmt.Sprintf(" It is turned off in Docker's configuration, but still runs, for port %d among others.", p.Port),
				"restart Docker (systemctl restart docker), or set allow_ipv6_userland_proxy = true."
		}
	}
	return "", ""
}

// daemon is what matters here of dockerd's configuration.
type daemon struct {
	UserlandProxy   *bool  `json:"userland-proxy"`
	FirewallBackend string `json:"firewall-backend"`
}

// readDaemon reads daemon.json and the command line. A file that makes no
// sense says nothing: dockerd would not start with it.
func readDaemon(d fleet.Docker) daemon {
	var out daemon
	_ = json.Unmarshal([]byte(d.DaemonJSON), &out) // see above
	for i, argument := range d.Command {
		name, value, given := strings.Cut(strings.TrimLeft(argument, "-"), "=")
		switch name {
		case "userland-proxy":
			on := !given || value == "true" || value == "1"
			out.UserlandProxy = &on
		case "firewall-backend":
			if !given && i+1 < len(d.Command) {
				value = d.Command[i+1]
			}
			out.FirewallBackend = value
		}
	}
	return out
}

// Drift says in sentences how what is there differs from what is wanted. It is
// empty where all is well.
func Drift(s Spec, snap *fleet.Snapshot) ([]string, error) {
	o, err := Observe(snap)
	if err != nil {
		return nil, err
	}
	return drift(s, o, snap), nil
}

func drift(s Spec, o *Observed, snap *fleet.Snapshot) []string {
	guarded := o.Guarded(s)
	var out []string
	if o.IPv4.Kind == "" {
		out = append(out, "IPv4: there is no chain DOCKER-USER: "+withoutDockerUser(snap))
	}
	for v, f := range map[int]*Family{4: &o.IPv4, 6: &o.IPv6} {
		for _, sentence := range f.drift(wanted(v, s, guarded)) {
			out = append(out, fmt.Sprintf("IPv%d: %s", v, sentence))
		}
	}
	slices.Sort(out)
	for _, f := range files(s, guarded) {
		is, ok := o.files[f.path]
		switch {
		case !ok:
			out = append(out, f.path+" is gone")
		case is.sum != f.sum():
			out = append(out, f.path+" was changed")
		case is.mode != f.mode || is.owner != "0":
			out = append(out, fmt.Sprintf("%s is not root's with mode %s: mode %s, owner %s", f.path, f.mode, is.mode, is.owner))
		}
	}
	if d, ok := o.files[fleet.FirewallDir]; ok && (d.mode != "700" || d.owner != "0") {
		out = append(out, fmt.Sprintf("%s is not root's with mode 700: mode %s, owner %s", fleet.FirewallDir, d.mode, d.owner))
	}
	for _, name := range []string{fleet.FirewallUnit, fleet.FirewallEarlyUnit} {
		if _, there := o.files[fleet.FirewallUnitDir+"/"+name]; there && !o.enabled[name] {
			out = append(out, name+" is not enabled: the rules would be gone after a reboot")
		}
		if o.failed[name] {
			out = append(out, name+" failed")
		}
	}
	if why, _ := ipv6Hole(s, o, readDaemon(snap.Docker)); why != "" {
		out = append(out, "IPv6 gets past the rules: "+why)
	}
	return out
}

func withoutDockerUser(snap *fleet.Snapshot) string {
	if !snap.Docker.Running {
		return "Docker does not run"
	}
	return "Docker does not manage the packet filter any more"
}

func (f *Family) drift(want []rule) (out []string) {
	if f.Kind == "" {
		return nil
	}
	if f.stale != "" {
		out = append(out, fmt.Sprintf("our chains are among the %s rules too, which Docker does not use", f.stale))
	}
	if !f.throughDockerUser() {
		out = append(out, "FORWARD does not jump to DOCKER-USER before Docker's own rules: nothing is filtered")
	}
	switch at := f.jumps(); {
	case len(at) == 0:
		out = append(out, "DOCKER-USER does not jump to "+gate+": nothing is filtered")
	case at[0] != 0:
		out = append(out, "the jump to "+gate+" is not the first rule of DOCKER-USER: other rules decide before it")
	case len(at) > 1:
		out = append(out, "DOCKER-USER jumps to "+gate+" more than once")
	}
	for _, chain := range []string{gate, allow} {
		is, there := f.chains[chain]
		in := func(r rule) bool { return r.chain != chain }
		if !there {
			out = append(out, "the chain "+chain+" is gone")
		} else if said := compare(slices.DeleteFunc(slices.Clone(want), in), is); said != "" {
			out = append(out, fmt.Sprintf("the chain %s was changed (%s)", chain, said))
		}
	}
	return out
}
