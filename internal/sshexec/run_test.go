package sshexec_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec/sshtest"
)

// shells are what /bin/sh is on servers.
func shells(t *testing.T) map[string]string {
	found := map[string]string{"default": ""}
	for name, command := range map[string]string{"bash": "bash --posix", "busybox": "busybox sh", "dash": "dash"} {
		if path, err := exec.LookPath(strings.Fields(command)[0]); err == nil {
			found[name] = path + strings.TrimPrefix(command, strings.Fields(command)[0])
		} else {
			t.Logf("%s is not installed", name)
		}
	}
	return found
}

func TestRunGivesEachStepItsOwnAnswer(t *testing.T) {
	t.Parallel()
	for name, sh := range shells(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := sshtest.Start(t)
			srv.Break(sshtest.Faults{Sh: sh})
			r := mustRun(t, newClient(t, srv), steps("echo one", "echo two >&2; printf three", "exit 5", "echo never"))
			if got := r.Out(0); got != "one" {
				t.Errorf("step 0: %q", got)
			}
			if got := string(r.Steps[1].Stdout) + "/" + string(r.Steps[1].Stderr); got != "three/two\n" {
				t.Errorf("step 1: %q", got)
			}
			if s := r.Steps[2]; !s.Ran || s.ExitCode != 5 {
				t.Errorf("step 2: %+v", s)
			}
			if r.Steps[3].Ran {
				t.Error("the step behind the failed one ran")
			}
			var stepErr *sshexec.StepError
			if !errors.As(r.Err(), &stepErr) || stepErr.Title != "step exit 5" {
				t.Errorf("Err: %v", r.Err())
			}
		})
	}
}

func TestStepsCannotDisturbEachOther(t *testing.T) {
	t.Parallel()
	tests := []struct {
		script string
		code   int
		stdout string
	}{
		{"exit 7", 7, ""},
		{"exec sh -c 'echo replaced; exit 3'", 3, "replaced\n"},
		{"set -e; false; echo not here", 1, ""},
		{": ${NOT_SET?}; echo not here", 2, ""},
		{"kill -TERM $(exec sh -c 'echo $PPID')", 143, ""},
		{"cd /; X=1; umask 0", 0, ""},
		{"cat; echo stdin is empty", 0, "stdin is empty\n"},
		{"", 0, ""},
		{"# a comment", 0, ""},
		{"echo comment behind # this", 0, "comment behind\n"},
		{"exec >&- 2>&-", 0, ""},
		{"cat <<'E'\n$x )\nE", 0, "$x )\n"},
	}
	for name, sh := range shells(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := sshtest.Start(t)
			srv.Break(sshtest.Faults{Sh: sh})
			var call sshexec.Call
			for _, tt := range tests {
				call.Steps = append(call.Steps, sshexec.Step{Title: tt.script, Script: tt.script, KeepGoing: true},
					sshexec.Step{Title: "pwd", Script: `pwd; echo "${X-unset}"`, KeepGoing: true})
			}
			r := mustRun(t, newClient(t, srv), call)
			for i, tt := range tests {
				s := r.Steps[2*i]
				code := tt.code
				if strings.HasPrefix(tt.script, ": ${NOT_SET") {
					code = s.ExitCode // 1, 2 or 127 by shell
					if code == 0 {
						t.Errorf("%q: exit code 0", tt.script)
					}
				}
				if !s.Ran || s.ExitCode != code || string(s.Stdout) != tt.stdout {
					t.Errorf("%q: ran %v, exit code %d, %q, %q", tt.script, s.Ran, s.ExitCode, s.Stdout, s.Stderr)
				}
				if got, want := r.Out(2*i+1), srv.Home+"\nunset"; got != want {
					t.Errorf("behind %q: %q, want %q", tt.script, got, want)
				}
			}
		})
	}
}

func TestPreludeAndVarsReachEveryStep(t *testing.T) {
	t.Parallel()
	odd := "a'b\"c\\d$HOME`id`\n\t\r -x ~ # = é\xff\x01\n\n"
	for name, sh := range shells(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := sshtest.Start(t)
			srv.Break(sshtest.Faults{Sh: sh})
			call := steps(`greet; printf %s "$ODD"`, `greet; sh -c 'printf %s "$ODD"'`, `sh -c 'printf %s "${PLAIN-unset}"'`, `printf %s "$LC_ALL"`)
			call.Prelude = `set -e; greet() { echo "hello $PLAIN"; }`
			call.Vars = []sshexec.Var{{Name: "ODD", Value: odd, Export: true}, {Name: "PLAIN", Value: "~"}, {Name: "BIG", Value: strings.Repeat("x'", 200_000)}}
			r := mustRun(t, newClient(t, srv), call)
			for i := range 2 {
				if got := string(r.Steps[i].Stdout); got != "hello ~\n"+odd {
					t.Errorf("step %d: %q", i, got)
				}
			}
			if r.Out(2) != "unset" || r.Out(3) != "C" {
				t.Errorf("PLAIN in the environment: %q; LC_ALL: %q", r.Out(2), r.Out(3))
			}
		})
	}
}

