package engine

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// knockEvery is how often a knocker knocks. It need not be more often than a
// port may be open: what gets through is counted by the server's kernel, which
// misses none.
const knockEvery = 5 * time.Millisecond

// A knocker sends the first packet of a connection to a port, again and again,
// and waits for nothing.
type knocker struct {
	stop chan struct{}
	done chan error
	sent int
}

// knock begins to knock; end ends it.
func (o *outsider) knock(address string, port int) *knocker {
	k := &knocker{stop: make(chan struct{}), done: make(chan error, 1)}
	go func() { k.done <- o.inside(func() error { return k.run(netip.MustParseAddr(address), port) }) }()
	return k
}

func (k *knocker) end(e *engine) {
	e.Helper()
	close(k.stop)
	if err := <-k.done; err != nil {
		e.Fatal(err)
	}
}

func (k *knocker) run(ip netip.Addr, port int) error {
	family, to := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: port, Addr: ip.As16()})
	if ip.Is4() {
		family, to = unix.AF_INET, &unix.SockaddrInet4{Port: port, Addr: ip.As4()}
	}
	tick := time.NewTicker(knockEvery)
	defer tick.Stop()
	for {
		select {
		case <-k.stop:
			return nil
		case <-tick.C:
		}
		fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		switch err := unix.Connect(fd, to); {
		case err == nil || errors.Is(err, unix.EINPROGRESS):
			k.sent++ // the kernel has sent it before it says so
		case errors.Is(err, unix.EHOSTUNREACH) || errors.Is(err, unix.ENETUNREACH): // it boots
		default:
			return fmt.Errorf("connect: %w", err)
		}
		if err := unix.Close(fd); err != nil { // and it sends that packet no second time
			return err
		}
	}
}

// countFile is where a server keeps what was counted before it went down.
const countFile = "/root/arrived"

// countArrivals has the server's kernel count the knocks that get to containers,
// by the container's port: behind all filters of what is forwarded, in rules of
// its own, which are there from before Docker starts until after it has ended.
func (sc *scene) countArrivals(ports ...int) {
	sc.Helper()
	rules := ""
	for _, port := range ports {
		for p, from := range map[string]string{"iptables": outside4, "ip6tables": outside6} {
			rules += fmt.Sprintf("%s -t mangle -A POSTROUTING -s %s -p tcp --syn --dport %d -m comment --comment arrived-%s-%[3]d\n", p, from, port, p)
		}
	}
	sc.s.SSH(sc, `cat > /root/count.sh <<'END'
`+rules+`END
cat > /etc/systemd/system/count.service <<'END'
[Unit]
Before=docker.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh /root/count.sh
ExecStop=/bin/sh -c 'for p in iptables ip6tables; do $p-save -c -t mangle | grep arrived- >> `+countFile+`; done'
[Install]
WantedBy=multi-user.target
END
systemctl daemon-reload && systemctl enable --quiet --now count.service`)
	sc.Cleanup(func() {
		sc.s.SSH(sc, `systemctl disable --quiet --now count.service; sed 's/ -A / -D /' /root/count.sh | sh
rm -f /etc/systemd/system/count.service /root/count.sh `+countFile+`; systemctl daemon-reload`)
	})
}

// arrived says how many knocks got to a container's port, over an IP version.
func (sc *scene) arrived(v, port int) int {
	sc.Helper()
	p := map[int]string{4: "iptables", 6: "ip6tables"}[v]
	n := 0
	// [PACKETS:BYTES] -A POSTROUTING …
	for line := range strings.Lines(sc.s.SSH(sc, fmt.Sprintf("{ cat %s 2>/dev/null || :; %s-save -c -t mangle; } | grep arrived-%[2]s-%d", countFile, p, port))) {
		packets, _, _ := strings.Cut(strings.TrimPrefix(line, "["), ":")
		one, err := strconv.Atoi(packets)
		if err != nil {
			sc.Fatalf("%v: %s", err, line)
		}
		n += one
	}
	return n
}

// A watch asks a port for an answer now and then, each time on a new
// connection, and counts the answers.
type watch struct {
	stop          chan struct{}
	done          chan struct{}
	answered, not int
}

// watch begins a watch; end ends it.
func (o *outsider) watch(address string, port int, every time.Duration) *watch {
	w := &watch{stop: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(w.done)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-w.stop:
				return
			case <-tick.C:
			}
			if o.ask("tcp", address, port, 3*patient) == "" {
				w.not++
			} else {
				w.answered++
			}
		}
	}()
	return w
}

func (w *watch) end() {
	close(w.stop)
	<-w.done
}

// speak asks on a connection that is open, and wants an answer.
func speak(e *engine, c net.Conn, want, when string) {
	e.Helper()
	if got := askOn(c, patient); !strings.HasPrefix(got, want) {
		e.Errorf("%s: an open connection says %q, want %q", when, got, want)
	}
}
