package sshexec_test

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec/sshtest"
)

// A relay passes bytes on to a server until it is told to swallow them, as a
// link does that died without a word.
type relay struct {
	addr string

	mu    sync.Mutex
	mute  bool
	conns []net.Conn
}

func startRelay(t *testing.T, to string) *relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{addr: l.Addr().String()}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", to)
			if err != nil {
				_ = near.Close()
				continue
			}
			r.mu.Lock()
			r.conns = append(r.conns, near, far)
			r.mu.Unlock()
			wg.Go(func() { r.copy(near, far) })
			wg.Go(func() { r.copy(far, near) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		r.mu.Lock()
		for _, c := range r.conns {
			_ = c.Close()
		}
		r.mu.Unlock()
		wg.Wait()
	})
	return r
}

func (r *relay) copy(to, from net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if err != nil && !errors.Is(err, io.EOF) {
			return
		}
		r.mu.Lock()
		mute := r.mute
		r.mu.Unlock()
		if !mute {
			_, _ = to.Write(buf[:n])
		}
		if err != nil {
			return
		}
	}
}

func (r *relay) setMute(mute bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mute = mute
}

func TestSilentlyDeadLinkIsNoticed(t *testing.T) {
	t.Parallel()
	srv := sshtest.Start(t)
	link := startRelay(t, srv.Addr)
	o := optionsFor(srv)
	o.KnownHosts = "* " + srv.HostKey + "\n"
	o.ConnectTimeout = 5 * time.Second
	p := newPool(t, o, nil)
	p.SetKeepAlive(50*time.Millisecond, 500*time.Millisecond)
	c := p.Client(link.addr)
	mustRun(t, c, steps("true"))

	began := filepath.Join(srv.Home, "began")
	go func() {
		waitFor(t, func() bool { _, err := os.Stat(began); return err == nil })
		link.setMute(true)
	}()
	_, err := c.Run(timeout(t), steps("touch began; sleep 20"))
	var interrupted *sshexec.InterruptedError
	if !errors.As(err, &interrupted) || !strings.Contains(err.Error(), "no answer for 500ms") {
		t.Errorf("error: %v", err)
	}
	link.setMute(false)
	mustRun(t, c, steps("true"))
	srv.Cut() // ends the sleep, which did not hear that we are gone
}

func TestCancelDoesNotWaitForADeadLink(t *testing.T) {
	t.Parallel()
	srv := sshtest.Start(t)
	link := startRelay(t, srv.Addr)
	o := optionsFor(srv)
	o.KnownHosts = "* " + srv.HostKey + "\n"
	c := newPool(t, o, nil).Client(link.addr)
	mustRun(t, c, steps("true"))
	link.setMute(true)
	ctx, cancel := contextWithCancel(t)
	time.AfterFunc(50*time.Millisecond, cancel)
	start := time.Now()
	if _, err := c.Run(ctx, steps("true")); err == nil {
		t.Error("no error")
	}
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("took %s", d)
	}
}