func TestCallThatAShellCannotCarryIsRefusedBeforeDialling(t *testing.T) {
	t.Parallel()
	srv := sshtest.Start(t)
	c := newClient(t, srv)
	for name, call := range map[string]sshexec.Call{
		"NUL in a value":  {Vars: []sshexec.Var{{Name: "A", Value: "x\x00y"}}},
		"NUL in a script": {Steps: []sshexec.Step{{Script: "\x00"}}},
		"name":            {Vars: []sshexec.Var{{Name: "A; reboot", Value: "x"}}},
		"empty name":      {Vars: []sshexec.Var{{Value: "x"}}},
	} {
		if _, err := c.Run(timeout(t), call); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if n := srv.Handshakes(); n != 0 {
		t.Errorf("%d handshakes", n)
	}
}

func TestOutputIsExact(t *testing.T) {
	t.Parallel()
	srv := sshtest.Start(t)
	data := make([]byte, 1<<20)
	_, _ = rand.Read(data)
	copy(data, "\x1e\x1e\x00\xff\r\n \x1e0 0\x1e")
	if err := os.WriteFile(filepath.Join(srv.Home, "data"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	r := mustRun(t, newClient(t, srv), steps("cat data", "cat data >&2", "printf 'no newline'", "printf '\\n\\n'"))
	if !bytes.Equal(r.Steps[0].Stdout, data) || !bytes.Equal(r.Steps[1].Stderr, data) {
		t.Error("binary output changed")
	}
	if got := string(r.Steps[2].Stdout) + string(r.Steps[3].Stdout); got != "no newline\n\n" {
		t.Errorf("%q", got)
	}
}

func TestTwentyMegabytesOfOutput(t *testing.T) {
	t.Parallel()
	srv := sshtest.Start(t)
	r := mustRun(t, newClient(t, srv), steps("head -c 20000000 /dev/zero", "head -c 3000000 /dev/zero >&2; echo both"))
	want := sha256.Sum256(make([]byte, 20_000_000))
	if got := sha256.Sum256(r.Steps[0].Stdout); got != want {
		t.Errorf("%d bytes", len(r.Steps[0].Stdout))
	}
	if len(r.Steps[1].Stderr) != 3_000_000 || r.Out(1) != "both" {
		t.Errorf("%d bytes on stderr, %q", len(r.Steps[1].Stderr), r.Out(1))
	}
}

func TestStepCannotForgeAMarker(t *testing.T) {
	t.Parallel()
	srv := sshtest.Start(t)
	// The shell's arguments and environment, and the script as far as a step
	// can get hold of it.
	r := mustRun(t, newClient(t, srv), steps(
		`tr '\0' '\n' </proc/$$/cmdline; cat /proc/$$/environ; set; ps -ef 2>/dev/null; printf '\0361 0 0\036'; exit 4`, "echo no"))
	if s := r.Steps[0]; s.ExitCode != 4 || r.Steps[1].Ran {
		t.Errorf("%d, %v", s.ExitCode, r.Steps[1].Ran)
	}
	if !strings.HasSuffix(string(r.Steps[0].Stdout), "\x1e1 0 0\x1e") {
		t.Error("output cut short")
	}
}

func TestNoisyLoginShellIsIgnored(t *testing.T) {
	t.Parallel()
	srv := sshtest.Start(t)
	srv.Break(sshtest.Faults{Noise: "Welcome!\n\x1e a tip of the day \x1e\n"})
	r := mustRun(t, newClient(t, srv), steps("echo out; echo err >&2"))
	if s := r.Steps[0]; string(s.Stdout) != "out\n" || string(s.Stderr) != "err\n" {
		t.Errorf("%q, %q", s.Stdout, s.Stderr)
	}
}

func TestSyntaxErrorRunsNothing(t *testing.T) {
	t.Parallel()
	for name, sh := range shells(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := sshtest.Start(t)
			srv.Break(sshtest.Faults{Sh: sh, Noise: "motd\n"})
			_, err := newClient(t, srv).Run(timeout(t), steps("touch ran", "if then fi"))
			var start *sshexec.StartError
			if !errors.As(err, &start) || !strings.Contains(start.Output, "motd") || !strings.Contains(strings.ToLower(start.Output), "syntax error") {
				t.Errorf("error: %#v", err)
			}
			if _, err := os.Stat(filepath.Join(srv.Home, "ran")); err == nil {
				t.Error("a step ran")
			}
		})
	}
}

func TestUnusableLoginShellIsToldByItsWords(t *testing.T) {
	t.Parallel()
	srv := sshtest.Start(t)
	nologin := filepath.Join(t.TempDir(), "nologin")
	if err := os.WriteFile(nologin, []byte("#!/bin/sh\necho This account is not available.\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	srv.Break(sshtest.Faults{Shell: nologin})
	_, err := newClient(t, srv).Run(timeout(t), steps("true"))
	var start *sshexec.StartError
	if !errors.As(err, &start) || !strings.Contains(err.Error(), "not available") || !strings.Contains(err.Error(), "exit code 1") {
		t.Errorf("error: %v", err)
	}
}

func TestShellThatIsKilledInterruptsTheStep(t *testing.T) {
	t.Parallel()
	for script, signal := range map[string]string{"kill -9 $$": "KILL", "kill -TERM $$; sleep 60": "TERM"} {
		t.Run(signal, func(t *testing.T) {
			t.Parallel()
			srv := sshtest.Start(t)
			r, err := newClient(t, srv).Run(timeout(t), steps("echo first", "echo >second; "+script, "echo third"))
			var interrupted *sshexec.InterruptedError
			if !errors.As(err, &interrupted) || !strings.Contains(interrupted.Step, "second") || !strings.Contains(err.Error(), signal) {
				t.Fatalf("error: %v", err)
			}
			if r == nil || r.Out(0) != "first" || r.Steps[1].Ran {
				t.Errorf("result: %+v", r)
			}
		})
	}
}

func TestBackgroundProcessDoesNotHoldTheCall(t *testing.T) {
	t.Parallel()
	srv := sshtest.Start(t)
	c := newClient(t, srv)
	start := time.Now()
	for range 6 { // more than there are slots
		mustRun(t, c, steps("sleep 20 & echo $! >>pids"))
	}
	if d := time.Since(start); d > 10*time.Second {
		t.Errorf("took %s", d)
	}
	// They were started to stay. A dead one may linger as a zombie.
	r := mustRun(t, c, steps("for p in $(cat pids); do grep -q '^State:.[RS]' /proc/$p/status || exit 1; done", "kill $(cat pids)"))
	if err := r.Err(); err != nil {
		t.Error(err)
	}
}

func TestCancelEndsTheRemoteProcess(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]string{
		"plain":        "echo $$ >pid; exec sleep 100",
		"ignores TERM": `trap "" TERM; echo $$ >pid; while :; do sleep 1; done`,
		"child":        "sh -c 'echo $$ >pid; sleep 100; true'",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := sshtest.Start(t)
			c := newClient(t, srv)
			ctx, cancel := context.WithCancel(timeout(t))
			pid := filepath.Join(srv.Home, "pid")
			go func() {
				waitFor(t, func() bool { b, _ := os.ReadFile(pid); return len(b) > 1 })
				cancel()
			}()
			_, err := c.Run(ctx, steps("true", script, "touch after"))
			var interrupted *sshexec.InterruptedError
			if !errors.Is(err, context.Canceled) || !errors.As(err, &interrupted) {
				t.Fatalf("error: %v", err)
			}
			// The pid file may be there before the end of the first step has
			// come back through the connection.
			if interrupted.Step != "step "+script && interrupted.Step != "step true" {
				t.Errorf("the step that was interrupted: %q", interrupted.Step)
			}
			b, _ := os.ReadFile(pid)
			proc := "/proc/" + strings.TrimSpace(string(b))
			waitFor(t, func() bool { _, err := os.Stat(proc); return err != nil })
			if _, err := os.Stat(filepath.Join(srv.Home, "after")); err == nil {
				t.Error("the next step ran")
			}
			mustRun(t, c, steps("true")) // the connection is still good
			if n := srv.Handshakes(); n != 1 {
				t.Errorf("%d handshakes", n)
			}
		})
	}
}

func TestFiftyCallersShareOneHandshakeAndFourSessions(t *testing.T) {
	t.Parallel()
	srv := sshtest.Start(t)
	c := newClient(t, srv)
	errs := make(chan error)
	for i := range 50 {
		go func() {
			r, err := c.Run(timeout(t), steps(fmt.Sprintf("echo %d", i), "sleep 0.05"))
			if err == nil && r.Out(0) != fmt.Sprint(i) {
				err = fmt.Errorf("caller %d got %q", i, r.Out(0))
			}
			errs <- err
		}()
	}
	for range 50 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if srv.Handshakes() != 1 || srv.Peak() > 4 || srv.Peak() < 2 {
		t.Errorf("%d handshakes, %d sessions at once", srv.Handshakes(), srv.Peak())
	}
	if got := c.Stats(); got.Handshakes != 1 || got.Calls != 50 {
		t.Errorf("stats: %+v", got)
	}
}

// waitFor waits until what is expected to happen has.
func waitFor(t testing.TB, happened func() bool) {
	t.Helper()
	for end := time.Now().Add(15 * time.Second); !happened(); {
		if time.Now().After(end) {
			t.Error("it did not happen within 15s")
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}
