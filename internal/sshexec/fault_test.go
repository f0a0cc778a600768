package sshexec_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec/sshtest"
)

func TestSilentServerIsGivenUpAfterConnectTimeout(t *testing.T) {
	t.Parallel()
	for stage, f := range map[string]sshtest.Faults{
		"the SSH handshake": {StallBeforeBanner: true},
		"logging in":        {StallBeforeAuth: true},
	} {
		t.Run(stage, func(t *testing.T) {
			t.Parallel()
			srv := sshtest.Start(t)
			srv.Break(f)
			o := optionsFor(srv)
			o.ConnectTimeout = 300 * time.Millisecond
			start := time.Now()
			_, err := newPool(t, o, nil).Client(srv.Addr).Run(timeout(t), steps("true"))
			var unreachable *sshexec.UnreachableError
			if !errors.As(err, &unreachable) || !strings.Contains(err.Error(), stage) || !strings.Contains(err.Error(), "300ms") {
				t.Errorf("error: %v", err)
			}
			if d := time.Since(start); d > 5*time.Second {
				t.Errorf("took %s", d)
			}
		})
	}
}

func TestCancelEndsTheDial(t *testing.T) {
	t.Parallel()
	srv := sshtest.Start(t)
	srv.Break(sshtest.Faults{StallBeforeBanner: true})
	c := newClient(t, srv)
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if _, err := c.Run(ctx, steps("true")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error: %v", err)
	}
	// The next one does not inherit the attempt that was given up.
	srv.Break(sshtest.Faults{})
	mustRun(t, c, steps("true"))
}

func TestCancelledCallerDoesNotEndTheDialOfOthers(t *testing.T) {
	t.Parallel()
	srv := sshtest.Start(t)
	srv.Break(sshtest.Faults{StallBeforeBanner: true})
	o := optionsFor(srv)
	o.ConnectTimeout, o.BootTimeout = 500*time.Millisecond, 20*time.Second
	c := newPool(t, o, nil).Client(srv.Addr)
	first, cancel := context.WithCancel(timeout(t))
	firstDone, secondDone := make(chan error), make(chan error)
	go func() { _, err := c.Run(first, steps("true")); firstDone <- err }()
	go func() { _, err := c.Run(timeout(t), steps("true")); secondDone <- err }()
	time.Sleep(100 * time.Millisecond) // both are waiting; if not, the test shows less
	cancel()
	if err := <-firstDone; !errors.Is(err, context.Canceled) {
		t.Errorf("first: %v", err)
	}
	srv.Break(sshtest.Faults{})
	if err := <-secondDone; err != nil {
		t.Errorf("second: %v", err)
	}
}

func TestNothingListening(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	srv := sshtest.Start(t)
	_, err = newPool(t, optionsFor(srv), nil).Client(addr).Run(timeout(t), steps("true"))
	var unreachable *sshexec.UnreachableError
	if !errors.As(err, &unreachable) || unreachable.Server != addr {
		t.Errorf("error: %v", err)
	}
}

func TestOneHangUpBeforeTheBannerIsTriedAgain(t *testing.T) {
	t.Parallel()
	srv := sshtest.Start(t)
	srv.Break(sshtest.Faults{HangUps: 1})
	mustRun(t, newClient(t, srv), steps("true"))

	srv.Break(sshtest.Faults{HangUps: 2})
	_, err := newClient(t, srv).Run(timeout(t), steps("true"))
	var unreachable *sshexec.UnreachableError
	var hungUp *sshexec.HungUpError
	if !errors.As(err, &unreachable) || !errors.As(err, &hungUp) {
		t.Errorf("error: %v", err)
	}
}

func TestBootingServerIsWaitedFor(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]sshtest.Faults{
		"hangs up":     {HangUps: 3},
		"refuses keys": {RefuseKeys: 2}, // the user's keys are not there yet
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := sshtest.Start(t)
			srv.Break(f)
			o := optionsFor(srv)
			o.BootTimeout = 20 * time.Second
			mustRun(t, newPool(t, o, nil).Client(srv.Addr), steps("true"))
		})
	}
}

