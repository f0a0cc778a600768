// Package fleet is the servers of one run: each with one connection, one
// snapshot that all resources share until one of them changes something, and
// the queues of those who want to change it.
package fleet

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"net"
	"os"
	"os/user"
	"sync"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

// A Fleet gives out the servers of one provider configuration.
type Fleet struct {
	// Logins are the registries' log-ins.
	Logins docker.Logins
	// Run names this process on the servers: in locks and marks.
	Run string
	// By is the person or machine that runs it, for locks and audit logs.
	By string
	// KeepUnreachable is on_unreachable = "keep": what is on a server that
	// does not answer is kept in state, and a delete succeeds, with a warning.
	KeepUnreachable bool

	pool *sshexec.Pool

	mu      sync.Mutex
	servers map[string]*Server
	apps    map[string]chan struct{}
}

// New returns a fleet that connects through pool. It dials nothing.
func New(pool *sshexec.Pool) *Fleet {
	return &Fleet{
		Run:     Random(16),
		By:      performer(),
		pool:    pool,
		servers: map[string]*Server{},
		apps:    map[string]chan struct{}{},
	}
}

// Server is the server with this destination: `[user@]address[:port]` or an
// alias of the SSH configuration.
func (f *Fleet) Server(name string) *Server {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.servers[name]
	if s == nil {
		s = &Server{Name: name, client: f.pool.Client(name), proxy: make(chan struct{}, 1)}
		f.servers[name] = s
	}
	return s
}

// Redact removes every registered secret from a text.
func (f *Fleet) Redact(s string) string { return f.pool.Redact(s) }

// AddSecret registers values that must appear in no log line and no error.
func (f *Fleet) AddSecret(values ...string) { f.pool.AddSecret(values...) }

// QueueApp waits for its turn among the resources of this process that change
// the same app, so that they don't meet each other at the deploy lock. The
// caller calls done.
func (f *Fleet) QueueApp(ctx context.Context, app string) (done func(), err error) {
	f.mu.Lock()
	q := f.apps[app]
	if q == nil {
		q = make(chan struct{}, 1)
		f.apps[app] = q
	}
	f.mu.Unlock()
	return queue(ctx, q)
}

func queue(ctx context.Context, q chan struct{}) (func(), error) {
	select {
	case q <- struct{}{}:
		return func() { <-q }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Random returns n random hex digits.
func Random(n int) string {
	b := make([]byte, (n+1)/2)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)[:n]
}

func performer() string {
	name := "terraform"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if h, err := os.Hostname(); err == nil {
		name += "@" + h
	}
	return name
}

// A Server is one server of the run.
type Server struct {
	// Name is the destination as configured.
	Name string

	client *sshexec.Client
	proxy  chan struct{}

	mu       sync.Mutex
	snapshot *Snapshot
	// generation counts changes, so that a snapshot that was under way while
	// something changed is not kept.
	generation int
	taking     *taking
}

// Address is the server's address without user and port.
func (s *Server) Address() string {
	d, err := sshexec.ParseDestination(s.Name)
	if err != nil {
		return s.Name
	}
	return d.Address
}

// HostKey is the host key that the server showed, in known_hosts form; "" before the first connection.
func (s *Server) HostKey() string { return s.client.HostKey() }

// Read runs a call that changes nothing on the server.
func (s *Server) Read(ctx context.Context, call sshexec.Call) (*sshexec.Result, error) {
	return s.send(ctx, call)
}

// Change runs a call that may change something: the snapshot is dropped, also
// when the outcome is unknown.
func (s *Server) Change(ctx context.Context, call sshexec.Call) (*sshexec.Result, error) {
	s.Changed()
	defer s.Changed()
	return s.send(ctx, call)
}

// send is how every call goes out: its commands are the server's own docker,
// whatever the one who logs in has set up there.
func (s *Server) send(ctx context.Context, call sshexec.Call) (*sshexec.Result, error) {
	call.Environment = docker.ClientEnvironment
	return s.client.Run(ctx, call)
}

// Changed drops the snapshot.
func (s *Server) Changed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.snapshot = nil
	s.generation++
}

// Dial opens a connection from the server to an address that it can reach.
func (s *Server) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	return s.client.Dial(ctx, network, address)
}

// QueueProxy waits for its turn among the resources of this process that
// change this server's kamal-proxy. The caller calls done.
func (s *Server) QueueProxy(ctx context.Context) (done func(), err error) {
	return queue(ctx, s.proxy)
}

// IsUnreachable says that nobody knows what is on the server: it did not
// answer. A server that answers and refuses is not unreachable.
func IsUnreachable(err error) bool {
	var u *sshexec.UnreachableError
	return errors.As(err, &u)
}

// IsGone says that the server which once was at this address is no longer
// there: nothing answers, or another machine does, with another host key.
func IsGone(err error) bool {
	var h *sshexec.HostKeyError
	return IsUnreachable(err) || errors.As(err, &h)
}
