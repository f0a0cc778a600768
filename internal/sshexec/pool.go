package sshexec

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"
)

// A Logger takes debug messages. All texts it gets are redacted.
type Logger interface {
	Debug(ctx context.Context, msg string, fields map[string]any)
}

// A Pool holds one connection per server for the life of the process.
type Pool struct {
	options func(server string) (Options, error)
	log     Logger
	secrets redactor
	// How often a connection is asked whether it lives, and how long it may
	// take to answer.
	keepAliveEvery, keepAliveWait time.Duration

	mu      sync.Mutex
	closed  bool
	clients map[string]*Client // by destination as written
	links   map[string]*link   // by what the destination resolves to
	calls   sync.WaitGroup     // Run and Dial calls under way
	// stop ends what is being dialled when the pool closes.
	ctx  context.Context
	stop context.CancelFunc
}

// A silent link is noticed after keepAliveEvery + keepAliveWait at most.
const (
	keepAliveEvery = 10 * time.Second
	keepAliveWait  = 20 * time.Second
)

var errPoolClosed = errors.New("the connections are closed")

// NewPool returns a pool without connections. options gives the options for a
// destination, once per server; log may be nil.
func NewPool(options func(server string) (Options, error), log Logger) *Pool {
	ctx, stop := context.WithCancel(context.Background()) //nolint:forbidigo // outlives the call that makes the pool; Close ends it
	return &Pool{
		options: options, log: log, clients: map[string]*Client{}, links: map[string]*link{}, ctx: ctx, stop: stop,
		keepAliveEvery: keepAliveEvery, keepAliveWait: keepAliveWait,
	}
}

// Client returns the client of a destination. It never dials; a destination
// that does not parse is reported by the first call.
func (p *Pool) Client(server string) *Client {
	p.mu.Lock()
	defer p.mu.Unlock()
	c, ok := p.clients[server]
	if !ok {
		c = &Client{pool: p, server: server}
		p.clients[server] = c
	}
	return c
}

// AddSecret registers values that Redact, logs and errors do not show.
func (p *Pool) AddSecret(values ...string) { p.secrets.add(values...) }

// Redact returns s without the registered values, also where they are encoded
// (base64, URL, shell, JSON). Values of up to three bytes are replaced only
// where they stand as a value, as in PIN=123.
func (p *Pool) Redact(s string) string { return p.secrets.redact(s) }

// Close ends all connections. Calls under way fail.
func (p *Pool) Close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.closed = true
	p.mu.Unlock()

	p.stop()
	for _, l := range p.allLinks() {
		l.hangUp()
	}
	p.calls.Wait()
	// Asked again: a call may have made the link to its bastion meanwhile.
	for _, l := range p.allLinks() {
		l.wait()
	}
	return nil
}

func (p *Pool) allLinks() []*link {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Collect(maps.Values(p.links))
}

// enter counts a call as under way until leave.
func (p *Pool) enter() (leave func(), err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, errPoolClosed
	}
	p.calls.Add(1)
	return p.calls.Done, nil
}

// linkTo returns the one link to t.
func (p *Pool) linkTo(t *target) *link {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := t.key()
	l, ok := p.links[key]
	if !ok {
		l = &link{pool: p, target: t}
		p.links[key] = l
	}
	return l
}

func (p *Pool) debug(ctx context.Context, msg string, fields map[string]any) {
	if p.log == nil {
		return
	}
	for k, v := range fields {
		if s, ok := v.(string); ok {
			fields[k] = p.Redact(s)
		}
	}
	p.log.Debug(ctx, msg, fields)
}