func TestBootTimeoutEndsWithTheLastError(t *testing.T) {
	t.Parallel()
	srv := sshtest.Start(t)
	srv.Break(sshtest.Faults{RefuseKeys: 1000})
	o := optionsFor(srv)
	o.BootTimeout = 1500 * time.Millisecond
	_, err := newPool(t, o, nil).Client(srv.Addr).Run(timeout(t), steps("true"))
	var refused *sshexec.AuthError
	if !errors.As(err, &refused) || !strings.Contains(err.Error(), "still after 1.5s") {
		t.Errorf("error: %v", err)
	}
}

func TestConnectionCutDuringACallInterruptsIt(t *testing.T) {
	t.Parallel()
	srv := sshtest.Start(t)
	c := newClient(t, srv)
	began := filepath.Join(srv.Home, "began")
	go func() {
		waitFor(t, func() bool { _, err := os.Stat(began); return err == nil })
		// A whole call over the same connection: by then the end of the first step has come over it too.
		mustRun(t, c, steps("true"))
		srv.Cut()
	}()
	r, err := c.Run(timeout(t), steps("echo first", "echo x >>began; sleep 30", "true"))
	var interrupted *sshexec.InterruptedError
	if !errors.As(err, &interrupted) || !strings.Contains(interrupted.Step, "began") {
		t.Fatalf("error: %v", err)
	}
	if r == nil || r.Out(0) != "first" || r.Steps[1].Ran {
		t.Errorf("result: %+v", r)
	}
	// It is dialled again for the next call, and the cut one ran once.
	r = mustRun(t, c, steps("cat began"))
	if r.Out(0) != "x" || c.Stats().Handshakes != 2 {
		t.Errorf("%q, %+v", r.Out(0), c.Stats())
	}
}

func TestConnectionThatDiedIdleIsDialledAgain(t *testing.T) {
	t.Parallel()
	srv := sshtest.Start(t)
	c := newClient(t, srv)
	for i := range 5 {
		// At once, so that the client may not have noticed yet.
		r := mustRun(t, c, steps("echo x >>ran; cat ran"))
		if n := strings.Count(r.Out(0), "x"); n != i+1 {
			t.Errorf("ran %d times in %d calls", n, i+1)
		}
		srv.Cut()
	}
}

func TestSessionLimitOfTheServerIsRespected(t *testing.T) {
	t.Parallel()
	for _, limit := range []int{1, 2} {
		srv := sshtest.Start(t)
		srv.Break(sshtest.Faults{MaxSessions: limit})
		c := newClient(t, srv)
		errs := make(chan error)
		for range 12 {
			go func() { _, err := c.Run(timeout(t), steps("sleep 0.05")); errs <- err }()
		}
		for range 12 {
			if err := <-errs; err != nil {
				t.Errorf("limit %d: %v", limit, err)
			}
		}
		if srv.Handshakes() != 1 {
			t.Errorf("%d handshakes", srv.Handshakes())
		}
	}
}

func TestServerThatRunsNothingSaysSo(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]sshtest.Faults{"sessions": {RefuseSessions: true}, "exec": {RefuseExec: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := sshtest.Start(t)
			srv.Break(f)
			_, err := newClient(t, srv).Run(timeout(t), steps("true"))
			var start *sshexec.StartError
			if !errors.As(err, &start) {
				t.Errorf("error: %v", err)
			}
		})
	}
}

