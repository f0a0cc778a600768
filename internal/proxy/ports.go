package proxy

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/network"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

// A listener is a process that accepts TCP connections on a port.
type listener struct {
	addr netip.AddrPort
	pid  int // 0 where it can't be seen
	name string
}

func (l listener) String() string {
	if l.pid == 0 {
		return "a process that this SSH user may not see"
	}
	return fmt.Sprintf("%s (pid %d)", l.name, l.pid)
}

// findListeners is the step that finds who listens on ports. It reads what ss
// reads, so that nothing has to be installed. Workers of a server share its
// socket: the lowest pid is the one that was there first.
func findListeners(ports ...int) sshexec.Step {
	var list strings.Builder
	for _, p := range ports {
		fmt.Fprintf(&list, " %04X ", p)
	}
	return sshexec.Step{
		Title: "see who listens on the ports",
		Script: `
for f in /proc/net/tcp /proc/net/tcp6; do
  [ -r $f ] || continue
  while read -r _ local _ state _ _ _ _ _ inode _; do
    [ "$state" = 0A ] || continue
    case '` + list.String() + `' in *" ${local##*:} "*) ;; *) continue;; esac
    pid=$(find /proc/[0-9]*/fd -lname "socket:\[$inode\]" 2>/dev/null | cut -d/ -f3 | sort -n | head -n 1)
    printf '%s\t%s\t%s\n' "$local" "${pid:-0}" "$(cat "/proc/${pid:-0}/comm" 2>/dev/null)"
  done < $f
done
exit 0`,
	}
}

func parseListeners(out string) []listener {
	var found []listener
	for line := range strings.Lines(out) {
		f := strings.SplitN(strings.TrimRight(line, "\n"), "\t", 3)
		if len(f) < 3 {
			continue
		}
		addr, err := parseProcAddress(f[0])
		if err != nil {
			continue
		}
		pid, _ := strconv.Atoi(f[1])
		found = append(found, listener{addr: addr, pid: pid, name: f[2]})
	}
	return found
}

// parseProcAddress reads an address as /proc/net/tcp and tcp6 have it: words of
// 32 bits in the machine's byte order, which is little-endian wherever Docker runs.
func parseProcAddress(s string) (netip.AddrPort, error) {
	host, port, _ := strings.Cut(s, ":")
	b, err := hex.DecodeString(host)
	if err != nil {
		return netip.AddrPort{}, err
	}
	if len(b)%4 != 0 {
		return netip.AddrPort{}, fmt.Errorf("no address: %s", s)
	}
	for i := 0; i < len(b); i += 4 {
		binary.BigEndian.PutUint32(b[i:], binary.LittleEndian.Uint32(b[i:]))
	}
	a, ok := netip.AddrFromSlice(b)
	n, err := strconv.ParseUint(port, 16, 16)
	if !ok || err != nil {
		return netip.AddrPort{}, fmt.Errorf("no address: %s", s)
	}
	return netip.AddrPortFrom(a.Unmap(), uint16(n)), nil
}

// portsTaken tells who else has the ports that kamal-proxy is to be published
// on, as "port 80 is held by nginx (pid 123)".
func portsTaken(want ContainerSpec, snap *fleet.Snapshot, listeners []listener) []string {
	var taken []string
	add := func(s string) {
		if !slices.Contains(taken, s) {
			taken = append(taken, s)
		}
	}
	on := want.BindAddresses
	if len(on) == 0 {
		on = []netip.Addr{netip.IPv6Unspecified()}
	}
	for _, port := range []int{want.HTTPPort, want.HTTPSPort} {
		for _, a := range on {
			addr := netip.AddrPortFrom(a, uint16(port))
			for i := range snap.Containers {
				c := &snap.Containers[i]
				if c.ContainerName() != Container && c.Running() && publishes(c, addr) {
					add(fmt.Sprintf("port %d is published by the container %s", port, c.ContainerName()))
				}
			}
			for _, l := range listeners {
				if clash(l.addr, addr) && !byDocker(l, snap) {
					add(fmt.Sprintf("port %d is held by %s", port, l))
				}
			}
		}
	}
	return taken
}

// byDocker says that a listener only stands for a container that publishes the port.
func byDocker(l listener, snap *fleet.Snapshot) bool {
	if l.name != "docker-proxy" && l.name != "dockerd" {
		return false
	}
	return slices.ContainsFunc(snap.Containers, func(c docker.Container) bool { return c.Running() && publishes(&c, l.addr) })
}

// publishes says whether a container publishes a TCP port that a listener on addr would clash with.
func publishes(c *docker.Container, addr netip.AddrPort) bool {
	if c.HostConfig == nil {
		return false
	}
	for p, bindings := range c.HostConfig.PortBindings {
		for _, b := range bindings {
			host := b.HostIP
			if !host.IsValid() {
				host = netip.IPv6Unspecified()
			}
			n, err := strconv.ParseUint(b.HostPort, 10, 16)
			if err == nil && p.Proto() == network.TCP && clash(netip.AddrPortFrom(host, uint16(n)), addr) {
				return true
			}
		}
	}
	return false
}

// clash says whether two listeners can't be at once: the same port, and the
// same address or one of them on all. All of IPv6 is all of IPv4 too.
func clash(a, b netip.AddrPort) bool {
	if a.Port() != b.Port() {
		return false
	}
	covers := func(x, y netip.Addr) bool {
		return x == y || x.IsUnspecified() && (x.Is6() || y.Is4())
	}
	return covers(a.Addr(), b.Addr()) || covers(b.Addr(), a.Addr())
}
