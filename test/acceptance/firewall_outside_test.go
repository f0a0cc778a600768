package acceptance

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
type outsider struct {
	IPv4, IPv6 string
	namespace  string
}

// The ranges of all outsiders (RFC 2544, RFC 5180).
const outside4, outside6 = "198.18.0.0/15", "2001:2::/48"

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
	for _, command := range [][]string{
		{"ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name},
		{"ip", "link", "set", name, "master", bridge, "up"},
		{"ip", "-n", name, "link", "set", "lo", "up"},
		{"ip", "-n", name, "addr", "add", o.IPv4 + "/32", "dev", "eth0"},
		{"ip", "-n", name, "addr", "add", o.IPv6 + "/128", "dev", "eth0", "nodad"},
		{"ip", "-n", name, "link", "set", "eth0", "up"},
		{"ip", "-n", name, "route", "add", s.Address + "/32", "dev", "eth0"},
		{"ip", "-n", name, "-6", "route", "add", s.Address6 + "/128", "dev", "eth0"},
	} {
		sh(t, command[0], command[1:]...)
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
func (o *outsider) ask(network, address string, bound time.Duration) string {
	c, err := o.dial(network, address, bound)
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
		return o.ask("tcp", net.JoinHostPort(address, fmt.Sprint(port)), patient) == name
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

// A watch connects to an address again and again and counts the answers. What
// only accepts a connection has not answered: with the userland proxy off,
// dockerd listens on every published port to keep it from others.
type watch struct {
	stop    chan struct{}
	done    chan error
	first   chan struct{} // closed with the first answer
	tried   int
	reached int
	lost    int // refused, cut, or not answered by the time of a thousand more tries
}

// watch begins a watch; end ends it.
func (o *outsider) watch(address string, port int, every time.Duration) *watch {
	w := &watch{stop: make(chan struct{}), done: make(chan error, 1), first: make(chan struct{})}
	go func() { w.done <- o.inside(func() error { return w.run(address, port, every) }) }()
	return w
}

func (w *watch) end(t *testing.T) {
	t.Helper()
	close(w.stop)
	if err := <-w.done; err != nil {
		t.Fatal(err)
	}
}

// sees waits for the watch's first answer.
func (w *watch) sees(t *testing.T) {
	t.Helper()
	select {
	case <-w.first:
	case <-time.After(30 * time.Second):
		t.Error("a watch of an open port had no answer in 30 s")
	}
}

// An attempt is one connection of a watch. Asked: it stands, and the question is sent.
type attempt struct {
	fd            int
	asked, closed bool
}

// run keeps the last thousand attempts open, so that each has time to be
// answered. Only those with news are looked at: whatever time a watch takes is
// missing to the server that it watches.
func (w *watch) run(address string, port int, every time.Duration) error {
	ip, err := netip.ParseAddr(address)
	if err != nil {
		return err
	}
	family, to := unix.AF_INET, unix.Sockaddr(&unix.SockaddrInet4{Port: port, Addr: [4]byte(ip.AsSlice())})
	if ip.Is6() {
		family, to = unix.AF_INET6, &unix.SockaddrInet6{Port: port, Addr: ip.As16()}
	}
	news, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(news)
	var queue []*attempt
	open := map[int]*attempt{}
	end := func(a *attempt) {
		unix.Close(a.fd)
		a.closed = true
		delete(open, a.fd)
	}
	defer func() {
		for _, a := range open {
			unix.Close(a.fd)
		}
	}()
	tick := time.NewTicker(every)
	defer tick.Stop()
	events := make([]unix.EpollEvent, 100)
	for {
		select {
		case <-w.stop:
			return nil
		case <-tick.C:
		}
		a, err := begin(family, to)
		if err != nil {
			return err
		}
		w.tried++
		open[a.fd], queue = a, append(queue, a)
		if err := unix.EpollCtl(news, unix.EPOLL_CTL_ADD, a.fd, &unix.EpollEvent{Events: unix.EPOLLOUT, Fd: int32(a.fd)}); err != nil {
			return err
		}
		n, err := unix.EpollWait(news, events, 0)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		for _, e := range events[:max(n, 0)] {
			a := open[int(e.Fd)]
			switch {
			case a.asked && answers(a.fd):
				if w.reached++; w.reached == 1 {
					close(w.first)
				}
			case !a.asked && e.Events == unix.EPOLLOUT: // connected
				a.asked = true
				_, err := unix.Write(a.fd, []byte("who\n"))
				if err == nil {
					err = unix.EpollCtl(news, unix.EPOLL_CTL_MOD, a.fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: e.Fd})
				}
				if err == nil {
					continue
				}
				w.lost++
			default:
				w.lost++
			}
			end(a)
		}
		if len(queue) > 1000 {
			if a := queue[0]; !a.closed {
				w.lost++
				end(a)
			}
			queue = queue[1:]
		}
	}
}

// begin begins to connect.
func begin(family int, to unix.Sockaddr) (*attempt, error) {
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	// At its end the port is free again at once, or they would run out.
	if err := unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
		return nil, err
	}
	switch err := unix.Connect(fd, to); err {
	case nil, unix.EINPROGRESS, unix.EHOSTUNREACH, unix.ENETUNREACH, unix.ECONNREFUSED:
		return &attempt{fd: fd}, nil
	default:
		return nil, fmt.Errorf("connect: %w", err)
	}
}

func answers(fd int) bool {
	n, err := unix.Read(fd, make([]byte, 100))
	return err == nil && n > 0
}

// namer is a program that says its name to whoever asks, on TCP and UDP, and
// goes on for as long as it is asked. It takes what perl-base has.
const namer = `use Socket;
my ($name, @ports) = @ARGV;
$SIG{CHLD} = 'IGNORE';
for my $port (@ports) {
  fork and next;
  my ($t, $u);
  if (socket($t, AF_INET6, SOCK_STREAM, 0) && setsockopt($t, SOL_SOCKET, SO_REUSEADDR, 1) && bind($t, pack_sockaddr_in6($port, Socket::inet_pton(AF_INET6, "::")))) {
    socket($u, AF_INET6, SOCK_DGRAM, 0) && bind($u, pack_sockaddr_in6($port, Socket::inet_pton(AF_INET6, "::"))) or die "udp6: $!";
  } else {
    socket($t, AF_INET, SOCK_STREAM, 0) && setsockopt($t, SOL_SOCKET, SO_REUSEADDR, 1) && bind($t, pack_sockaddr_in($port, INADDR_ANY)) or die "tcp: $!";
    socket($u, AF_INET, SOCK_DGRAM, 0) && bind($u, pack_sockaddr_in($port, INADDR_ANY)) or die "udp: $!";
  }
  if (!fork) { while (my $from = recv($u, my $m, 100, 0)) { send($u, "$name\n", 0, $from) } exit }
  listen($t, 100) or die;
  while (accept(my $c, $t)) {
    if (!fork) { while (sysread($c, my $m, 100)) { syswrite($c, "$name\n") } exit }
    close $c;
  }
  exit;
}
sleep 100000;
`

// asker is a program that asks who is at an address: "ask ADDRESS PORT".
const asker = `use Socket;
my ($address, $port) = @ARGV;
$SIG{ALRM} = sub { exit 1 }; alarm 2;
my $six = $address =~ /:/;
socket(my $s, $six ? AF_INET6 : AF_INET, SOCK_STREAM, 0) or die;
connect($s, $six ? pack_sockaddr_in6($port, Socket::inet_pton(AF_INET6, $address)) : pack_sockaddr_in($port, inet_aton($address))) or exit 1;
syswrite($s, "who\n");
sysread($s, my $name, 100) or exit 1;
print $name;
`

// container starts a container of nothing but the server's own programs that
// says its name on the ports: "container NAME 'DOCKER OPTIONS' PORT…".
const containerFunction = `
container() {
  name=$1 options=$2; shift 2
  docker image inspect nothing >/dev/null 2>&1 || tar -c --files-from /dev/null | docker import - nothing >/dev/null
  docker run -d --name $name --restart unless-stopped $options -v /srv:/srv:ro -v /bin:/bin:ro -v /lib:/lib:ro -v /lib64:/lib64:ro -v /usr:/usr:ro \
    --entrypoint /usr/bin/perl nothing /srv/namer.pl $name "$@" >/dev/null
}
`

// install puts the programs on a server.
func installNamer(t *testing.T, s *testbed.Server) {
	t.Helper()
	s.SSH(t, "cat > /srv/namer.pl <<'END'\n"+namer+"END\ncat > /srv/ask.pl <<'END'\n"+asker+"END\n")
}
