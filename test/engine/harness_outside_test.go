package engine

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kamal-terraform/terraform-provider-kamal/test/testbed"
)

// An outsider is a machine of its own beside the servers: a network namespace
// on their network with addresses of its own, from the ranges that are kept for
// tests. The servers under test get a route to these ranges.
//
// It is no friendly neighbour. What it sends to a server's containers, and to
// 127.0.0.1, goes to the server, too.
type outsider struct {
	IPv4, IPv6 string
	namespace  string
}

// The ranges of all outsiders (RFC 2544, RFC 5180), and of the containers in
// Docker's default network.
const (
	outside4, outside6       = "198.18.0.0/15", "2001:2::/48"
	containers4, containers6 = "172.17.0.0/16", "fd00:5::/64"
)

// newOutsider makes an outsider. The bed must have IPv6.
func newOutsider(t *testing.T, b *testbed.Bed, s *testbed.Server) *outsider {
	t.Helper()
	id := make([]byte, 4)
	rand.Read(id)
	name := "kt" + hex.EncodeToString(id)
	o := &outsider{namespace: name,
		IPv4: fmt.Sprintf("198.18.%d.%d", id[0], 1+id[1]%254),
		IPv6: netip.AddrFrom16([16]byte{0x20, 1, 0, 2, 14: id[2], 15: 1 + id[3]%254}).String()}
	bridge := "br-" + strings.TrimSpace(sh(t, "docker", "network", "inspect", "--format", "{{.Id}}", "testbed."+b.Name))[:12]
	sh(t, "ip", "netns", "add", name)
	t.Cleanup(func() { sh(t, "ip", "netns", "del", name) }) // its end of the cable goes with it
	sh(t, "ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
	sh(t, "ip", "link", "set", name, "master", bridge, "up")
	for _, command := range []string{
		"link set lo up",
		"addr del 127.0.0.1/8 dev lo",
		"addr add " + o.IPv4 + "/32 dev eth0",
		"addr add " + o.IPv6 + "/128 dev eth0 nodad",
		"link set eth0 up",
		"route add " + s.Address + "/32 dev eth0",
		"-6 route add " + s.Address6 + "/128 dev eth0",
		"route add " + containers4 + " via " + s.Address + " dev eth0 onlink",
		"-6 route add " + containers6 + " via " + s.Address6 + " dev eth0 onlink",
		"route add 127.0.0.1/32 via " + s.Address + " dev eth0 onlink src " + o.IPv4,
	} {
		sh(t, "ip", append([]string{"-n", name}, strings.Fields(command)...)...)
	}
	if err := o.inside(func() error {
		return os.WriteFile("/proc/sys/net/ipv4/conf/eth0/route_localnet", []byte("1"), 0)
	}); err != nil {
		t.Fatal(err)
	}
	return o
}

// toOutside gives a server its way back to the outsiders, from before Docker
// starts at boot.
func toOutside(t *testing.T, s *testbed.Server) {
	t.Helper()
	s.SSH(t, `cat > /etc/systemd/system/outside.service <<'END'
[Unit]
Before=docker.service
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'ip route replace `+outside4+` dev eth0; ip -6 route replace `+outside6+` dev eth0'
[Install]
WantedBy=docker.service
END
systemctl daemon-reload && systemctl enable --quiet --now outside.service`)
	t.Cleanup(func() {
		s.SSH(t, `systemctl disable --quiet outside.service; rm /etc/systemd/system/outside.service; systemctl daemon-reload
ip route del `+outside4+` dev eth0; ip -6 route del `+outside6+` dev eth0`)
	})
}

// sh runs a program of this machine.
func sh(t *testing.T, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// inside runs f on a thread that is in the outsider's network namespace. The
// thread ends with f, so that nothing else ever runs there.
func (o *outsider) inside(f func() error) error {
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked
		ns, err := os.Open("/var/run/netns/" + o.namespace)
		if err == nil {
			err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
			err = errors.Join(err, ns.Close())
		}
		if err == nil {
			err = f()
		}
		result <- err
	}()
	return <-result
}

// dial connects from the outside.
func (o *outsider) dial(network, address string, bound time.Duration) (c net.Conn, err error) {
	err = o.inside(func() error {
		c, err = net.DialTimeout(network, address, bound)
		return err
	})
	return c, err
}

// ask connects, sends a line and returns what the service answers; "" if there
// is no answer. What only accepts a connection, as a listener without a
// service behind does, is no answer.
func (o *outsider) ask(network, address string, port int, bound time.Duration) string {
	c, err := o.dial(network, net.JoinHostPort(address, fmt.Sprint(port)), bound)
	if err != nil {
		return ""
	}
	defer c.Close()
	return askOn(c, bound)
}

// patient is how long who expects an answer waits for it: a busy machine is slow.
const patient = 10 * time.Second

// waitFor waits until a service answers with its name.
func (o *outsider) waitFor(t *testing.T, address string, port int, name string) {
	t.Helper()
	eventually(t, time.Minute, fmt.Sprintf("%s answers at %s port %d", name, address, port), func() bool {
		return o.ask("tcp", address, port, patient) == name
	})
}

func askOn(c net.Conn, bound time.Duration) string {
	if err := c.SetDeadline(time.Now().Add(bound)); err != nil {
		return ""
	}
	if _, err := c.Write([]byte("who\n")); err != nil {
		return ""
	}
	answer := make([]byte, 100)
	n, err := c.Read(answer)
	if err != nil {
		return ""
	}
	return string(bytes.TrimSpace(answer[:n]))
}

// serve answers on a TCP port of the outsider, until the end of the test.
func (o *outsider) serve(t *testing.T, port int) {
	t.Helper()
	for _, address := range []string{o.IPv4, o.IPv6} {
		var l net.Listener
		if err := o.inside(func() (err error) {
			l, err = net.Listen("tcp", net.JoinHostPort(address, fmt.Sprint(port)))
			return err
		}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return // closed
				}
				fmt.Fprintln(c, "outside")
				c.Close()
			}
		}()
	}
}
