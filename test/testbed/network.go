package testbed

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Addresses are fixed, not Docker's choice: a server keeps its own over reboots
// and stops, whatever else starts meanwhile. The registry has the second of the
// subnet, servers have those from firstServer on.
const (
	registryHost = 2
	firstServer  = 10
	lastServer   = 250
)

// ensureNetwork finds the bed's network or makes one on a free subnet.
func (b *Bed) ensureNetwork(ctx context.Context) error {
	name := "testbed." + b.Name
	found, err := docker(ctx, "network", "ls", "--quiet", "--filter", "label="+labelBed+"="+b.Name)
	if err != nil {
		return err
	}
	if found != "" {
		return b.readSubnets(ctx)
	}
	// Beds that come up at the same time must not choose the same subnet.
	unlock, err := lock(ctx, filepath.Join(cacheDir(), ".network.lock"))
	if err != nil {
		return err
	}
	defer unlock()
	n, err := freeSubnet(ctx)
	if err != nil {
		return err
	}
	args := []string{"network", "create", "--label", labelBed + "=" + b.Name, "--subnet", fmt.Sprintf("10.231.%d.0/24", n)}
	if _, err := os.Stat("/proc/net/if_inet6"); err == nil { // else the kernel has no IPv6
		args = append(args, "--ipv6", "--subnet", fmt.Sprintf("fd5a:231:0:%x::/64", n))
	}
	if _, err = docker(ctx, append(args, name)...); err != nil {
		return err
	}
	return b.readSubnets(ctx)
}

func (b *Bed) readSubnets(ctx context.Context) error {
	text, err := docker(ctx, "network", "inspect", "--format", "{{range .IPAM.Config}}{{println .Subnet}}{{end}}", "testbed."+b.Name)
	if err != nil {
		return err
	}
	for _, line := range lines(text) {
		prefix, err := netip.ParsePrefix(line)
		switch {
		case err != nil:
			return err
		case prefix.Addr().Is4():
			b.subnet = prefix
		default:
			b.subnet6 = prefix
		}
	}
	return nil
}

// freeSubnet is the first N with a 10.231.N.0/24 that neither Docker nor the host uses.
func freeSubnet(ctx context.Context) (int, error) {
	var used []netip.Prefix
	ids, err := docker(ctx, "network", "ls", "--quiet")
	if err != nil {
		return 0, err
	}
	subnets, err := docker(ctx, append([]string{"network", "inspect", "--format",
		"{{range .IPAM.Config}}{{println .Subnet}}{{end}}"}, lines(ids)...)...)
	if err != nil {
		return 0, err
	}
	for _, text := range lines(subnets) {
		if prefix, err := netip.ParsePrefix(strings.TrimSpace(text)); err == nil {
			used = append(used, prefix)
		}
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return 0, err
	}
	for _, address := range addresses {
		if prefix, err := netip.ParsePrefix(address.String()); err == nil {
			used = append(used, prefix.Masked())
		}
	}
candidates:
	for n := range 256 {
		candidate := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 231, byte(n), 0}), 24)
		for _, prefix := range used {
			if prefix.Overlaps(candidate) {
				continue candidates
			}
		}
		return n, nil
	}
	return 0, errors.New("no free subnet in 10.231.0.0/16")
}

// address is the host-th address of the bed's subnet.
func (b *Bed) address(host int) string {
	bytes := b.subnet.Addr().As4()
	bytes[3] = byte(host)
	return netip.AddrFrom4(bytes).String()
}

// address6 is the IPv6 address that goes with an IPv4 one, "" without IPv6.
func (b *Bed) address6(address string) string {
	ip, err := netip.ParseAddr(address)
	if err != nil || !b.subnet6.IsValid() {
		return ""
	}
	bytes := b.subnet6.Addr().As16()
	bytes[15] = ip.As4()[3]
	return netip.AddrFrom16(bytes).String()
}

// nextAddress hands out addresses in turn, so that one of a server that has
// just gone isn't another server's at once. The caller holds the bed's lock.
func (b *Bed) nextAddress(servers []*Server) (string, error) {
	taken := map[string]bool{}
	for _, s := range servers {
		taken[s.Address] = true
	}
	file := filepath.Join(b.Dir, "last-address")
	last := firstServer - 1
	if content, err := os.ReadFile(file); err == nil {
		last, _ = strconv.Atoi(string(content))
	}
	for range lastServer - firstServer + 1 {
		last++
		if last < firstServer || last > lastServer {
			last = firstServer
		}
		if address := b.address(last); !taken[address] {
			return address, writeFile(file, []byte(strconv.Itoa(last)), 0o600)
		}
	}
	return "", fmt.Errorf("all addresses of %s are taken", b.subnet)
}

// resolvConf is a resolv.conf with the host's name servers, or "" if they are
// the host's own. Docker would give servers an inner name server that works by
// NAT rules inside the server, which no real server has.
func resolvConf() string {
	for _, file := range []string{"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"} {
		content, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		var out strings.Builder
		for _, line := range lines(string(content)) {
			fields := strings.Fields(line)
			if len(fields) < 2 || fields[0] != "nameserver" {
				continue
			}
			if ip, err := netip.ParseAddr(fields[1]); err == nil && !ip.IsLoopback() {
				fmt.Fprintf(&out, "nameserver %s\n", ip)
			}
		}
		if out.Len() > 0 {
			return out.String()
		}
	}
	return ""
}
