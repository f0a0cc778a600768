package acceptance

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A process is a CLI command under way, so that a test can do something to it.
type process struct {
	t       *testing.T
	command *exec.Cmd
	text    string
	file    string        // where its output goes
	done    chan struct{} // closed when the CLI has ended
}

// Start starts `apply` in the background. What is left of it at the end of the
// test is killed.
func (w *workspace) Start(args ...string) *process {
	w.t.Helper()
	args = append([]string{"apply", "-auto-approve", "-no-color"}, args...)
	w.lastLog = w.nextLog("apply")
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.t.Context()), commandTimeout)
	p := &process{t: w.t, text: w.settings.cli.name + " " + strings.Join(args, " "), file: w.lastLog + ".out", done: make(chan struct{})}
	p.command = w.command(ctx, w.lastLog, args...)
	// A file, not a pipe: a provider that outlives its CLI would hold the pipe open.
	file, err := os.Create(p.file)
	if err != nil {
		w.t.Fatal(err)
	}
	p.command.Stdout, p.command.Stderr = file, file
	if err := p.command.Start(); err != nil {
		w.t.Fatal(err)
	}
	go func() {
		defer close(p.done)
		defer cancel()
		defer file.Close()
		p.command.Wait() //nolint:errcheck // the exit code tells
	}()
	w.t.Cleanup(func() {
		// The group has the CLI's id and lives as long as one of its processes.
		if err := syscall.Kill(-p.command.Process.Pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			w.t.Error(err)
		}
		<-p.done
	})
	return p
}

// Output is what the CLI has said so far.
func (p *process) Output() string {
	content, err := os.ReadFile(p.file)
	if err != nil {
		p.t.Error(err)
	}
	return unwrap(readable(string(content)))
}

// Wait waits for the CLI's end and returns what it said and its exit code, -1
// if a signal ended it.
func (p *process) Wait() (string, int) {
	p.t.Helper()
	<-p.done
	code := p.command.ProcessState.ExitCode()
	p.t.Logf("%s: exit %d\n%s", p.text, code, p.Output())
	return p.Output(), code
}

// Running says whether the CLI is still there.
func (p *process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// KillProvider kills the provider as `kill -9` does; the CLI lives on.
func (p *process) KillProvider() {
	p.t.Helper()
	pids, err := children(p.command.Process.Pid, "terraform-provider-kamal")
	if err != nil {
		p.t.Fatal(err)
	}
	if len(pids) == 0 {
		p.t.Fatalf("%s has no provider to kill:\n%s", p.text, p.Output())
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			p.t.Fatal(err)
		}
	}
}

// Kill kills the CLI and its providers, as a machine that goes down does.
func (p *process) Kill() {
	p.t.Helper()
	if err := syscall.Kill(-p.command.Process.Pid, syscall.SIGKILL); err != nil {
		p.t.Fatal(err)
	}
}

// KillCLI kills the CLI alone.
func (p *process) KillCLI() { p.signal(syscall.SIGKILL) }

// Interrupt is Ctrl-C: the CLI asks the provider to stop.
func (p *process) Interrupt() { p.signal(syscall.SIGINT) }

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.command.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// children finds the processes whose parent is pid and whose program has name.
func children(pid int, name string) ([]int, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	var found []int
	for _, stat := range stats {
		content, err := os.ReadFile(stat)
		if err != nil {
			continue // it ended meanwhile
		}
		// PID (COMMAND) STATE PPID …; the command may hold anything.
		_, rest, _ := strings.Cut(string(content[strings.LastIndexByte(string(content), ')'):]), ") ")
		fields := strings.Fields(rest)
		if len(fields) < 2 || fields[1] != strconv.Itoa(pid) || fields[0] == "Z" {
			continue
		}
		dir := filepath.Dir(stat)
		program, err := os.Readlink(filepath.Join(dir, "exe"))
		if err != nil || !strings.HasPrefix(filepath.Base(program), name) {
			continue
		}
		child, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", stat, err)
		}
		found = append(found, child)
	}
	return found, nil
}

// eventually waits, with a bound, for something that is going to happen.
func eventually(t *testing.T, bound time.Duration, what string, happened func() bool) {
	t.Helper()
	for deadline := time.Now().Add(bound); !happened(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %s in vain: %s", bound, what)
		}
	}
}
