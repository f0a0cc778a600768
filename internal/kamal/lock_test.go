package kamal

import (
	"encoding/base64"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func TestLockIsTakenAsKamalTakesIt(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.must(Lock("shop-staging", "run1", "me@laptop", "v1", noon))
	// What `kamal lock status` reads.
	details := s.sh("base64 -d < .kamal/lock-shop-staging/details")
	if want := "Locked by: me@laptop at 2026-11-23T12:00:00Z\nVersion: v1\nMessage: Automatic deploy lock"; details != want {
		t.Errorf("details:\n%s", details)
	}
	// What `kamal lock release` does.
	s.sh("rm .kamal/lock-shop-staging/details && rm -r .kamal/lock-shop-staging")
	s.must(Lock("shop-staging", "run2", "me@laptop", "v1", noon))
}

func TestLockOfARunKeepsOthersOut(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.must(Lock("shop", "run1", "me", "v1", noon))
	s.age(".kamal/lock-shop/run", Dead-2*time.Second)
	a := s.try(Lock("shop", "run2", "you", "v2", noon))
	if a.code != LockTaken {
		t.Fatalf("exit code %d\n%s", a.code, a.err)
	}
	h := ParseLock("shop", strings.TrimRight(a.out, "\n"))
	if h.Run != "run1" || h.App != "shop" || !h.Automatic() || !strings.Contains(h.Details, "Locked by: me at") || h.Age < Dead-3*time.Second || h.Age > Dead {
		t.Errorf("holder %+v", h)
	}
	if got := s.read(".kamal/lock-shop/run"); got != "run1\n" {
		t.Errorf("the lock is now of %q", got)
	}
	if a := s.try(HoldsLock("shop", "run1")); a.code != 0 {
		t.Errorf("the holder lost it: %s", a.err)
	}
	if a := s.try(HoldsLock("shop", "run2")); a.code == 0 {
		t.Error("run2 holds the lock of run1")
	}
	// Another app is another lock.
	s.must(Lock("shop-staging", "run2", "you", "v2", noon))
}

func TestLockCanBeTakenAgainByItsRun(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.must(Lock("shop", "run1", "me", "v1", noon))
	s.must(Lock("shop", "run1", "me", "v1", noon))
}

func TestDeadLockIsTakenOver(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.must(Lock("shop", "run1", "me", "v1", noon))
	s.age(".kamal/lock-shop/run", Dead+2*time.Second)
	s.must(Lock("shop", "run2", "you", "v2", noon))
	if a := s.try(HoldsLock("shop", "run1")); a.code == 0 {
		t.Error("the dead run still holds the lock")
	}
	if got := s.sh("base64 -d < .kamal/lock-shop/details"); !strings.Contains(got, "Locked by: you") || !strings.Contains(got, "Version: v2") {
		t.Errorf("details:\n%s", got)
	}
	// The dead one, if it wakes up, doesn't take the lock away from its new holder.
	s.must(Unlock("shop", "run1"))
	if a := s.try(HoldsLock("shop", "run2")); a.code != 0 {
		t.Error("the dead run gave back what is not its own")
	}
	s.must(SignOfLife("run1", ".kamal/lock-shop/run"))
}

func TestDeadLockIsTakenOverByOneOfManyOnly(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	for round := range 3 {
		s.must(Lock("shop", "dead", "me", "v1", noon))
		s.age(".kamal/lock-shop/run", time.Hour)
		var wg sync.WaitGroup
		codes := make([]int, 6)
		for i := range codes {
			wg.Go(func() { codes[i] = s.try(Lock("shop", fmt.Sprintf("run%d", i), "me", "v1", noon)).code })
		}
		wg.Wait()
		won := -1
		for i, code := range codes {
			switch {
			case code == 0 && won >= 0:
				t.Errorf("round %d: run%d and run%d both have the lock", round, won, i)
			case code == 0:
				won = i
			case code != LockTaken:
				t.Errorf("round %d: run%d: exit code %d", round, i, code)
			}
		}
		if won < 0 {
			t.Fatalf("round %d: nobody has the lock", round)
		}
		s.must(HoldsLock("shop", fmt.Sprintf("run%d", won)))
		s.must(Unlock("shop", fmt.Sprintf("run%d", won)))
	}
}

func TestKamalsLockIsNeverTakenOver(t *testing.T) {
	t.Parallel()
	const details = "Locked by: Ann at 2026-11-20T10:00:00Z\nVersion: abc\nMessage: migrating by hand"
	for name, files := range map[string]map[string]string{
		"with details":                {"details": base64.StdEncoding.EncodeToString([]byte(details)) + "\n"},
		"before Kamal wrote them":     {},
		"with details that are wrong": {"details": "%%%"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShell(t)
			s.sh("mkdir -p .kamal/lock-shop")
			for f, content := range files {
				s.write(".kamal/lock-shop/"+f, content)
			}
			s.age(".kamal/lock-shop", 100*24*time.Hour)
			a := s.try(Lock("shop", "run1", "me", "v1", noon))
			if a.code != LockTaken {
				t.Fatalf("exit code %d\n%s", a.code, a.err)
			}
			h := ParseLock("shop", strings.TrimRight(a.out, "\n"))
			if h.Run != "" || h.Automatic() {
				t.Errorf("holder %+v", h)
			}
			if name == "with details" && h.Details != details {
				t.Errorf("details %q", h.Details)
			}
			if s.exists(".kamal/lock-shop/run") {
				t.Error("something was written into Kamal's lock")
			}
			s.must(Unlock("shop", "run1"))
			if !s.exists(".kamal/lock-shop") {
				t.Error("Kamal's lock was given back")
			}
		})
	}
}

