package testbed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// CommandError is a command that ran and failed.
type CommandError struct {
	Command  string
	ExitCode int // -1 if a signal ended it
	Stderr   string
}

func (e *CommandError) Error() string {
	return fmt.Sprintf("%s: exit %d: %s", e.Command, e.ExitCode, e.Stderr)
}

// run returns what the command prints on stdout, without the last newline.
func run(ctx context.Context, stdin io.Reader, name string, args ...string) (string, error) {
	return runHeard(ctx, stdin, io.Discard, name, args...)
}

// runHeard is run, with somebody who hears what it prints on stderr at once.
func runHeard(ctx context.Context, stdin io.Reader, hears io.Writer, name string, args ...string) (string, error) {
	command := exec.CommandContext(ctx, name, args...)
	command.Stdin = stdin
	// Asked to end, not killed: debootstrap unmounts what it mounted.
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
	command.WaitDelay = 10 * time.Second
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, io.MultiWriter(&stderr, hears)
	err := command.Run()
	out := strings.TrimSuffix(stdout.String(), "\n")
	if ctx.Err() != nil {
		return out, fmt.Errorf("%s: %w", summary(name, args), context.Cause(ctx))
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return out, &CommandError{summary(name, args), exit.ExitCode(), strings.TrimSpace(stderr.String())}
	}
	if err != nil {
		return out, fmt.Errorf("%s: %w", summary(name, args), err)
	}
	return out, nil
}

// summary is short enough for an error message: a whole script would drown it.
func summary(name string, args []string) string {
	text := strings.Join(append([]string{name}, args...), " ")
	if line, _, more := strings.Cut(text, "\n"); more {
		text = line + " …"
	}
	if runes := []rune(text); len(runes) > 200 {
		text = string(runes[:200]) + " …"
	}
	return text
}

func docker(ctx context.Context, args ...string) (string, error) {
	return run(ctx, nil, "docker", args...)
}

func lines(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == '\n' })
}
