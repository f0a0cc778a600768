package testbed

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// lend is Warm without the giving back.
func lend(t *testing.T, b *Bed, kind Kind) (*Server, func()) {
	t.Helper()
	s, release, err := b.lease(t.Context(), kind, t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	return s, release
}

// there says whether the pool still has the server, and whether it is clean.
func there(t *testing.T, s *Server) bool {
	t.Helper()
	_, err := os.Stat(filepath.Join(s.poolDir(), "clean"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return err == nil
}

func TestWarmServersAreLentToOneTestAtATime(t *testing.T) {
	b := open(t)
	names := map[string]bool{}
	var mutex sync.Mutex
	t.Run("two tests", func(t *testing.T) {
		var both sync.WaitGroup
		both.Add(2)
		for i := range 2 {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				s := b.Warm(t, Debian13Bare)
				mutex.Lock()
				if names[s.Name] {
					t.Errorf("%s was lent twice", s.Name)
				}
				names[s.Name] = true
				mutex.Unlock()
				both.Done()
				both.Wait()
			})
		}
	})
	// Both are free now: nothing has to be made.
	start := time.Now()
	s := b.Warm(t, Debian13Bare)
	t.Logf("a warm server took %s", time.Since(start).Round(time.Millisecond))
	if !names[s.Name] {
		t.Errorf("%s was made although %v were free", s.Name, names)
	}
}

// TestLesseeProcess is another process: it takes a server, leaves a file on it,
// says its name and waits for the end of its standard input.
func TestLesseeProcess(t *testing.T) {
	if os.Getenv("TESTBED_LESSEE") == "" {
		t.Skip("run by TestServerOfAKilledLesseeIsReset")
	}
	b := open(t)
	s, giveBack := lend(t, b, Debian13Bare)
	defer giveBack()
	s.SSH(t, "echo mine >/root/mine")
	fmt.Printf("lessee of %s\n", s.Name)
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
}

func TestServerOfAKilledLesseeIsReset(t *testing.T) {
	b := open(t)
	lessee := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestLesseeProcess$")
	lessee.Env = append(os.Environ(), "TESTBED_LESSEE=1", "TESTBED_TEST=1")
	stdin, err := lessee.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	out, err := lessee.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := lessee.Start(); err != nil {
		t.Fatal(err)
	}
	name := ""
	for lines := bufio.NewScanner(out); name == "" && lines.Scan(); {
		_, name, _ = strings.Cut(lines.Text(), "lessee of ")
	}
	if name == "" {
		t.Fatalf("the lessee got no server: %v", lessee.Wait())
	}
	s, giveBack := lend(t, b, Debian13Bare)
	giveBack()
	if s.Name == name {
		t.Errorf("%s was lent to two processes", name)
	}
	if err := s.resetOrRemove(t.Context(), t.Logf); err != nil {
		t.Error(err)
	}
	if lease, err := tryLock(filepath.Join(b.poolDir(Debian13Bare), name, "lease")); lease != nil || err != nil {
		t.Fatalf("the lease of a living process could be taken: %v", err)
	}

	if err := lessee.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = lessee.Wait() // killed
	lease, err := tryLock(filepath.Join(b.poolDir(Debian13Bare), name, "lease"))
	if lease == nil || err != nil {
		t.Fatalf("the lease of a dead process can't be taken: %v", err)
	}
	defer lease.Close()
	s, err = b.find(t.Context(), name)
	if err != nil || s == nil {
		t.Fatal(err, s)
	}
	if got := s.SSH(t, "cat /root/mine"); got != "mine" {
		t.Errorf("the lessee's file: %q", got)
	}
	if s, err = b.makeClean(t.Context(), Debian13Bare, name, t.Logf); err != nil || s == nil {
		t.Fatal(err, s)
	}
	if got := s.SSH(t, "ls -A /root | grep -x mine || true"); got != "" {
		t.Error("the dead lessee's file is still there")
	}
	if err := s.resetOrRemove(t.Context(), t.Logf); err != nil {
		t.Error(err)
	}
}

func TestAServerOfAnotherRecipeIsNotLent(t *testing.T) {
	b := open(t)
	s, giveBack := lend(t, b, Debian13Bare)
	defer giveBack()
	// A server without footprint was never born; one whose container is gone neither.
	if err := os.Remove(filepath.Join(s.poolDir(), "fresh")); err != nil {
		t.Fatal(err)
	}
	if got, err := b.makeClean(t.Context(), Debian13Bare, s.Name, t.Logf); got != nil || err != nil {
		t.Errorf("got %v, %v", got, err)
	}
	if gone, err := b.find(t.Context(), s.Name); gone != nil || err != nil {
		t.Errorf("%s is still there: %v", s.Name, err)
	}
	if _, err := os.Stat(s.poolDir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("its directory is still there: %v", err)
	}
}

func TestPulledImagesFindTheirLayersOnAWarmServer(t *testing.T) {
	b := open(t)
	for _, kind := range []Engine{Oldest(), Newest()} {
		t.Run(string(kind.Kind), func(t *testing.T) {
			t.Parallel()
			s := b.Warm(t, kind.Kind)
			if got := s.SSH(t, "docker image ls --format '{{.Repository}}' | grep -v '/testbed/keep$' || true"); got != "" {
				t.Errorf("a warm server has images: %s", got)
			}
			if _, err := s.Run(t.Context(), "docker pull "+b.Image("app:v1")); err == nil || !strings.Contains(err.Error(), "no basic auth credentials") {
				t.Errorf("pulled without a log-in: %v", err)
			}
			s.LogIn(t)
			// The layers that are an image's own, and small.
			for image, own := range map[string]int{
				"app:v1": 1, "basecamp/kamal-proxy:v0.9.2": 0, "postgres:15.1": 1, "redis:7": 1, "shop:v1": 0,
			} {
				out := s.SSH(t, "docker pull "+b.Image(image))
				if got := strings.Count(out, "Pulling fs layer"); got != own || !strings.Contains(out, "Downloaded newer image") {
					t.Errorf("pull of %s fetched %d layers, want %d:\n%s", image, got, own, out)
				}
			}
		})
	}
}
