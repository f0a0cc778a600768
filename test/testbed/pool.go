package testbed

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The pool holds servers that are lent to one test after another. Each has a
// directory of this machine:
//
//	lease      locked by the process that has the server; the kernel unlocks it when that dies
//	fresh      the footprint that the server had at its birth
//	saved/     those files of it that are not its image's
//	clean      there while nobody has touched the server since its birth or last reset
//	kept       there if the server was left as a failed test left it: it is lent no more
//
// A server without `fresh` was never born, one without `clean` had a lessee that died.

// poolLimit is how many servers of a kind the pool has at most. A test may hold
// one server while it asks for another, so it must be above twice the number of
// tests that run at a time, or they wait for each other.
const poolLimit = 16

func (b *Bed) poolDir(kind Kind) string { return filepath.Join(b.Dir, "pool", string(kind)) }

func (s *Server) poolDir() string { return filepath.Join(s.bed.poolDir(s.Kind), s.Name) }

// Warm lends the test a server that nobody else has, and that is as a fresh one
// but for images testbed/keep:*. When the test ends the server is reset and lent
// to the next; if the test failed and TESTBED_KEEP is set it is left as it is.
func (b *Bed) Warm(t testing.TB, kind Kind) *Server {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	s, release, err := b.lease(ctx, kind, t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		defer release()
		if t.Failed() && os.Getenv("TESTBED_KEEP") != "" {
			if err := writeFile(filepath.Join(s.poolDir(), "kept"), nil, 0o600); err != nil {
				t.Error(err)
			}
			t.Logf("server kept, because the test failed: %s (docker exec -it %s bash)", s.Name, b.object(s.Name))
			return
		}
		if err := s.giveBack(context.WithoutCancel(t.Context()), t.Logf); err != nil {
			t.Error(err)
		}
	})
	return s
}

// lease returns a clean server that is ours until its release.
func (b *Bed) lease(ctx context.Context, kind Kind, logf func(string, ...any)) (s *Server, release func(), err error) {
	if !kind.valid() {
		return nil, nil, fmt.Errorf("server kind %q: want one of %q", kind, Kinds())
	}
	for {
		name, release, err := b.reserve(ctx, kind)
		if err != nil {
			return nil, nil, err
		}
		s, err := b.makeClean(ctx, kind, name, logf)
		if err == nil && s != nil {
			if err = os.Remove(filepath.Join(s.poolDir(), "clean")); err == nil {
				return s, release, nil
			}
		}
		release()
		if err != nil {
			return nil, nil, err
		}
	}
}

// reserve locks a server that is free, a clean one if there is one, or a name for
// one that is still to be born.
func (b *Bed) reserve(ctx context.Context, kind Kind) (name string, release func(), err error) {
	dir := b.poolDir(kind)
	unlock, err := lock(ctx, dir+".lock")
	if err != nil {
		return "", nil, err
	}
	defer unlock()
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", nil, err
	}
	for _, state := range []string{"clean", "dirty"} {
		for _, entry := range entries {
			has := func(file string) bool {
				_, err := os.Stat(filepath.Join(dir, entry.Name(), file))
				return err == nil
			}
			if has("kept") || has("clean") != (state == "clean") {
				continue
			}
			lease, err := tryLock(filepath.Join(dir, entry.Name(), "lease"))
			if lease != nil {
				return entry.Name(), func() { lease.Close() }, nil
			}
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return "", nil, err
			}
		}
	}
	suffix := make([]byte, 3)
	rand.Read(suffix)
	name = "warm-" + string(kind) + "-" + hex.EncodeToString(suffix)
	if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
		return "", nil, err
	}
	// Status may be looking whether it is lent.
	release, err = lock(ctx, filepath.Join(dir, name, "lease"))
	return name, release, err
}

// giveBack makes a server whose lease is ours ready for the next test.
func (s *Server) giveBack(ctx context.Context, logf func(string, ...any)) error {
	unlock, err := lock(ctx, s.bed.poolDir(s.Kind)+".lock")
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(s.bed.poolDir(s.Kind))
	unlock()
	if err != nil {
		return err
	}
	if len(entries) > poolLimit {
		return s.bed.Remove(ctx, s.Name)
	}
	return s.resetOrRemove(ctx, logf)
}

