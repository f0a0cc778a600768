package firewall

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
)

// Reach says who gets to a published port.
type Reach string

// The values of Reach.
const (
	Anywhere Reach = "anywhere"
	Sources  Reach = "sources" // some networks only
	Server   Reach = "server"  // the server itself only
	Nobody   Reach = "nobody"
	Unknown  Reach = "unknown" // something filters that we don't read
)

// An Exposure is a published port with who can reach it from outside.
type Exposure struct {
	Published
	Reach   Reach
	Sources []string
	Why     string
}

// An Exposed is what a server shows to the outside.
type Exposed struct {
	Ports []Exposure
	// Firewall: kamal_firewall is in force for IPv4. UFW is enabled.
	Firewall, UFW bool
}

// Open are the ports that anybody reaches though no rule says so, other than kamal-proxy's.
func (e *Exposed) Open() (out []Exposure) {
	for _, p := range e.Ports {
		if p.Reach == Anywhere && p.Container != "kamal-proxy" && !ByRule(p.Why) {
			out = append(out, p)
		}
	}
	return out
}

// byRule begins every reason that is a rule of kamal_firewall.
const byRule = "kamal_firewall allows it"

// Expose finds out who can reach what the running containers publish, by the
// rules that are in force, whoever made them.
func Expose(snap *fleet.Snapshot) (*Exposed, error) {
	o, err := Observe(snap)
	if err == nil {
		err = o.Denial()
	}
	if err != nil {
		return nil, err
	}
	e := &Exposed{Firewall: o.IPv4.inForce(), UFW: o.UFW}
	daemon := readDaemon(snap.Docker)
	for _, p := range PublishedPorts(snap) {
		one := Exposure{Published: p}
		one.Reach, one.Sources, one.Why = o.reach(p, daemon)
		e.Ports = append(e.Ports, one)
	}
	return e, nil
}

// Foresee says who would reach a port over IPv4 if it were published now, by
// the rules that are in force. Its errors are those of Expose.
func Foresee(snap *fleet.Snapshot, p Published) (Reach, string, error) {
	o, err := Observe(snap)
	if err == nil {
		err = o.Denial()
	}
	if err != nil {
		return "", "", err
	}
	reach, _, why := o.reach(p, readDaemon(snap.Docker))
	return reach, why, nil
}

// ByRule says whether a reason of Expose is a rule of kamal_firewall that opens the port.
func ByRule(why string) bool { return strings.HasPrefix(why, byRule) }

// Denial is the error where the SSH user may not see the rules, nil where he may.
func (o *Observed) Denial() error {
	if o.Denied == "" {
		return nil
	}
	return fmt.Errorf("the SSH user %s is not root and can't use sudo: the packet filter is root's", o.Denied)
}

// V is the IP version of a published port.
func (p Published) V() int {
	if p.Address.Is4() {
		return 4
	}
	return 6
}

func (o *Observed) reach(p Published, d daemon) (Reach, []string, string) {
	if p.Address.IsLoopback() {
		return Server, nil, fmt.Sprintf("published on %s only", p.Address)
	}
	f := &o.IPv4
	if p.V() == 6 {
		if f = &o.IPv6; !o.hasIPv6(o.Interfaces) {
			return Nobody, nil, "the server has no IPv6 address"
		}
		if !p.inside || f.Kind == "" && !f.unguarded {
			return o.throughProxy(p)
		}
	}
	if d.FirewallBackend == "nftables" {
		return Unknown, nil, "Docker filters with nftables there, which is not read"
	}
	if f.inForce() {
		return o.byOurRules(p, f)
	}
	foreign := f.foreign()
	switch {
	case f.Kind != "" && f.throughDockerUser() && len(foreign) > 0:
		return Unknown, nil, fmt.Sprintf("rules of others in DOCKER-USER may filter it: %s", strings.TrimPrefix(foreign[0].String()+foreign[0].other, "-A "))
	case len(f.jumps()) > 0 || len(f.ours()) > 0:
		return Anywhere, nil, "kamal_firewall is there, but its rules are not in force: see its drift" + o.misled()
	}
	return Anywhere, nil, "nothing filters what Docker publishes" + o.misled()
}

