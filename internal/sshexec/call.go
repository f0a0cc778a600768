package sshexec

import "strings"

// A Call is one remote call: a batch of steps that one `/bin/sh` on the server
// runs in one SSH session. Round trips are the cost of everything this
// provider does, so a call should carry a whole phase.
type Call struct {
	// Title says what the call is for, as in "start the new container". It
	// appears in logs and in errors.
	Title string
	// Environment is POSIX shell that runs first of all: what it takes out of
	// the environment that the log-in gave, or puts into it, holds for every
	// step, and what Vars sets goes before it.
	Environment string
	// Vars are set before the first step and visible in every step.
	Vars []Var
	// Prelude is POSIX shell that runs before the first step in the same
	// shell, so that the functions it defines are visible in every step. It
	// must have no effect on the server.
	Prelude string
	// Steps run in order, each in a subshell of its own: what a step sets, the
	// next one does not see.
	Steps []Step
}

// A Var is a shell variable of a Call. Its value travels on the script's
// stdin, never in an argument list, and arrives byte for byte; it may hold
// anything but NUL.
type Var struct {
	Name, Value string
	// Export makes the variable part of the environment of what the steps
	// start (as `docker run -e NAME` needs it).
	Export bool
	// Secret values are redacted from every log line, error and result text.
	Secret bool
}

// A Step is one command, or a few that belong together, with one exit code.
type Step struct {
	// Title is a sentence part that says what the step does: "pull
	// registry.example.com/shop:v2". It appears in logs and in errors.
	Title string
	// Script is POSIX shell. Build commands with Quote.
	Script string
	// KeepGoing lets the steps after this one run although it failed.
	KeepGoing bool
}

// A Result holds what each step of a Call gave.
type Result struct {
	Server string
	Call   string
	Steps  []StepResult
}

// A StepResult is what one step gave. The output is exact, byte for byte.
type StepResult struct {
	Title string
	// Script is the step's script with secrets redacted.
	Script string
	// Ran is false for the steps behind a failed one.
	Ran            bool
	ExitCode       int
	Stdout, Stderr []byte
}

// Out returns the standard output of step i without the newlines at its end.
func (r *Result) Out(i int) string {
	return strings.TrimRight(string(r.Steps[i].Stdout), "\n")
}

// Err returns a *StepError for the first step that ran and failed, or nil.
// Steps with KeepGoing count too: a caller for whom their failure is no error
// looks at the steps instead.
func (r *Result) Err() error {
	for i := range r.Steps {
		if err := r.StepErr(i); err != nil {
			return err
		}
	}
	return nil
}

// StepErr returns a *StepError if step i ran and failed, or nil.
func (r *Result) StepErr(i int) error {
	s := r.Steps[i]
	if !s.Ran || s.ExitCode == 0 {
		return nil
	}
	return &StepError{Server: r.Server, Call: r.Call, StepResult: s}
}
