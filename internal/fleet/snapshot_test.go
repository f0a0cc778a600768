package fleet

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec/sshtest"
)

// newServer is a server of a fleet that reaches a server in this process. No
// docker answers there.
func newServer(t *testing.T, o sshexec.Options) (*Server, *sshtest.Server) {
	t.Helper()
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "docker"), []byte("#!/bin/sh\necho down >&2\nexit 1\n"), 0o755); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	ssh := sshtest.Start(t)
	o.PrivateKey, o.KnownHosts = ssh.Key, ssh.KnownHosts
	pool := sshexec.NewPool(func(string) (sshexec.Options, error) { return o, nil }, nil)
	t.Cleanup(func() {
		if err := pool.Close(); err != nil {
			t.Error(err)
		}
	})
	return New(pool).Server("root@" + ssh.Addr), ssh
}

func TestSnapshotIsSharedUntilSomethingChanges(t *testing.T) {
	s, ssh := newServer(t, sshexec.Options{})
	var wg sync.WaitGroup
	got := make([]*Snapshot, 20)
	for i := range got {
		wg.Go(func() {
			snap, err := s.Snapshot(t.Context())
			if err != nil {
				t.Error(err)
			}
			got[i] = snap
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	for _, snap := range got {
		if snap != got[0] {
			t.Fatal("not all got the same snapshot")
		}
	}
	if n := len(ssh.Execs()); n != 1 || ssh.Handshakes() != 1 {
		t.Errorf("%d calls, %d handshakes for 20 who asked", n, ssh.Handshakes())
	}
	if got[0].Docker.Running || got[0].Docker.Failure != "down" || got[0].Facts.Machine == "" {
		t.Errorf("snapshot %+v %+v", got[0].Docker, got[0].Facts)
	}

	if _, err := s.Read(t.Context(), sshexec.Call{Title: "read", Steps: []sshexec.Step{{Script: "echo"}}}); err != nil {
		t.Fatal(err)
	}
	if again, err := s.Snapshot(t.Context()); err != nil || again != got[0] {
		t.Errorf("after a call that changes nothing: another snapshot, %v", err)
	}
	if _, err := s.Change(t.Context(), sshexec.Call{Title: "change", Steps: []sshexec.Step{{Script: "exit 1"}}}); err != nil {
		t.Fatal(err)
	}
	if again, err := s.Snapshot(t.Context()); err != nil || again == got[0] {
		t.Errorf("after a change, though it failed: the same snapshot, %v", err)
	}
}

// What changes while a snapshot is taken may be missing in it.
func TestSnapshotThatSomethingOvertookIsNotKept(t *testing.T) {
	s, ssh := newServer(t, sshexec.Options{})
	go func() {
		for len(ssh.Execs()) == 0 {
			time.Sleep(time.Millisecond)
		}
		s.Changed()
	}()
	_, snap, err := s.Observe(t.Context(), sshexec.Call{Title: "look", Prelude: "sleep 0.3"})
	if err != nil || snap == nil {
		t.Fatal(err)
	}
	if again, err := s.Snapshot(t.Context()); err != nil || again == snap {
		t.Errorf("the overtaken snapshot was kept, %v", err)
	}
}

func TestObserveAfterSteps(t *testing.T) {
	s, _ := newServer(t, sshexec.Options{})
	kept, err := s.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	res, snap, err := s.Observe(t.Context(), sshexec.Call{Title: "step", Steps: []sshexec.Step{{Title: "say", Script: "echo said"}}})
	if err != nil || snap == nil || len(res.Steps) != 1 || res.Out(0) != "said" {
		t.Errorf("%+v, %+v, %v", res, snap, err)
	}
	if again, err := s.Snapshot(t.Context()); err != nil || again == kept {
		t.Errorf("steps may change something, but the snapshot is the one before, %v", err)
	}
	res, snap, err = s.Observe(t.Context(), sshexec.Call{Title: "step", Steps: []sshexec.Step{{Title: "refuse", Script: "exit 75"}}})
	if err != nil || snap != nil || res.Steps[0].ExitCode != 75 {
		t.Errorf("after a step that failed: %+v, %+v, %v", res, snap, err)
	}
}

// Twenty resources on a dead server must not take twenty timeouts.
func TestSnapshotsOfADeadServerWaitTogether(t *testing.T) {
	s, ssh := newServer(t, sshexec.Options{ConnectTimeout: time.Second})
	ssh.Break(sshtest.Faults{StallBeforeBanner: true})
	begin := time.Now()
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := s.Snapshot(t.Context()); !IsUnreachable(err) {
				t.Errorf("error %v", err)
			}
		})
	}
	wg.Wait()
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("20 snapshots of a server that does not answer took %s, one timeout is 1s", took)
	}
	ssh.Break(sshtest.Faults{})
	if _, err := s.Snapshot(t.Context()); err != nil {
		t.Errorf("the server is back: %v", err)
	}
}

// Who gives up must not make the others fail.
func TestSnapshotOutlivesTheCallerWhoBeganIt(t *testing.T) {
	s, ssh := newServer(t, sshexec.Options{ConnectTimeout: 20 * time.Second})
	ssh.Break(sshtest.Faults{StallBeforeBanner: true})
	ctx, cancel := context.WithCancel(t.Context())
	first, second := make(chan error, 1), make(chan error, 1)
	go func() { _, err := s.Snapshot(ctx); first <- err }()
	for s.underWay() == nil {
		time.Sleep(time.Millisecond)
	}
	waits := waiting{t.Context(), make(chan struct{}, 100)}
	go func() { _, err := s.Snapshot(waits); second <- err }()
	<-waits.asked
	ssh.Break(sshtest.Faults{}) // for the next connection
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("the first: %v", err)
	}
	ssh.Cut()
	if err := <-second; err != nil {
		t.Errorf("the second: %v", err)
	}
}

// waiting tells when somebody begins to wait for its end.
type waiting struct {
	context.Context
	asked chan struct{}
}

func (w waiting) Done() <-chan struct{} {
	w.asked <- struct{}{}
	return w.Context.Done()
}

func (s *Server) underWay() *taking {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.taking
}

func TestAppsQueueByThemselves(t *testing.T) {
	t.Parallel()
	f := New(nil)
	done, err := f.QueueApp(t.Context(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	other, err := f.QueueApp(t.Context(), "other")
	if err != nil {
		t.Fatal(err)
	}
	other()
	ctx, cancel := context.WithTimeoutCause(t.Context(), 10*time.Millisecond, errors.New("enough"))
	defer cancel()
	if _, err := f.QueueApp(ctx, "shop"); err == nil || err.Error() != "enough" {
		t.Errorf("two have the app at once, or the cause is lost: %v", err)
	}
	done()
	again, err := f.QueueApp(t.Context(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	again()
}

func TestServerAddress(t *testing.T) {
	t.Parallel()
	f := New(sshexec.NewPool(nil, nil))
	for name, want := range map[string]string{"10.0.0.1": "10.0.0.1", "deploy@shop.example.com:2222": "shop.example.com", "root@[fd00::1]:22": "fd00::1"} {
		s := f.Server(name)
		if got := s.Address(); got != want {
			t.Errorf("%s: %s", name, got)
		}
		if f.Server(name) != s {
			t.Errorf("%s is two servers", name)
		}
	}
	if r := Random(11); len(r) != 11 || strings.Trim(r, "0123456789abcdef") != "" || r == Random(11) {
		t.Errorf("random %q", r)
	}
}
