package sshexec

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
)

// A Client runs calls on one server. It is safe for concurrent use.
type Client struct {
	pool   *Pool
	server string

	mu sync.Mutex
	to *link
}

// Stats counts what a server was asked, over all clients that share its
// connection.
type Stats struct {
	Handshakes, Calls, Dials int64
}

// link resolves the destination, once. A failure is not kept: the options of a
// later moment may be better.
func (c *Client) link() (*link, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.to != nil {
		return c.to, nil
	}
	o, err := c.pool.options(c.server)
	if err == nil {
		var t *target
		if t, err = resolve(c.server, o); err == nil {
			c.pool.addOptionSecrets(t)
			c.to = c.pool.linkTo(t)
			return c.to, nil
		}
	}
	return nil, &ConfigError{Server: c.server, Err: err}
}

// Server returns the destination as it was written.
func (c *Client) Server() string { return c.server }

// User returns the login user in effect, or "" where the options are wrong.
func (c *Client) User() string {
	l, err := c.link()
	if err != nil {
		return ""
	}
	return l.target.user
}

// HostKey returns the server's host key as "ssh-ed25519 AAAA…", or "" before
// the first connection.
func (c *Client) HostKey() string {
	l, err := c.link()
	if err != nil {
		return ""
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.hostKey == nil {
		return ""
	}
	return keyLine(l.hostKey)
}

// Stats returns the counts since the start of the process.
func (c *Client) Stats() Stats {
	l, err := c.link()
	if err != nil {
		return Stats{}
	}
	return Stats{Handshakes: l.handshakes.Load(), Calls: l.calls.Load(), Dials: l.dials.Load()}
}

// Run runs a call and returns what each step gave. A step that fails is no
// error: see Result. The error is of the transport (UnreachableError,
// AuthError, HostKeyError, ConfigError, StartError, SudoError,
// InterruptedError) or of ctx. With an InterruptedError the result is not nil
// and holds the steps that were seen to end.
//
// When ctx ends, so does the script on the server. A call that may have begun
// is never run a second time.
func (c *Client) Run(ctx context.Context, call Call) (*Result, error) {
	leave, err := c.pool.enter()
	if err != nil {
		return nil, err
	}
	defer leave()
	if err := checkCall(call); err != nil {
		return nil, err
	}
	for _, v := range call.Vars {
		if v.Secret {
			c.pool.AddSecret(v.Value)
		}
	}
	l, err := c.link()
	if err != nil {
		return nil, err
	}
	for again := true; ; again = false {
		conn, err := l.connect(ctx)
		if err != nil {
			return nil, c.dialError(l, err)
		}
		result, err := c.runOn(ctx, conn, l, call)
		// Nothing was sent because the connection had died unnoticed.
		if errors.Is(err, errNotSent) && ctx.Err() == nil && broken(conn) {
			if again {
				continue
			}
			return nil, &UnreachableError{Server: c.server, Err: err}
		}
		return result, err
	}
}

// broken says whether the connection is over; its end may take a moment to be
// known.
func broken(c *conn) bool {
	select {
	case <-c.done:
		return true
	case <-time.After(100 * time.Millisecond):
		return false
	}
}

// dialError returns the error of an attempt that another client may have
// begun, in this client's spelling of the server.
func (c *Client) dialError(l *link, err error) error {
	rename := func(server string) string {
		if server == l.target.server {
			return c.server
		}
		return server // a bastion
	}
	switch e := err.(type) { //nolint:errorlint // a dial returns these as they are; what is wrapped keeps its text
	case *UnreachableError:
		return &UnreachableError{Server: rename(e.Server), Err: e.Err}
	case *AuthError:
		return &AuthError{Server: rename(e.Server), User: e.User, Tried: e.Tried, Err: e.Err}
	case *ConfigError:
		return &ConfigError{Server: rename(e.Server), Err: e.Err}
	case *HostKeyError:
		renamed := *e
		renamed.Server = rename(e.Server)
		return &renamed
	}
	return fmt.Errorf("%s: %w", c.server, err)
}

func (c *Client) runOn(ctx context.Context, conn *conn, l *link, call Call) (*Result, error) {
	start := time.Now()
	r := l.request(call)
	o, err := conn.run(ctx, r)
	if err != nil && errors.Is(err, errNotSent) {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("%s on %s: %w", call.Title, c.server, err)
		}
		return nil, &StartError{Server: c.server, Call: call.Title, Err: err}
	}
	l.calls.Add(1)
	result := c.result(call, o)
	err = c.outcomeError(call, o, err)

	fields := map[string]any{
		"server": c.server, "call": call.Title, "steps": len(call.Steps),
		"exit_codes": exitCodes(result), "ms": time.Since(start).Milliseconds(),
	}
	if err != nil {
		fields["error"] = err.Error()
	}
	c.pool.debug(ctx, "remote call", fields)

	var interrupted *InterruptedError
	if err != nil && !errors.As(err, &interrupted) {
		return nil, err
	}
	return result, err
}