func TestLockSaysWhyItCannotBeTaken(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.write(".kamal/lock-shop", "a file in its place")
	a := s.try(Lock("shop", "run1", "me", "v1", noon))
	if a.code == 0 || a.code == LockTaken || !strings.Contains(a.err, "lock-shop") {
		t.Errorf("exit code %d, %q", a.code, a.err)
	}
}

func TestUnlockGivesTheLockBack(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.must(Lock("shop", "run1", "me", "v1", noon))
	s.must(Unlock("shop", "run1"))
	if s.exists(".kamal/lock-shop") {
		t.Error("the lock is still there")
	}
	if a := s.try(HoldsLock("shop", "run1")); a.code == 0 {
		t.Error("a lock that was given back is held")
	}
	s.must(Unlock("shop", "run1")) // nothing to do
}

func TestHoldsLockIsASignOfLife(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.must(Lock("shop", "run1", "me", "v1", noon))
	s.age(".kamal/lock-shop/run", time.Hour)
	s.must(HoldsLock("shop", "run1"))
	if a := s.try(Lock("shop", "run2", "you", "v1", noon)); a.code != LockTaken {
		t.Errorf("a run that works counts as dead: exit code %d", a.code)
	}
}

func TestSignOfLifeTouchesOnlyTheRunsOwn(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	mark := Mark{Kind: "role", Name: "shop-web", State: MarkCreating, Run: "run1"}
	s.must(Lock("shop", "run1", "me", "v1", noon))
	s.must(WriteMark(mark))
	s.must(Lock("other", "run2", "you", "v1", noon))
	files := []string{LockDir("shop") + "/run", MarkPath("role", "shop-web"), LockDir("other") + "/run"}
	for _, f := range files {
		s.age(f, time.Hour)
	}
	s.must(SignOfLife("run1", append(files, LockDir("gone")+"/run")...))
	lines := strings.Split(strings.TrimSpace(s.sh("stat -c %Y "+strings.Join(files, " "))), "\n")
	hourAgo := time.Now().Add(-30 * time.Minute).Unix()
	for i, fresh := range []bool{true, true, false} {
		var at int64
		if _, err := fmt.Sscan(lines[i], &at); err != nil {
			t.Fatal(err)
		}
		if (at > hourAgo) != fresh {
			t.Errorf("%s: touched is %t", files[i], at > hourAgo)
		}
	}
	if s.exists(LockDir("gone")) {
		t.Error("a lock was made")
	}
}

