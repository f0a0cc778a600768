// Package sshtest is an SSH server inside the test process. It really runs
// what it is asked to, with the local /bin/sh, forwards connections, and has
// faults that can be switched on.
package sshtest

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/crypto/ssh"
)

// Faults are what a Server does wrong. Set them before the connection that
// they are for.
type Faults struct {
	// StallBeforeBanner accepts connections and says nothing.
	StallBeforeBanner bool
	// StallBeforeAuth shows the host key and answers nothing after it.
	StallBeforeAuth bool
	// HangUps is how many connections are closed before the banner.
	HangUps int
	// RefuseKeys is how many log-ins are refused.
	RefuseKeys int
	// RefuseSessions refuses every session.
	RefuseSessions bool
	// RefuseExec takes sessions and refuses to run anything.
	RefuseExec bool
	// MaxSessions refuses sessions above this number on one connection, as
	// sshd does; 0 is no limit.
	MaxSessions int
	// NoForwarding refuses direct-tcpip as "administratively prohibited".
	NoForwarding bool
	// Noise is what the login shell prints before each command, on both
	// streams.
	Noise string
	// Shell is the login shell, /bin/sh if empty: SHELL -c COMMAND.
	Shell string
	// Sh stands in for the server's /bin/sh in commands: "busybox sh".
	Sh string
}

// A Server listens on loopback until the test ends.
type Server struct {
	// Addr is host:port, HostKey is "ssh-ed25519 AAAA…".
	Addr, HostKey string
	// Key is the content of a private key that may log in, as every user.
	Key string
	// KnownHosts is the line for a known_hosts file.
	KnownHosts string
	// Home is the directory in which commands start.
	Home string

	tb       testing.TB
	listener net.Listener
	signer   ssh.Signer
	userKey  ssh.PublicKey

	mu     sync.Mutex
	faults Faults
	conns  map[net.Conn]bool
	groups map[int]bool // process groups of commands that run
	execs  []string

	handshakes, peak, forwards atomic.Int64
	wg                         sync.WaitGroup
}

// Start starts a server.
func Start(tb testing.TB) *Server {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	s := &Server{
		tb: tb, listener: l, Addr: l.Addr().String(), conns: map[net.Conn]bool{}, groups: map[int]bool{},
		Home: tb.TempDir(),
	}
	s.NewHostKey()
	s.Key, s.userKey = NewKey(tb)
	s.wg.Go(s.accept)
	tb.Cleanup(s.close)
	return s
}

// NewKey makes a key pair; the private key is in OpenSSH's form.
func NewKey(tb testing.TB) (private string, public ssh.PublicKey) {
	tb.Helper()
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(priv, "test")
	if err != nil {
		tb.Fatal(err)
	}
	public, err = ssh.NewPublicKey(pub)
	if err != nil {
		tb.Fatal(err)
	}
	return string(pem.EncodeToMemory(block)), public
}

// NewHostKey gives the server another host key, for connections from now on.
func (s *Server) NewHostKey() {
	private, public := NewKey(s.tb)
	signer, err := ssh.ParsePrivateKey([]byte(private))
	if err != nil {
		s.tb.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.signer = signer
	s.HostKey = strings.TrimSpace(string(ssh.MarshalAuthorizedKey(public)))
	host, port, _ := net.SplitHostPort(s.Addr)
	s.KnownHosts = fmt.Sprintf("[%s]:%s %s\n", host, port, s.HostKey)
}

// Break sets the faults, in place of those before.
func (s *Server) Break(f Faults) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = f
}

func (s *Server) broken() Faults {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.faults
}

// Cut ends all connections without a word.
func (s *Server) Cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		_ = c.Close()
	}
}

// Handshakes counts the log-ins that succeeded.
func (s *Server) Handshakes() int { return int(s.handshakes.Load()) }

// Peak is the largest number of sessions that were open at once.
func (s *Server) Peak() int { return int(s.peak.Load()) }

// Forwards counts the connections that were forwarded.
func (s *Server) Forwards() int { return int(s.forwards.Load()) }

// Execs returns the commands that were asked for.
func (s *Server) Execs() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.execs...)
}

// close ends everything, commands that outlived their client too.
func (s *Server) close() {
	_ = s.listener.Close()
	s.Cut()
	s.mu.Lock()
	for pid := range s.groups {
		_ = syscall.Kill(-pid, syscall.SIGKILL)
	}
	s.mu.Unlock()
	s.wg.Wait()
}

func (s *Server) track(pid int, runs bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if runs {
		s.groups[pid] = true
	} else {
		delete(s.groups, pid)
	}
}

func (s *Server) accept() {
	for {
		c, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conns[c] = true
		s.mu.Unlock()
		s.wg.Go(func() {
			s.serve(c)
			_ = c.Close()
			s.mu.Lock()
			delete(s.conns, c)
			s.mu.Unlock()
		})
	}
}

// take counts a fault down that happens a number of times.
func (s *Server) take(n *int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if *n == 0 {
		return false
	}
	*n--
	return true
}

func (s *Server) serve(nc net.Conn) {
	f := s.broken()
	if s.take(&s.faults.HangUps) {
		return
	}
	if f.StallBeforeBanner {
		waitClosed(nc)
		return
	}
	config := &ssh.ServerConfig{
		MaxAuthTries: 20,
		PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			if string(key.Marshal()) != string(s.userKey.Marshal()) {
				return nil, fmt.Errorf("unknown key")
			}
			return nil, nil
		},
		AuthLogCallback: func(ssh.ConnMetadata, string, error) {
			if f.StallBeforeAuth {
				waitClosed(nc)
			}
		},
	}
	if s.take(&s.faults.RefuseKeys) {
		config.PublicKeyCallback = func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) {
			return nil, fmt.Errorf("refused")
		}
	}
	s.mu.Lock()
	config.AddHostKey(s.signer)
	s.mu.Unlock()
	sc, chans, reqs, err := ssh.NewServerConn(nc, config)
	if err != nil {
		return
	}
	s.handshakes.Add(1)
	go ssh.DiscardRequests(reqs)
	var open atomic.Int64
	var wg sync.WaitGroup
	for ch := range chans {
		wg.Go(func() {
			switch ch.ChannelType() {
			case "session":
				s.session(ch, &open)
			case "direct-tcpip":
				s.forward(ch)
			default:
				_ = ch.Reject(ssh.UnknownChannelType, "unknown")
			}
		})
	}
	_ = sc.Close()
	wg.Wait()
}

// waitClosed waits until the client or the test ends the connection.
func waitClosed(c net.Conn) {
	buf := make([]byte, 4096)
	for {
		if _, err := c.Read(buf); err != nil {
			return
		}
	}
}
