package sshexec

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
)

const (
	// After the end marker the server gets this long to close the session by
	// itself: a slot counts as free only then. A background process that
	// holds stdout must not keep it for ever.
	closeWait = 2 * time.Second
	// A shell that is over without an end marker may have output on its way:
	// it counts as over when nothing came for this long.
	idleWait = time.Second
)

// errNotSent marks failures that come before the whole script was sent, when
// certainly no step has begun.
var errNotSent = errors.New("the call was not sent")

// A request is what one remote call sends.
type request struct {
	command string
	nonce   string
	input   string
	steps   int
}

// An outcome is what came back.
type outcome struct {
	out, err cut
	// sent says that the script was sent whole, so that it may have begun.
	sent bool
	// ending says how the remote shell ended when there was no end marker.
	ending string
}

func (o *outcome) begun() bool { return o.out.begun || o.err.begun }
func (o *outcome) ended() bool { return o.out.ended && o.err.ended }

// run sends r and reads the answer up to the end markers. The error is nil
// when the shell ended, however it did: the caller looks at the outcome.
func (c *conn) run(ctx context.Context, r request) (*outcome, error) {
	ch, release, err := c.openSession(ctx)
	if err != nil {
		return &outcome{}, fmt.Errorf("%w: %w", errNotSent, err)
	}
	s := &session{
		conn: c, ch: ch,
		out: newFrames(r.nonce, r.steps), err: newFrames(r.nonce, r.steps),
		ended: make(chan struct{}), eof: make(chan struct{}), over: make(chan struct{}), written: make(chan struct{}),
	}
	s.start()
	defer func() { s.finish(ctx, release) }()

	accepted, err := await(ctx, c, func() (bool, error) {
		return ch.SendRequest("exec", true, ssh.Marshal(struct{ Command string }{r.command}))
	}, func(bool) {})
	if err == nil && !accepted {
		err = errors.New("sshd refused to run a command")
	}
	if err != nil {
		return &outcome{}, fmt.Errorf("%w: %w", errNotSent, err)
	}

	// sent is set after the last byte was handed over: the shell runs nothing
	// before it has the last line.
	var sent atomic.Bool
	c.wg.Go(func() {
		defer close(s.written)
		if _, err := io.WriteString(ch, r.input); err == nil {
			sent.Store(true)
		}
	})
	err = s.wait(ctx)
	o := &outcome{out: s.out.snapshot(), err: s.err.snapshot(), sent: sent.Load()}
	if err == nil && !o.ended() {
		o.ending, err = s.ending()
	}
	if err != nil && !o.sent && !o.begun() {
		err = fmt.Errorf("%w: %w", errNotSent, err)
	}
	return o, err
}

type session struct {
	conn     *conn
	ch       channel
	out, err *frames

	ended chan struct{} // both streams had their end marker
	eof   chan struct{} // both streams are closed
	over  chan struct{} // the server closed the channel
	// written is closed when the input is written, or cannot be.
	written chan struct{}

	bytes  atomic.Int64 // read so far
	mu     sync.Mutex
	status *uint32 // exit code of the shell, if it was told
	signal string  // signal that ended it
}

func (s *session) start() {
	var ended, eof sync.WaitGroup
	read := func(r io.Reader, f *frames) {
		ended.Add(1)
		eof.Add(1)
		s.conn.wg.Go(func() {
			defer eof.Done()
			once := sync.OnceFunc(ended.Done)
			defer once()
			buf := make([]byte, 64<<10)
			for {
				n, err := r.Read(buf)
				s.bytes.Add(int64(n))
				if f.write(buf[:n]) {
					once()
				}
				if err != nil {
					return
				}
			}
		})
	}
	read(s.ch, s.out)
	read(s.ch.Stderr(), s.err)
	s.conn.wg.Go(func() { ended.Wait(); close(s.ended) })
	s.conn.wg.Go(func() { eof.Wait(); close(s.eof) })
	s.conn.wg.Go(func() {
		defer close(s.over)
		for req := range s.ch.requests {
			s.takeRequest(req)
		}
	})
}

func (s *session) takeRequest(req *ssh.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch req.Type {
	case "exit-status":
		var msg struct{ Status uint32 }
		if ssh.Unmarshal(req.Payload, &msg) == nil {
			s.status = &msg.Status
		}
	case "exit-signal":
		var msg struct {
			Signal     string
			CoreDumped bool
			Error      string
			Lang       string
		}
		if ssh.Unmarshal(req.Payload, &msg) == nil {
			s.signal = msg.Signal
		}
	}
	if req.WantReply {
		_ = req.Reply(false, nil)
	}
}

func (s *session) exited() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status != nil || s.signal != ""
}

// wait returns when the answer is complete, or will not be.
func (s *session) wait(ctx context.Context) error {
	idle := time.NewTicker(idleWait)
	defer idle.Stop()
	before := int64(-1)
	for {
		select {
		case <-s.ended:
			return nil
		case <-s.over:
			// The readers have everything when the channel is closed.
			<-s.eof
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-idle.C:
			// The shell was killed while something it started holds stdout.
			if n := s.bytes.Load(); s.exited() && n == before {
				return nil
			} else {
				before = n
			}
		}
	}
}

// ending tells how the shell ended; an error if the connection did.
func (s *session) ending() (string, error) {
	if !s.exited() {
		// The exit code comes behind the last output.
		select {
		case <-s.over:
		case <-time.After(closeWait):
		}
	}
	s.mu.Lock()
	status, signal := s.status, s.signal
	s.mu.Unlock()
	switch {
	case signal != "":
		return "the remote shell was ended by signal " + signal, nil
	case status != nil:
		return fmt.Sprintf("the remote shell ended early with exit code %d", *status), nil
	}
	// Closed without a word: the connection is lost, as a rule, and its end is
	// known in a moment.
	select {
	case <-s.conn.done:
		return "", s.conn.cause
	case <-time.After(time.Second):
		return "the server closed the session", nil
	}
}

// finish closes the session and gives its slot back when the server has freed
// it. A cancelled call is closed at once, which wakes the watchdog.
func (s *session) finish(ctx context.Context, release func()) {
	cancelled := ctx.Err() != nil
	s.conn.wg.Go(func() {
		defer release()
		if !cancelled {
			select {
			case <-s.written: // CloseWrite must not meet a Write
				_ = s.ch.CloseWrite()
			default:
			}
			select {
			case <-s.over:
			case <-time.After(closeWait):
			}
		}
		_ = s.ch.Close()
		select {
		case <-s.over:
		case <-s.conn.done:
		case <-time.After(closeWait):
		}
	})
}