// A lock that was just given back must not come to life again.
func TestSignOfLifeMakesNoFile(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.write("gone", "#!/bin/sh\n"+`"$@"; code=$?; rm .kamal/lock-shop/run; exit $code`)
	s.sh("chmod 755 gone")
	for name, step := range map[string]sshexec.Step{"sign of life": SignOfLife("run1", LockDir("shop")+"/run"), "check of the lock": HoldsLock("shop", "run1")} {
		s.must(Lock("shop", "run1", "me", "v1", noon))
		// The file goes between the look at it and the touch.
		before := step.Script
		step.Script = strings.Replace(strings.Replace(step.Script, "! grep", "! ./gone grep", 1), "$(cat", "$(./gone cat", 1)
		if step.Script == before {
			t.Fatalf("%s: nothing to replace in %s", name, before)
		}
		s.try(step)
		if s.exists(LockDir("shop") + "/run") {
			t.Errorf("the %s has made the lock's file anew", name)
		}
		s.sh("rm -r .kamal/lock-shop")
	}
}

func TestAuditWritesKamalsLines(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.must(Audit("shop-staging", noon, []string{"me@laptop", "staging", "web"}, "Booted app version v1"))
	s.must(Audit("shop-staging", noon, []string{"me@laptop", "", "web"}, "It's $HOME `id`"))
	want := "[2026-11-23T12:00:00Z] [me@laptop] [staging] [web] Booted app version v1\n" +
		"[2026-11-23T12:00:00Z] [me@laptop] [web] It's $HOME `id`\n"
	if got := s.read(".kamal/shop-staging-audit.log"); got != want {
		t.Errorf("log:\n%s", got)
	}
}

func TestParseLock(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		stdout string
		want   LockHolder
	}{
		"of a run":                  {"run1\n12\nLocked by: me at x\nVersion: 1\nMessage: Automatic deploy lock", LockHolder{"a", "Locked by: me at x\nVersion: 1\nMessage: Automatic deploy lock", "run1", 12 * time.Second}},
		"of Kamal":                  {"\n0\nLocked by: Ann at x", LockHolder{App: "a", Details: "Locked by: Ann at x"}},
		"of Kamal, no details yet":  {"\n0", LockHolder{App: "a"}},
		"of a run, no details yet":  {"run1\n3", LockHolder{App: "a", Run: "run1", Age: 3 * time.Second}},
		"nothing that makes sense ": {"", LockHolder{App: "a"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := ParseLock("a", tt.stdout); got != tt.want {
				t.Errorf("%+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestLockThatNobodySignedIsTakenOverAfterAWhile(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.sh("mkdir -p .kamal/lock-shop && : > .kamal/lock-shop/run")
	if a := s.try(Lock("shop", "run2", "you", "v2", noon)); a.code != LockTaken {
		t.Fatalf("exit code %d: its holder may be about to sign\n%s", a.code, a.err)
	}
	s.age(".kamal/lock-shop", Dead+2*time.Second)
	s.must(Lock("shop", "run2", "you", "v2", noon))
	s.must(HoldsLock("shop", "run2"))

	// Kamal signs in another way, and its lock is never taken over.
	s.sh("mkdir -p .kamal/lock-other && echo aGVsbG8= > .kamal/lock-other/details")
	s.age(".kamal/lock-other", time.Hour)
	if a := s.try(Lock("other", "run2", "you", "v2", noon)); a.code != LockTaken {
		t.Errorf("exit code %d: Kamal's lock was taken over", a.code)
	}
}

func TestLockThatCannotBeSignedIsNotLeft(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	step := Lock("shop", "run1", "me", "v1", noon)
	// A disk that is full: the directory can be made, what is written to it can't.
	step.Script = strings.Replace(step.Script, `> "$dir/run"`, "> /dev/full", 1)
	if a := s.try(step); a.code == 0 {
		t.Fatal("taken without a word in it")
	}
	s.must(Lock("shop", "run2", "you", "v2", noon))
}