func TestClosedPool(t *testing.T) {
	t.Parallel()
	srv := sshtest.Start(t)
	p := newPool(t, optionsFor(srv), nil)
	c := p.Client(srv.Addr)
	mustRun(t, c, steps("true"))
	running := make(chan error)
	go func() {
		_, err := c.Run(timeout(t), steps("touch running; sleep 60"))
		running <- err
	}()
	waitFor(t, func() bool { _, err := os.Stat(filepath.Join(srv.Home, "running")); return err == nil })
	closed := make(chan error)
	go func() { closed <- p.Close() }()
	var interrupted *sshexec.InterruptedError
	if err := <-running; !errors.As(err, &interrupted) {
		t.Errorf("call under way: %v", err)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if _, err := c.Run(timeout(t), steps("true")); err == nil {
		t.Error("a call after Close succeeded")
	}
}

func TestDialForwardsWithDeadlines(t *testing.T) {
	t.Parallel()
	echo, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer echo.Close()
	go func() {
		for {
			c, err := echo.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); _, _ = io.Copy(c, c) }()
		}
	}()
	srv := sshtest.Start(t)
	c := newClient(t, srv)
	nc, err := c.Dial(timeout(t), "tcp", echo.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, err := nc.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 5)
	if _, err := io.ReadFull(nc, buf); err != nil || string(buf) != "hello" {
		t.Fatalf("%q, %v", buf, err)
	}
	_ = nc.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if _, err := nc.Read(buf); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read behind the deadline: %v", err)
	}
	if nc.RemoteAddr().String() != echo.Addr().String() {
		t.Errorf("remote address %s", nc.RemoteAddr())
	}
	if s := c.Stats(); s.Dials != 1 || s.Handshakes != 1 || s.Calls != 0 {
		t.Errorf("stats: %+v", s)
	}
}

func TestDialTellsRefusedFromForbidden(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	_ = l.Close()
	srv := sshtest.Start(t)
	c := newClient(t, srv)
	_, err = c.Dial(timeout(t), "tcp", closed)
	var op *net.OpError
	var forbidden *sshexec.ForwardingError
	if !errors.As(err, &op) || errors.As(err, &forbidden) {
		t.Errorf("refused: %v", err)
	}
	srv.Break(sshtest.Faults{NoForwarding: true})
	if _, err = c.Dial(timeout(t), "tcp", closed); !errors.As(err, &forbidden) {
		t.Errorf("forbidden: %v", err)
	}
	mustRun(t, c, steps("true"))
}

func TestBastion(t *testing.T) {
	t.Parallel()
	outer, inner, srv := sshtest.Start(t), sshtest.Start(t), sshtest.Start(t)
	o := optionsFor(srv)
	o.Bastion = &sshexec.Bastion{Destination: "jump@" + inner.Addr, Options: optionsFor(inner)}
	o.Bastion.Options.Bastion = &sshexec.Bastion{Destination: outer.Addr, Options: optionsFor(outer)}
	p := newPool(t, o, nil)
	mustRun(t, p.Client(srv.Addr), steps("true"))
	mustRun(t, p.Client("root@"+srv.Addr), steps("true"))
	if outer.Handshakes() != 1 || inner.Handshakes() != 1 || srv.Handshakes() != 1 || outer.Forwards() != 1 || inner.Forwards() != 1 {
		t.Errorf("handshakes %d %d %d, forwards %d %d", outer.Handshakes(), inner.Handshakes(), srv.Handshakes(), outer.Forwards(), inner.Forwards())
	}
	// Each hop dies in turn; all are dialled again.
	for _, s := range []*sshtest.Server{outer, inner, srv} {
		s.Cut()
		waitFor(t, func() bool {
			_, err := p.Client(srv.Addr).Run(timeout(t), steps("true"))
			return err == nil
		})
	}

	inner.NewHostKey()
	inner.Cut()
	_, err := newPool(t, o, nil).Client(srv.Addr).Run(timeout(t), steps("true"))
	var hostKey *sshexec.HostKeyError
	if !errors.As(err, &hostKey) || hostKey.Server != "jump@"+inner.Addr {
		t.Errorf("error: %v", err)
	}
}
