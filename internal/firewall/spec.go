// Package firewall closes the ports that Docker publishes on a server, except
// those that are allowed: in chains of its own behind DOCKER-USER, because what
// Docker publishes never passes the chain INPUT that other firewalls filter.
package firewall

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// A Spec is what the firewall of a server shall let through.
type Spec struct {
	Allow []Rule `json:"allow,omitempty"`
	// Interfaces are those that are guarded; none: those of the default routes.
	Interfaces []string `json:"interfaces,omitempty"`
	// AllowIPv6Proxy accepts that Docker's userland proxy lets IPv6 past the rules.
	AllowIPv6Proxy bool `json:"allow_ipv6_userland_proxy,omitempty"`
}

// A Rule lets somebody reach a published port of the host, or a range of them.
type Rule struct {
	Port        string   `json:"port"`               // "80", "8000-8100"
	Protocol    string   `json:"protocol,omitempty"` // tcp, udp; "" is tcp
	Sources     []string `json:"sources,omitempty"`
	Description string   `json:"description,omitempty"`
}

// protocol is the rule's protocol, never "".
func (r Rule) protocol() string {
	if r.Protocol == "" {
		return "tcp"
	}
	return r.Protocol
}

// Ports are the first and the last port of a range.
type Ports struct{ First, Last uint16 }

// ParsePorts reads "80" or "8000-8100".
func ParsePorts(s string) (Ports, error) {
	first, last, isRange := strings.Cut(s, "-")
	if !isRange {
		last = first
	}
	a, err := parsePort(first)
	if err != nil {
		return Ports{}, err
	}
	b, err := parsePort(last)
	if err != nil {
		return Ports{}, err
	}
	if a > b {
		return Ports{}, fmt.Errorf("the range %s is reversed: write %d-%d", s, b, a)
	}
	return Ports{a, b}, nil
}

func parsePort(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 || strconv.FormatUint(n, 10) != s {
		return 0, fmt.Errorf("%q is no port: ports are 1 to 65535, a range is written as in 8000-8100", s)
	}
	return uint16(n), nil
}

// Has says whether a port is in the range.
func (p Ports) Has(port uint16) bool { return p.First <= port && port <= p.Last }

// String is the range as iptables writes it: "80", "8000:8100".
func (p Ports) String() string {
	if p.First == p.Last {
		return strconv.Itoa(int(p.First))
	}
	return fmt.Sprintf("%d:%d", p.First, p.Last)
}

// ParseSource reads an address or a network, IPv4 or IPv6.
func ParseSource(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" && !a.Is4In6() {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil || p.Addr().Is4In6() {
		return netip.Prefix{}, fmt.Errorf("%q is no network: write 203.0.113.0/24, 2001:db8::/32 or a single address", s)
	}
	if p.Masked() != p {
		return netip.Prefix{}, fmt.Errorf("%s has bits behind its mask: write %s", s, p.Masked())
	}
	return p, nil
}

// family is the sources of a rule that are of IP version v, and whether the
// rule has anything to do with it: one without sources is for everybody.
func (r Rule) family(v int) (sources []netip.Prefix, everybody bool) {
	for _, s := range r.Sources {
		if p, err := ParseSource(s); err == nil && p.Addr().Is4() == (v == 4) {
			sources = append(sources, p)
		}
	}
	return sources, len(r.Sources) == 0
}

// Allows says whether anybody at all may reach a port.
func (s Spec) Allows(port uint16, protocol string) bool {
	return slices.ContainsFunc(s.Allow, func(r Rule) bool {
		p, err := ParsePorts(r.Port)
		return err == nil && r.protocol() == protocol && p.Has(port)
	})
}

// Reach says who will reach a port that is published, and why.
func (s Spec) Reach(port uint16, protocol string) (Reach, string) {
	reach, why := Nobody, "kamal_firewall closes it"
	for _, r := range s.Allow {
		p, err := ParsePorts(r.Port)
		switch {
		case err != nil || r.protocol() != protocol || !p.Has(port):
		case len(r.Sources) == 0:
			return Anywhere, byRule
		default:
			reach, why = Sources, byRule+" for some networks"
		}
	}
	return reach, why
}

// An InvalidError says which value of a Spec can't be.
type InvalidError struct {
	// Attribute is "allow" or "interfaces", Index the place in it. Key is the
	// value in the element, "" for the element itself; Source its place in
	// sources, -1 where it is no source.
	Attribute string
	Index     int
	Key       string
	Source    int
	Why       string
}

func (e *InvalidError) Error() string { return e.Why }

// Validate finds what is wrong with a Spec whatever the server: an
// *InvalidError for each thing.
func (s Spec) Validate() []*InvalidError {
	var out []*InvalidError
	bad := func(attribute string, i int, key string, source int, err error) {
		out = append(out, &InvalidError{attribute, i, key, source, err.Error()})
	}
	seen := map[string]int{}
	for i, r := range s.Allow {
		ports, err := ParsePorts(r.Port)
		if err != nil {
			bad("allow", i, "port", -1, err)
			continue
		}
		sources := []netip.Prefix{{}} // everybody
		if len(r.Sources) > 0 {
			sources = nil
		}
		for j, text := range r.Sources {
			p, err := ParseSource(text)
			if err != nil {
				bad("allow", i, "sources", j, err)
				continue
			}
			if slices.Contains(sources, p) {
				bad("allow", i, "sources", j, fmt.Errorf("%s is there twice", text))
				continue
			}
			sources = append(sources, p)
		}
		for _, p := range sources {
			key := fmt.Sprint(ports, r.protocol(), p)
			if before, ok := seen[key]; ok && before != i {
				bad("allow", i, "", -1, fmt.Errorf("allow[%d] says the same already", before))
				break
			}
			seen[key] = i
		}
	}
	for i, name := range s.Interfaces {
		switch {
		case !validInterface(name):
			bad("interfaces", i, "", -1, fmt.Errorf("%q is no name of a network interface", name))
		case name == "lo":
			bad("interfaces", i, "", -1, errors.New("lo is not reached from outside"))
		case slices.Index(s.Interfaces, name) < i:
			bad("interfaces", i, "", -1, fmt.Errorf("%s is there twice", name))
		}
	}
	return out
}

// validInterface accepts what the kernel does, without what iptables takes for a pattern.
func validInterface(name string) bool {
	if name == "" || len(name) > 15 || name == "." || name == ".." || strings.HasPrefix(name, "-") {
		return false
	}
	return !strings.ContainsFunc(name, func(r rune) bool {
		return r <= ' ' || r > '~' || strings.ContainsRune("/+!\"'\\:", r)
	})
}
