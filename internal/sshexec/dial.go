package sshexec

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"
)

const (
	clientVersion = "SSH-2.0-terraform-provider-kamal"
	// Pauses between attempts while a server boots.
	firstPause, longestPause = 500 * time.Millisecond, 5 * time.Second
)

// dialPatiently connects, and tries again while a server may be booting.
func (l *link) dialPatiently(ctx context.Context) (*conn, error) {
	t := l.target
	deadline := time.Now().Add(t.opts.BootTimeout)
	pause := firstPause
	var told error
	for n := 1; ; n++ {
		c, err := l.dial(ctx)
		if err == nil {
			return c, nil
		}
		if !retryable(err) {
			return nil, err
		}
		if ctx.Err() != nil {
			return nil, moreTelling(told, err)
		}
		told = moreTelling(told, err)
		if t.opts.BootTimeout == 0 {
			// sshd drops connections at random when too many log in at once
			// (MaxStartups): once more, a little later.
			var hung *HungUpError
			if n > 1 || !errors.As(err, &hung) {
				return nil, err
			}
		} else if time.Now().Add(pause).After(deadline) {
			return nil, waitedError(told, t.opts.BootTimeout, n)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w (%w)", told, context.Cause(ctx))
		case <-time.After(pause + rand.N(pause/2)):
		}
		pause = min(pause*3/2, longestPause)
	}
}

// moreTelling is the error to end with: a refused log-in says more than the
// hang-ups with which OpenSSH punishes those that follow, and what came of an
// attempt more than the end of our patience.
func moreTelling(before, now error) error {
	var refused *AuthError
	if errors.As(before, &refused) || before != nil && errors.Is(now, context.DeadlineExceeded) {
		return before
	}
	return now
}

// retryable says whether an attempt may go better later. A host key never
// does, and trying again would only help an attacker.
func retryable(err error) bool {
	var hostKey *HostKeyError
	var config *ConfigError
	return !errors.As(err, &hostKey) && !errors.As(err, &config)
}

// waitedError adds to err how long it was so.
func waitedError(err error, waited time.Duration, attempts int) error {
	add := func(e error) error { return fmt.Errorf("%w (still after %s and %d attempts)", e, waited, attempts) }
	var u *UnreachableError
	if errors.As(err, &u) {
		return &UnreachableError{Server: u.Server, Err: add(u.Err)}
	}
	var a *AuthError
	if errors.As(err, &a) {
		return &AuthError{Server: a.Server, User: a.User, Tried: a.Tried, Err: add(a.Err)}
	}
	return err
}

// dial connects and logs in, once.
func (l *link) dial(ctx context.Context) (*conn, error) {
	t := l.target
	var via *conn
	if t.bastion != nil {
		var err error
		if via, err = l.pool.linkTo(t.bastion).connect(ctx); err != nil {
			return nil, throughBastion(t, err)
		}
	}
	return l.dialVia(ctx, via, nil)
}

// throughBastion tells that it is the bastion that cannot be reached. Errors
// about its key or log-in name it already.
func throughBastion(t *target, err error) error {
	var u *UnreachableError
	if errors.As(err, &u) {
		return &UnreachableError{Server: t.server, Err: fmt.Errorf("bastion %s: %w", t.bastion.server, u.Err)}
	}
	return err
}

