package sshexec

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"golang.org/x/crypto/ssh"
)

// Dial connects to address as seen from the server (direct-tcpip). It fails
// with a *ForwardingError where sshd does not allow that, and with a
// *net.OpError where nothing listens at address.
func (c *Client) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	leave, err := c.pool.enter()
	if err != nil {
		return nil, err
	}
	defer leave()
	l, err := c.link()
	if err != nil {
		return nil, err
	}
	for again := true; ; again = false {
		conn, err := l.connect(ctx)
		if err != nil {
			return nil, c.dialError(l, err)
		}
		l.dials.Add(1)
		nc, err := conn.forward(ctx, network, address)
		if err == nil {
			return nc, nil
		}
		if again && ctx.Err() == nil && broken(conn) {
			continue
		}
		return nil, c.forwardError(network, address, err)
	}
}

// forwardError classifies by the reason in the refusal, not by its text.
func (c *Client) forwardError(network, address string, err error) error {
	var refused *ssh.OpenChannelError
	if errors.As(err, &refused) && (refused.Reason == ssh.Prohibited || refused.Reason == ssh.UnknownChannelType) {
		return &ForwardingError{Server: c.server, Address: address, Err: err}
	}
	return &net.OpError{Op: "dial", Net: network, Addr: forwardAddr{network, address}, Err: fmt.Errorf("from %s: %w", c.server, err)}
}

// forward opens a forwarded connection. It does not count as a session.
func (c *conn) forward(ctx context.Context, network, address string) (net.Conn, error) {
	remote, err := await(ctx, c, func() (net.Conn, error) {
		return c.client.Dial(network, address)
	}, func(nc net.Conn) {
		_ = nc.Close()
	})
	if err != nil {
		return nil, err
	}
	// Channels have no deadlines. The pipe between has them, and ends at once
	// on Close even if the server does not answer.
	near, far := net.Pipe()
	c.wg.Go(func() {
		defer remote.Close()
		var copies sync.WaitGroup
		copies.Go(func() {
			defer far.Close()
			_, _ = io.Copy(far, remote)
		})
		_, _ = io.Copy(remote, far)
		_ = remote.Close()
		copies.Wait()
	})
	return &forwardConn{near, forwardAddr{network, "ssh"}, forwardAddr{network, address}}, nil
}

// A forwardConn gives a forwarded connection its addresses back.
type forwardConn struct {
	net.Conn
	local, remote forwardAddr
}

func (c *forwardConn) LocalAddr() net.Addr  { return c.local }
func (c *forwardConn) RemoteAddr() net.Addr { return c.remote }

type forwardAddr struct{ network, address string }

func (a forwardAddr) Network() string { return a.network }
func (a forwardAddr) String() string  { return a.address }
