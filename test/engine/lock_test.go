package engine

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/kamal"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

// The deploy lock is Kamal's, too: a deploy of another run is waited for while
// it lives, Kamal's own is told at once, and nobody takes what is held.
func TestDeployLockIsOneOfAll(t *testing.T) {
	onEngines(t, func(e *engine) {
		s := e.s
		look := sshexec.Step{Title: "look who holds it", Script: "cat .kamal/lock-shop/run"}
		lock := func(ctx context.Context, r *run) (string, error) {
			res, snap, locked, err := r.fleet.LockApp(ctx, r.fleet.Server(s.Address), "shop", "v1", look)
			if err != nil {
				return "", err
			}
			if !locked || snap == nil || snap.Facts.MachineID == "" {
				return "", errors.New("the lock is not ours, or nothing was seen")
			}
			return res.Out(1), nil
		}
		unlock := func(r *run) {
			e.Helper()
			res, err := r.fleet.Server(s.Address).Change(e.ctx(), sshexec.Call{Title: "unlock", Steps: []sshexec.Step{kamal.Unlock("shop", r.fleet.Run)}})
			if err == nil {
				err = res.Err()
			}
			e.must(err)
		}

		first, second := e.newRun(), e.newRun()
		for range 2 { // a run may take its own lock again
			holder, err := lock(e.ctx(), first)
			e.must(err)
			if holder != first.fleet.Run {
				e.Errorf("the lock is held by %q, want the run %q", holder, first.fleet.Run)
			}
		}
		details, err := base64.StdEncoding.DecodeString(strings.TrimSpace(s.SSH(e, "cat .kamal/lock-shop/details")))
		if err != nil || !strings.HasPrefix(string(details), "Locked by: "+first.fleet.By+" at ") || !strings.HasSuffix(string(details), "Version: v1\nMessage: Automatic deploy lock") {
			e.Errorf("Kamal reads of the lock: %q, %v", details, err)
		}

		// Another run waits, also for a look without end.
		ctx, cancel := context.WithCancelCause(e.ctx())
		waits := func(ctx context.Context) *under {
			n := len(second.remoteCalls(s.Address))
			u := e.start(func() error {
				_, err := lock(ctx, second)
				return err
			})
			e.Cleanup(second.kill) // before its end is waited for
			eventually(e, time.Minute, "the second run sees that it is held", func() bool { return len(second.remoteCalls(s.Address)) > n })
			return u
		}
		impatient := waits(ctx)
		cancel(errors.New("enough of it"))
		e.run = second
		e.wantFailure(impatient.wait(), "on "+s.Address, "the lock is held: Locked by: "+first.fleet.By, "enough of it", "kamal lock release")
		stop := first.fleet.KeepAlive(e.ctx(), first.fleet.Server(s.Address), "shop")
		patient := waits(e.ctx())
		s.SSH(e, "touch -d '-15 seconds' .kamal/lock-shop/run")
		old := strings.TrimSpace(s.SSH(e, "stat -c %Y .kamal/lock-shop/run"))
		eventually(e, 2*kamal.Beat+10*time.Second, "the first run gives a sign of life", func() bool {
			return strings.TrimSpace(s.SSH(e, "stat -c %Y .kamal/lock-shop/run")) != old
		})
		stop()
		if !patient.running() {
			e.Errorf("the second run took the lock of one that lives: %v", patient.wait())
		}
		unlock(first)
		e.must(patient.wait())
		if holder := strings.TrimSpace(s.SSH(e, "cat .kamal/lock-shop/run")); holder != second.fleet.Run {
			e.Errorf("the lock is held by %q, want the second run %q", holder, second.fleet.Run)
		}

		// A run that died is not waited for, and gives back nothing that is another's.
		second.kill()
		s.SSH(e, "touch -d '-31 seconds' .kamal/lock-shop/run")
		third := e.newRun()
		_, err = lock(e.ctx(), third)
		e.must(err)
		unlock(first)
		if holder := strings.TrimSpace(s.SSH(e, "cat .kamal/lock-shop/run")); holder != third.fleet.Run {
			e.Errorf("the lock is held by %q, want the third run %q", holder, third.fleet.Run)
		}
		unlock(third)

		// `kamal lock acquire -m maintenance`
		s.SSH(e, `mkdir .kamal/lock-shop && printf 'Locked by: ada at 2026-01-01T00:00:00Z\nVersion: v9\nMessage: maintenance' | base64 > .kamal/lock-shop/details`)
		before := time.Now()
		_, err = lock(e.ctx(), third)
		e.wantFailure(err, "the lock is held: Locked by: ada", "Message: maintenance", "kamal lock release", "~/.kamal/lock-shop on "+s.Address)
		if took := time.Since(before); took > time.Minute {
			e.Errorf("it waited %s for a person", took)
		}
		s.SSH(e, "[ -d .kamal/lock-shop ] && [ ! -e .kamal/lock-shop/run ]")
	})
}