// dialVia makes the connection. without are host key algorithms not to ask
// for.
func (l *link) dialVia(parent context.Context, via *conn, without []string) (*conn, error) {
	t := l.target
	ctx, cancel := context.WithTimeout(parent, t.opts.connectTimeout())
	defer cancel()

	ids, err := loadIdentities(ctx, t)
	if err != nil {
		return nil, &ConfigError{Server: t.server, Err: err}
	}
	defer ids.close()
	l.mu.Lock()
	remembered := l.accepted
	l.mu.Unlock()
	hostKey, err := newHostKeyCheck(t, remembered)
	if err != nil {
		return nil, &ConfigError{Server: t.server, Err: err}
	}
	hostKey.algorithms = slices.DeleteFunc(slices.Clone(hostKey.algorithms), func(a string) bool { return slices.Contains(without, a) })

	nc, err := l.dialNet(ctx, via)
	if err != nil {
		return nil, l.unreachable(parent, ctx, "connecting", err)
	}
	login := &login{ids: ids}
	config := &ssh.ClientConfig{
		User: t.user, ClientVersion: clientVersion,
		HostKeyCallback: hostKey.callback, HostKeyAlgorithms: hostKey.algorithms,
		AuthCallback: login.next,
	}
	// The handshake knows no ctx: closing the connection ends it.
	stop := context.AfterFunc(ctx, func() { _ = nc.Close() })
	sc, chans, reqs, err := ssh.NewClientConn(nc, t.address(), config)
	if !stop() && err == nil {
		_ = sc.Close()
		err = context.Cause(ctx)
	}
	if err == nil {
		return l.established(parent, newConn(ssh.NewClient(sc, chans, reqs), l.pool.keepAliveEvery, l.pool.keepAliveWait), hostKey), nil
	}
	_ = nc.Close()

	var changed *HostKeyError
	if errors.As(hostKey.err, &changed) {
		if more := otherTypes(t, hostKey, without); more != nil {
			if c, err := l.dialVia(parent, via, more); err == nil {
				return c, nil
			}
		}
		return nil, changed
	}
	if parent.Err() == nil && ctx.Err() == nil && login.refusedBy(err) {
		return nil, &AuthError{Server: t.server, User: t.user, Tried: ids.names(), Err: err}
	}
	stage := "the SSH handshake"
	if hostKey.seen != nil {
		stage = "logging in"
	} else if hungUp(err) {
		err = &HungUpError{Err: err}
	}
	return nil, l.unreachable(parent, ctx, stage, err)
}

// otherTypes returns the algorithms to leave out so that the server shows
// another of its keys: a pinned fingerprint does not say of which type its key
// is. nil if there is nothing to try.
func otherTypes(t *target, h *hostKeyCheck, without []string) []string {
	if !strings.HasPrefix(strings.TrimSpace(t.opts.HostKey), "SHA256:") {
		return nil
	}
	more := append(slices.Clone(without), algorithmsOf(h.seen.Type())...)
	if len(more) >= len(hostKeyAlgorithms) {
		return nil
	}
	return more
}

// established notes a new connection.
func (l *link) established(ctx context.Context, c *conn, h *hostKeyCheck) *conn {
	l.handshakes.Add(1)
	l.mu.Lock()
	l.hostKey = h.seen
	if h.accepted {
		l.accepted = h.seen
	}
	l.mu.Unlock()
	l.pool.debug(ctx, "ssh handshake", map[string]any{
		"server": l.target.server, "address": l.target.address(), "host_key": h.seen.Type() + " " + ssh.FingerprintSHA256(h.seen),
	})
	return c
}

func (l *link) dialNet(ctx context.Context, via *conn) (net.Conn, error) {
	if via == nil {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", l.target.address())
	}
	nc, err := via.forward(ctx, "tcp", l.target.address())
	if err != nil {
		return nil, fmt.Errorf("through bastion %s: %w", l.target.bastion.server, err)
	}
	return nc, nil
}

// unreachable classifies a failure that is neither the host key's nor the
// log-in's.
func (l *link) unreachable(parent, ctx context.Context, stage string, err error) error {
	switch {
	case parent.Err() != nil:
		return context.Cause(parent)
	case ctx.Err() != nil:
		err = fmt.Errorf("no answer within %s (%s)", l.target.opts.connectTimeout(), stage)
	}
	return &UnreachableError{Server: l.target.server, Err: err}
}

func hungUp(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// login offers the keys and remembers how far it came.
type login struct {
	ids    *identities
	begun  bool
	denied bool
}

var errDenied = errors.New("permission denied")

func (a *login) next(c *ssh.ClientAuthContext) (ssh.AuthMethod, error) {
	a.begun = true
	switch {
	case slices.Contains(c.PartialSuccessMethods, "publickey"):
		a.denied = true
		return nil, fmt.Errorf("%w: the key is right, and the server wants more (%s)", errDenied, strings.Join(c.AllowedMethods, ", "))
	case !slices.Contains(c.AllowedMethods, "publickey"):
		a.denied = true
		return nil, fmt.Errorf("%w: the server takes no keys, only %s", errDenied, strings.Join(c.AllowedMethods, ", "))
	case slices.Contains(c.TriedMethods, "publickey"):
		a.denied = true
		return nil, fmt.Errorf("%w: no key was accepted", errDenied)
	}
	return ssh.PublicKeys(a.ids.signers()...), nil
}

// refusedBy says whether err means that the server did not let us in. A server
// may also end the connection with a word ("too many authentication
// failures"), which is neither an end of the stream nor a network error.
func (a *login) refusedBy(err error) bool {
	var network net.Error
	return a.denied || a.begun && !hungUp(err) && !errors.Is(err, net.ErrClosed) && !errors.As(err, &network)
}
