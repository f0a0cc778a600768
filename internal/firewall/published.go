package firewall

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
)

// Published is a port of a running container that Docker publishes.
type Published struct {
	Container     string
	ContainerPort uint16
	Address       netip.Addr // of the host; unspecified: all of that IP version
	Port          uint16
	Protocol      string
	// inside says that the container has an address of the same IP version,
	// so that Docker's rules can lead there.
	inside bool
}

// PublishedPorts lists what the running containers publish, by port.
func PublishedPorts(snap *fleet.Snapshot) []Published {
	var out []Published
	for i := range snap.Containers {
		c := &snap.Containers[i]
		if !c.Running() || c.NetworkSettings == nil {
			continue
		}
		has6 := false
		for _, n := range c.NetworkSettings.Networks {
			has6 = has6 || n != nil && n.GlobalIPv6Address.IsValid()
		}
		for port, bindings := range c.NetworkSettings.Ports {
			for _, b := range bindings {
				host, err := strconv.ParseUint(b.HostPort, 10, 16)
				address := b.HostIP
				if !address.IsValid() {
					address = netip.IPv4Unspecified()
				}
				if err != nil || host == 0 {
					continue
				}
				out = append(out, Published{Container: c.ContainerName(), ContainerPort: port.Num(), Address: address,
					Port: uint16(host), Protocol: string(port.Proto()), inside: address.Is4() || has6})
			}
		}
	}
	slices.SortFunc(out, func(a, b Published) int {
		return cmp.Or(cmp.Compare(a.Port, b.Port), strings.Compare(a.Protocol, b.Protocol), a.Address.Compare(b.Address), strings.Compare(a.Container, b.Container))
	})
	return slices.Compact(out)
}

// A Port is a port of the host with its protocol.
type Port struct {
	Port     uint16 `json:"port"`
	Protocol string `json:"protocol"`
}

// ProxyPorts are the TCP ports on which kamal-proxy is published to the outside.
func ProxyPorts(snap *fleet.Snapshot) []Port {
	var out []Port
	for _, p := range PublishedPorts(snap) {
		port := Port{p.Port, p.Protocol}
		if p.Container == "kamal-proxy" && p.Protocol == "tcp" && !p.Address.IsLoopback() && !slices.Contains(out, port) {
			out = append(out, port)
		}
	}
	return out
}