// makeClean returns the server of this name, whose lease is ours, clean. It
// returns none if it had to be thrown away.
func (b *Bed) makeClean(ctx context.Context, kind Kind, name string, logf func(string, ...any)) (*Server, error) {
	s, err := b.find(ctx, name)
	if err != nil {
		return nil, err
	}
	if s == nil {
		if _, err := os.Stat(filepath.Join(b.poolDir(kind), name, "fresh")); err == nil {
			return nil, b.forgetPooled(name) // somebody removed the server
		}
		return b.breed(ctx, kind, name, logf)
	}
	has := func(file string) bool {
		_, err := os.Stat(filepath.Join(s.poolDir(), file))
		return err == nil
	}
	image, err := machineImage(ctx, kind.machine())
	if err != nil {
		return nil, err
	}
	switch {
	case s.image != image:
		logf("%s was made by another recipe: making a new one", name)
		return nil, b.Remove(ctx, name)
	case !has("fresh"):
		return nil, b.Remove(ctx, name)
	case has("clean") && s.state == "running" && s.HostKey != "":
		return s, nil
	}
	if err := s.resetOrRemove(ctx, logf); err != nil || !has("clean") {
		return nil, err
	}
	return s, nil
}

// find returns nil if there is no server of this name.
func (b *Bed) find(ctx context.Context, name string) (*Server, error) {
	servers, err := b.servers(ctx)
	for _, s := range servers {
		if s.Name == name {
			return s, err
		}
	}
	return nil, err
}

// breed makes a server of the pool, and writes down what it is like.
func (b *Bed) breed(ctx context.Context, kind Kind, name string, logf func(string, ...any)) (*Server, error) {
	start := time.Now()
	s, err := b.start(ctx, name, kind, 0, labelPool+"=lent")
	if err != nil {
		return nil, errors.Join(err, b.forgetPooled(name))
	}
	if err := s.writeDown(ctx); err != nil {
		return nil, errors.Join(err, b.Remove(context.WithoutCancel(ctx), name))
	}
	logf("made %s for the pool in %s", name, time.Since(start).Round(10*time.Millisecond))
	return s, nil
}

func (s *Server) writeDown(ctx context.Context) error {
	in, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer in.leave()
	if in.hasEngine() {
		if err := in.pullKeepers(ctx); err != nil {
			return err
		}
	}
	// A unit that failed at boot, as on a machine without a spare inotify, is one
	// that doesn't run: it may run after the next boot.
	if _, err := in.run(ctx, "", "systemctl reset-failed"); err != nil {
		return err
	}
	fresh, err := in.look(ctx)
	if err != nil {
		return err
	}
	if err := in.saveFiles(ctx, fresh); err != nil {
		return err
	}
	if err := fresh.save(filepath.Join(s.poolDir(), "fresh")); err != nil {
		return err
	}
	return writeFile(filepath.Join(s.poolDir(), "clean"), nil, 0o600)
}

// resetOrRemove resets a server whose lease is ours, or throws it away and says
// why. It fails only if it can do neither.
func (s *Server) resetOrRemove(ctx context.Context, logf func(string, ...any)) error {
	fresh, err := loadFootprint(filepath.Join(s.poolDir(), "fresh"))
	var rest []difference
	if err == nil {
		rest, err = s.reset(ctx, fresh, logf)
	}
	if err == nil && len(rest) == 0 {
		if err = fresh.save(filepath.Join(s.poolDir(), "fresh")); err == nil {
			err = writeFile(filepath.Join(s.poolDir(), "clean"), nil, 0o600)
		}
	}
	if err == nil && len(rest) == 0 {
		return nil
	}
	var why strings.Builder
	if err != nil {
		fmt.Fprintf(&why, "\n  %v", err)
	}
	for i, d := range rest {
		if i == 20 {
			fmt.Fprintf(&why, "\n  … %d in all", len(rest))
			break
		}
		fmt.Fprintf(&why, "\n  %s", d)
	}
	if there, err := s.bed.find(ctx, s.Name); err == nil && there == nil { // the test removed it itself
		return s.bed.forgetPooled(s.Name)
	}
	s.bed.logf("throwing away %s, which could not be reset:%s", s.Name, why.String())
	return s.bed.Remove(context.WithoutCancel(ctx), s.Name)
}

// forgetPooled removes what this machine knows of a server of the pool, its lease last.
func (b *Bed) forgetPooled(name string) error {
	dirs, err := filepath.Glob(filepath.Join(b.Dir, "pool", "*", name))
	for _, dir := range dirs {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	return err
}

// lent says how a server of the pool stands; "" for any other.
func (s *Server) lent() (string, error) {
	if !s.pooled {
		return "", nil
	}
	if _, err := os.Stat(filepath.Join(s.poolDir(), "kept")); err == nil {
		return "kept", nil
	}
	lease, err := tryLock(filepath.Join(s.poolDir(), "lease"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if lease == nil {
		return "leased", nil
	}
	return "free", lease.Close()
}