// misled says what UFW's own view is worth here.
func (o *Observed) misled() string {
	if !o.UFW {
		return ""
	}
	return ". ufw is enabled, and whatever it says of this port does not count: it filters what is addressed to the server itself, and Docker forwards this to a container before"
}

// throughProxy is for IPv6 to a container that has none: only the userland proxy gets there.
func (o *Observed) throughProxy(p Published) (Reach, []string, string) {
	if !slices.ContainsFunc(o.Proxies, func(l Proxied) bool {
		return l.Address.Is6() && l.Port == p.Port && l.Protocol == p.Protocol
	}) {
		return Nobody, nil, "the container has no IPv6 address, and Docker's userland proxy is off"
	}
	if o.UFW {
		return Unknown, nil, "Docker's userland proxy takes it over IPv6, past every rule for containers; ufw is enabled and does filter this: see ufw status"
	}
	return Anywhere, nil, "Docker's userland proxy takes it over IPv6, past every rule for containers"
}

// inForce says whether packets to published ports pass our chains first.
func (f *Family) inForce() bool {
	at := f.jumps()
	return f.Kind != "" && f.throughDockerUser() && len(at) > 0 && at[0] == 0 && len(f.guarded()) > 0
}

// guarded are the interfaces that the chain in force sends to the allow rules.
func (f *Family) guarded() (names []string) {
	for _, r := range f.chains[gate] {
		if r == (rule{chain: gate, in: r.in, states: "DNAT", dir: "ORIGINAL", target: allow}) {
			names = append(names, r.in)
		}
	}
	return names
}

// foreign are the rules in DOCKER-USER that are not ours and decide anything.
func (f *Family) foreign() (out []rule) {
	for _, r := range f.chains["DOCKER-USER"] {
		if r.target != gate && r != (rule{chain: "DOCKER-USER", target: "RETURN"}) {
			out = append(out, r)
		}
	}
	return out
}

// byOurRules follows the rules in the order of the chain as it is.
func (o *Observed) byOurRules(p Published, f *Family) (Reach, []string, string) {
	var sources []string
	var reach Reach
rules:
	for _, r := range f.chains[allow] {
		switch {
		case r.other != "" || r.in != "" || r.states != "" || r.dir != "":
			return Unknown, nil, "a rule in " + allow + " is not ours: " + strings.TrimPrefix(r.String()+r.other, "-A ")
		case r.origDst != "" || r.protocol != "" && r.protocol != p.Protocol || !r.has(p.Port):
		case r.target == "RETURN" && r.source == "":
			reach = Anywhere
			break rules
		case r.target == "RETURN":
			sources = append(sources, r.source)
		case r.target == "DROP" && r.source == "":
			if reach = Nobody; len(sources) > 0 {
				reach = Sources
			}
			break rules
		default:
			return Unknown, nil, "a rule in " + allow + " is not ours: " + strings.TrimPrefix(r.String(), "-A ")
		}
	}
	more := ""
	if len(f.foreign()) > 0 && reach != Nobody {
		more = "; rules of others in DOCKER-USER may close it further"
	}
	if others := o.unguarded(f.guarded()); len(others) > 0 {
		more += "; what comes in over " + strings.Join(others, ", ") + " is not filtered"
	}
	switch reach {
	case "":
		return Anywhere, nil, "kamal_firewall is there, but its rules lack the DROP at their end: see its drift" + o.misled()
	case Nobody:
		return reach, nil, "kamal_firewall closes it" + more
	case Sources:
		return reach, sources, byRule + " for these networks" + more
	}
	return Anywhere, nil, byRule + more
}

// has says whether the rule is about a port.
func (r rule) has(port uint16) bool {
	if r.origPort == "" {
		return true
	}
	ports, err := ParsePorts(strings.Replace(r.origPort, ":", "-", 1))
	return err == nil && ports.Has(port)
}

// unguarded are the server's interfaces that are neither guarded nor Docker's own.
func (o *Observed) unguarded(guarded []string) (out []string) {
	for _, name := range o.Interfaces {
		if name != "lo" && name != "docker0" && name != "docker_gwbridge" && !strings.HasPrefix(name, "br-") && !slices.Contains(guarded, name) {
			out = append(out, name)
		}
	}
	return out
}
