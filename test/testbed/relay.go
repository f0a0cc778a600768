package testbed

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// Link is a TCP relay on loopback that stands for a network: slow, stalled or cut.
type Link struct {
	Host string // 127.0.0.1
	Port int

	target   string
	delay    time.Duration
	listener net.Listener
	ctx      context.Context // until the test ends
	running  sync.WaitGroup

	mu       sync.Mutex
	conns    map[net.Conn]bool
	accepted int
	flowing  chan struct{} // closed while bytes may pass
}

// Relay passes connections on to target ("host:port"), with the delay in each
// direction: a round trip takes twice as long. It ends with the test.
func Relay(t testing.TB, target string, delay time.Duration) *Link {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(context.WithoutCancel(t.Context()))
	l := &Link{
		Host: "127.0.0.1", Port: listener.Addr().(*net.TCPAddr).Port,
		target: target, delay: delay, listener: listener,
		ctx: ctx, conns: map[net.Conn]bool{}, flowing: make(chan struct{}),
	}
	close(l.flowing)
	l.running.Go(l.accept)
	t.Cleanup(func() {
		listener.Close()
		end()
		l.Cut()
		l.running.Wait()
	})
	return l
}

// Address is "127.0.0.1:PORT".
func (l *Link) Address() string { return l.listener.Addr().String() }

// Accepted counts the connections so far.
func (l *Link) Accepted() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.accepted
}

// Cut resets every open connection. New ones are served.
func (l *Link) Cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for conn := range l.conns {
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // reset, not an orderly end
		}
		conn.Close()
	}
}

// Stall holds all bytes back, on old and new connections, without closing any.
func (l *Link) Stall() {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.flowing:
		l.flowing = make(chan struct{})
	default: // stalled already
	}
}

// Resume lets the bytes through that Stall held back, and all later ones.
func (l *Link) Resume() {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.flowing:
	default:
		close(l.flowing)
	}
}

func (l *Link) accept() {
	for {
		client, err := l.listener.Accept()
		if err != nil {
			return // closed
		}
		l.mu.Lock()
		l.accepted++
		l.mu.Unlock()
		l.running.Go(func() { l.serve(client) })
	}
}

func (l *Link) serve(client net.Conn) {
	defer l.forget(client)
	if !l.keep(client) {
		return
	}
	server, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(l.ctx, "tcp", l.target)
	if err != nil {
		return
	}
	defer l.forget(server)
	if !l.keep(server) {
		return
	}
	var both sync.WaitGroup
	both.Go(func() { l.copy(server, client) })
	both.Go(func() { l.copy(client, server) })
	both.Wait()
}

// keep records a connection for Cut; false if the test has ended.
func (l *Link) keep(conn net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ctx.Err() != nil {
		return false
	}
	l.conns[conn] = true
	return true
}

func (l *Link) forget(conn net.Conn) {
	l.mu.Lock()
	delete(l.conns, conn)
	l.mu.Unlock()
	conn.Close()
}

type chunk struct {
	due  time.Time
	data []byte // nil: the end
}

// copy passes bytes on, each after the delay. Reading goes on meanwhile, so
// that the delay costs latency, not throughput.
func (l *Link) copy(to, from net.Conn) {
	chunks := make(chan chunk, 1024)
	var reading sync.WaitGroup
	stop := make(chan struct{})
	reading.Go(func() {
		defer close(chunks)
		for {
			buffer := make([]byte, 32<<10)
			n, err := from.Read(buffer)
			next := chunk{time.Now().Add(l.delay), buffer[:n]}
			if n > 0 && !push(chunks, next, stop) {
				return
			}
			if errors.Is(err, io.EOF) {
				push(chunks, chunk{due: next.due}, stop)
			}
			if err != nil {
				return
			}
		}
	})
	defer reading.Wait()
	defer close(stop)

	for c := range chunks {
		time.Sleep(time.Until(c.due))
		l.mu.Lock()
		flowing := l.flowing
		l.mu.Unlock()
		select {
		case <-flowing:
		case <-l.ctx.Done():
			return
		}
		if c.data == nil {
			if tcp, ok := to.(*net.TCPConn); ok {
				_ = tcp.CloseWrite() // fails if that side is gone, which is an end too
			}
			return
		}
		if _, err := to.Write(c.data); err != nil {
			from.Close() // nobody is left to read for
			return
		}
	}
	to.Close() // the other side was reset
}

func push(chunks chan<- chunk, c chunk, stop <-chan struct{}) bool {
	select {
	case chunks <- c:
		return true
	case <-stop:
		return false
	}
}
