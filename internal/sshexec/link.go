package sshexec

import (
	"context"
	"sync"
	"sync/atomic"

	"golang.org/x/crypto/ssh"
)

// A link is the way to one server: at most one live connection, dialled when
// it is first needed and again after it broke.
type link struct {
	pool   *Pool
	target *target

	handshakes, calls, dials atomic.Int64

	mu      sync.Mutex
	conn    *conn
	conns   []*conn // all that were made, for the one who waits for them
	attempt *attempt
	hostKey ssh.PublicKey // what the last handshake showed
	// accepted is the key taken under PolicyAcceptNew. From then on it is the
	// only one.
	accepted ssh.PublicKey
}

// An attempt to connect is shared by all who need the connection, and given up
// when the last of them is gone.
type attempt struct {
	done    chan struct{}
	conn    *conn
	err     error
	waiting int
	cancel  func()
}

// connect returns a live connection.
func (l *link) connect(ctx context.Context) (*conn, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	l.mu.Lock()
	if l.conn != nil && l.conn.alive() {
		defer l.mu.Unlock()
		return l.conn, nil
	}
	l.conn = nil
	a := l.attempt
	if a == nil {
		a = l.startAttempt(ctx)
	}
	a.waiting++
	l.mu.Unlock()

	select {
	case <-a.done:
		return a.conn, a.err
	case <-ctx.Done():
		l.mu.Lock()
		defer l.mu.Unlock()
		if a.waiting--; a.waiting == 0 {
			a.cancel()
			if l.attempt == a {
				// Whoever comes next must not be given the cancelled one.
				l.attempt = nil
			}
		}
		return nil, context.Cause(ctx)
	}
}

// startAttempt needs l.mu. The attempt keeps the values of ctx (for logs), not
// its end.
func (l *link) startAttempt(ctx context.Context) *attempt {
	dialCtx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stopWithPool := context.AfterFunc(l.pool.ctx, func() { cancel(errPoolClosed) })
	a := &attempt{done: make(chan struct{}), cancel: func() { cancel(nil) }}
	l.attempt = a
	l.pool.calls.Add(1) // a call is under way: the counter is not zero
	go func() {
		defer l.pool.calls.Done()
		defer stopWithPool()
		defer cancel(nil)
		conn, err := l.dialPatiently(dialCtx)
		l.mu.Lock()
		defer l.mu.Unlock()
		a.conn, a.err = conn, err
		if conn != nil {
			l.conns = append(l.conns, conn)
			switch {
			case l.pool.ctx.Err() != nil:
				// Behind hangUp: nobody else would end it.
				_ = conn.client.Close()
				a.conn, a.err = nil, errPoolClosed
			case l.attempt == a:
				l.conn = conn
			default:
				_ = conn.client.Close() // nobody waits any more
			}
		}
		if l.attempt == a {
			l.attempt = nil
		}
		close(a.done)
	}()
	return a
}

// hangUp ends the connection without waiting for what is on it.
func (l *link) hangUp() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.conns {
		_ = c.client.Close()
	}
}

// wait waits for all connections to be over; no call may be under way.
func (l *link) wait() {
	l.mu.Lock()
	conns := l.conns
	l.conns = nil
	l.mu.Unlock()
	for _, c := range conns {
		c.close()
	}
}
