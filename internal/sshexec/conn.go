package sshexec

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
)

const (
	// sshd allows 10 sessions per connection by default and frees them
	// lazily: 8 opened right after 8 closed were refused.
	maxSessions = 4
	// How long a refused session is tried again while no other one is open.
	refusedFor = 2 * time.Second
)

var errConnectionLost = errors.New("connection lost")

// A conn is one SSH connection. All goroutines of it end with close.
type conn struct {
	client *ssh.Client
	// done is closed when the connection is over.
	done chan struct{}
	// cause says why, once done is closed.
	cause error
	// silent is set when the keep-alive found nobody there.
	silent atomic.Bool

	// slots holds a token per session that may be opened. A token that is not
	// put back lowers the cap.
	slots chan struct{}
	open  atomic.Int32 // sessions that are open
	freed atomic.Int64 // when one was opened or freed last, Unix nanoseconds
	wg    sync.WaitGroup
}

func newConn(client *ssh.Client, every, wait time.Duration) *conn {
	c := &conn{client: client, done: make(chan struct{}), slots: make(chan struct{}, maxSessions)}
	for range maxSessions {
		c.slots <- struct{}{}
	}
	c.wg.Go(func() {
		err := client.Wait()
		switch {
		case c.silent.Load():
			err = fmt.Errorf("%w: no answer for %s", errConnectionLost, wait)
		case err == nil:
			err = errConnectionLost
		default:
			err = fmt.Errorf("%w: %w", errConnectionLost, err)
		}
		c.cause = err
		close(c.done)
	})
	c.wg.Go(func() { c.keepAlive(every, wait) })
	return c
}

func (c *conn) keepAlive(every, wait time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-c.done:
			return
		case <-tick.C:
		}
		late := time.AfterFunc(wait, func() {
			c.silent.Store(true)
			_ = c.client.Close()
		})
		_, _, err := c.client.SendRequest("keepalive@openssh.com", true, nil)
		late.Stop()
		if err != nil {
			return
		}
	}
}

// alive says whether the connection is not known to be over.
func (c *conn) alive() bool {
	select {
	case <-c.done:
		return false
	default:
		return true
	}
}

// close ends the connection and waits for everything on it.
func (c *conn) close() {
	_ = c.client.Close()
	c.wg.Wait()
}

// await runs f, which may block for as long as the connection lives, and gives
// up with ctx. What f returns after that goes to late.
func await[T any](ctx context.Context, c *conn, f func() (T, error), late func(T)) (T, error) {
	type answer struct {
		v   T
		err error
	}
	got := make(chan answer) // unbuffered: exactly one side takes the value
	c.wg.Go(func() {
		v, err := f()
		select {
		case got <- answer{v, err}:
		case <-ctx.Done():
			if err == nil {
				late(v)
			}
		}
	})
	select {
	case a := <-got:
		return a.v, a.err
	case <-ctx.Done():
		var zero T
		return zero, context.Cause(ctx)
	}
}

type channel struct {
	ssh.Channel
	requests <-chan *ssh.Request
}

// openSession opens a session within the cap. The session's owner calls
// release when the server is done with it.
func (c *conn) openSession(ctx context.Context) (ch channel, release func(), err error) {
	refusedAt := int64(0) // since when no session was open, and none granted
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, 200*time.Millisecond) {
		select {
		case <-c.slots:
		case <-c.done:
			return channel{}, nil, c.cause
		case <-ctx.Done():
			return channel{}, nil, context.Cause(ctx)
		}
		c.open.Add(1)
		release := func() {
			c.open.Add(-1)
			c.freed.Store(time.Now().UnixNano())
			c.slots <- struct{}{}
		}
		ch, err := await(ctx, c, func() (channel, error) {
			ch, requests, err := c.client.OpenChannel("session", nil)
			return channel{ch, requests}, err
		}, func(ch channel) {
			_ = ch.Close()
		})
		if err == nil {
			c.freed.Store(time.Now().UnixNano())
			return ch, release, nil
		}
		var refused *ssh.OpenChannelError
		if !errors.As(err, &refused) || refused.Reason != ssh.ConnectionFailed && refused.Reason != ssh.ResourceShortage {
			release()
			return channel{}, nil, err
		}
		// MaxSessions. While others are open the cap was too high: keep the
		// token, and wait for one of theirs. Without others the server may
		// only be late to free one.
		if c.open.Add(-1) > 0 {
			continue
		}
		c.slots <- struct{}{}
		now := time.Now().UnixNano()
		if refusedAt == 0 {
			refusedAt = now
		}
		if now-max(refusedAt, c.freed.Load()) > int64(refusedFor) {
			return channel{}, nil, err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return channel{}, nil, context.Cause(ctx)
		}
	}
}
