package workload

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
)

// A Port is a published port.
type Port struct {
	Bind            netip.Addr
	Host, Container uint16
	// Protocol is "tcp", "udp" or "sctp".
	Protocol string
}

// ParsePort reads "[bind:]host:container[/protocol]" or one number for both;
// IPv6 in brackets. Without a bind address it is 127.0.0.1, unlike docker's
// and Kamal's, because what docker publishes on all addresses passes by the
// server's own firewall.
func ParsePort(s string) (Port, error) {
	p := Port{Bind: netip.AddrFrom4([4]byte{127, 0, 0, 1}), Protocol: "tcp"}
	bad := func(why string) (Port, error) {
		return Port{}, fmt.Errorf("%q is no port: %s. Write \"host:container\", as in \"5432:5432\", or \"address:host:container\"", s, why)
	}
	rest, protocol, has := strings.Cut(s, "/")
	if has {
		if !slices.Contains([]string{"tcp", "udp", "sctp"}, protocol) {
			return bad("the protocol is tcp, udp or sctp")
		}
		p.Protocol = protocol
	}
	parts := strings.Split(rest, ":")
	if strings.HasPrefix(rest, "[") {
		address, ports, ok := strings.Cut(rest[1:], "]:")
		if !ok {
			return bad("the bracket is not closed")
		}
		parts = append([]string{address}, strings.Split(ports, ":")...)
	}
	if len(parts) == 3 {
		bind, err := netip.ParseAddr(parts[0])
		if err != nil || bind.Zone() != "" {
			return bad("the first part is not an IP address (IPv6 in brackets)")
		}
		p.Bind, parts = bind.Unmap(), parts[1:]
	}
	if len(parts) == 1 {
		parts = append(parts, parts[0])
	}
	if len(parts) != 2 {
		return bad("it has too many parts")
	}
	for i, to := range []*uint16{&p.Host, &p.Container} {
		n, err := strconv.ParseUint(parts[i], 10, 16)
		if err != nil || n == 0 {
			return bad(fmt.Sprintf("%q is not a number from 1 to 65535", parts[i]))
		}
		*to = uint16(n)
	}
	return p, nil
}

// String is the port as docker takes it, the address always written out.
func (p Port) String() string {
	s := fmt.Sprintf("%s:%d", netip.AddrPortFrom(p.Bind, p.Host), p.Container)
	if p.Protocol != "tcp" {
		s += "/" + p.Protocol
	}
	return s
}

// Public says that others than the server itself can reach the port.
func (p Port) Public() bool { return !p.Bind.IsLoopback() }

// clashes says that a server can't publish both ports.
func (p Port) clashes(q Port) bool {
	all := func(a netip.Addr) bool { return a.IsUnspecified() }
	return p.Host == q.Host && p.Protocol == q.Protocol && p.Bind.Is4() == q.Bind.Is4() && (p.Bind == q.Bind || all(p.Bind) || all(q.Bind))
}

// normalPorts are ports in one spelling and order.
func normalPorts(ports []string) []string {
	var out []string
	for _, s := range ports {
		if p, err := ParsePort(s); err == nil {
			out = append(out, p.String())
		}
	}
	slices.Sort(out)
	return out
}

// portsOf are the ports that a container publishes, in order.
func portsOf(c docker.Container) []string {
	var out []string
	for to, bindings := range c.HostConfig.PortBindings {
		for _, b := range bindings {
			n, _ := strconv.ParseUint(b.HostPort, 10, 16)
			p := Port{Bind: b.HostIP, Host: uint16(n), Container: to.Num(), Protocol: string(to.Proto())}
			if !p.Bind.IsValid() { // docker's word for all addresses
				p.Bind = netip.IPv4Unspecified()
			}
			out = append(out, p.String())
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// shortPorts are ports as people write them: 127.0.0.1 is what goes without saying.
func shortPorts(ports []string) []string {
	out := slices.Clone(ports)
	for i := range out {
		out[i] = strings.TrimPrefix(out[i], "127.0.0.1:")
	}
	return out
}
