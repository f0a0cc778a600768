package testbed

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
)

func TestLockIsExclusiveEvenIfItsFileIsRemoved(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	var all sync.WaitGroup
	var inside, runs atomic.Int32
	for range 20 {
		all.Go(func() {
			unlock, err := lock(t.Context(), path)
			if err != nil {
				t.Error(err)
				return
			}
			defer unlock()
			if n := inside.Add(1); n != 1 {
				t.Errorf("%d hold the lock", n)
			}
			runs.Add(1)
			inside.Add(-1)
			os.Remove(path)
		})
	}
	all.Wait()
	if n := runs.Load(); n != 20 {
		t.Errorf("%d runs, want 20", n)
	}
}

func TestLockGivesUpWithTheContext(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := lock(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	cancel(why)
	if _, err := lock(ctx, path); !errors.Is(err, why) {
		t.Errorf("got %v, want %v", err, why)
	}
}