// request builds what is sent for a call.
func (l *link) request(call Call) request {
	nonce := newNonce()
	r := request{command: plainCommand, nonce: nonce, input: buildScript(call, nonce), steps: len(call.Steps)}
	if l.target.user != "root" {
		password := l.target.sudoPassword
		head := stageLine(nonce, password != "")
		if password != "" {
			head += password + "\n"
		}
		r.command, r.input = stagedCommand, head+r.input
	}
	return r
}

func (c *Client) result(call Call, o *outcome) *Result {
	r := &Result{Server: c.server, Call: c.pool.Redact(call.Title)}
	for i, s := range call.Steps {
		sr := StepResult{Title: c.pool.Redact(s.Title), Script: c.pool.Redact(s.Script)}
		out, err := o.out.step(i), o.err.step(i)
		if out.ran && err.ran {
			sr.Ran, sr.ExitCode = true, out.code
			sr.Stdout = out.out
			sr.Stderr = []byte(c.pool.Redact(string(err.out)))
		}
		r.Steps = append(r.Steps, sr)
	}
	return r
}

// outcomeError classifies an answer; nil if it is complete.
func (c *Client) outcomeError(call Call, o *outcome, err error) error {
	title := c.pool.Redact(call.Title)
	switch {
	case o.out.noSudo || o.err.noSudo:
		return &SudoError{Server: c.server, User: c.User(), Stderr: c.quoteNoise(o.err.noise)}
	case o.ended():
		return nil
	case !o.begun() && err == nil:
		return &StartError{
			Server: c.server, Call: title, Err: errors.New(o.ending),
			Output: c.quoteNoise(o.err.noise, o.out.noise),
		}
	case err == nil:
		err = errors.New(o.ending)
	}
	step := "start"
	for i, s := range call.Steps {
		if !o.out.step(i).ran || !o.err.step(i).ran {
			step = s.Title
			break
		}
	}
	return &InterruptedError{Server: c.server, Call: title, Step: c.pool.Redact(step), Err: err}
}

func (o cut) step(i int) frame {
	if i < len(o.steps) {
		return o.steps[i]
	}
	return frame{}
}

// quoteNoise returns the end of what came instead of an answer.
func (c *Client) quoteNoise(texts ...[]byte) string {
	const limit = 2000
	var all []string
	for _, t := range texts {
		s := strings.TrimSpace(c.pool.Redact(strings.ToValidUTF8(string(t), "?")))
		if len(s) > limit {
			s = "…" + strings.ToValidUTF8(s[len(s)-limit:], "")
		}
		if s != "" {
			all = append(all, s)
		}
	}
	return strings.Join(all, "\n")
}

func exitCodes(r *Result) []int {
	var codes []int
	for _, s := range r.Steps {
		if s.Ran {
			codes = append(codes, s.ExitCode)
		}
	}
	return codes
}
