package fleet

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

func TestFailureTellsInOrder(t *testing.T) {
	t.Parallel()
	f := &Failure{
		What: "deploy shop-web v2", Server: "10.0.0.1", Step: "", Cause: "the app is broken", Running: "the old version", Next: "mend it.",
		Err: fmt.Errorf("roll-out: %w", &sshexec.StepError{Server: "10.0.0.1", Call: "start", StepResult: sshexec.StepResult{
			Title: "run the container", Script: "docker run x", Ran: true, ExitCode: 125, Stderr: []byte("docker: no.\n")}}),
	}
	if got, want := f.Summary(), "Unable to deploy shop-web v2 on 10.0.0.1"; got != want {
		t.Errorf("summary %q", got)
	}
	want := `Step: run the container
Command: docker run x
Exit code: 125
Error output: docker: no.
Cause: the app is broken

Running now: the old version

What to do: mend it.`
	if got := f.Detail(); got != want {
		t.Errorf("detail:\n%s", got)
	}
	if got := (&Failure{What: "read x"}).Summary(); got != "Unable to read x" {
		t.Errorf("summary without a server %q", got)
	}
	var step *sshexec.StepError
	if !errors.As(error(f), &step) {
		t.Error("the step's error is lost")
	}
}

func TestFailureCutsLongOutput(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("line\n", 40) + "the end\n"
	f := &Failure{Err: &sshexec.StepError{StepResult: sshexec.StepResult{Script: long, Ran: true, ExitCode: 1, Stderr: []byte(long)}}}
	d := f.Detail()
	if strings.Count(d, "line\n") > 30 || !strings.Contains(d, "lines before)") || strings.Count(d, "the end") != 2 {
		t.Errorf("detail:\n%s", d)
	}
}

func TestFailureAdvisesOnTheTransportsErrors(t *testing.T) {
	t.Parallel()
	for want, err := range map[string]error{
		"the server's console or your cloud shows":       &sshexec.HostKeyError{OfferedLine: "10.0.0.1 ssh-ed25519 AAAA"},
		"find out why the key changed before you log in": &sshexec.HostKeyError{Known: []string{"SHA256:x"}, Source: "~/.ssh/known_hosts:3"},
		"check the user and the key in the provider's ":  &sshexec.AuthError{},
		"set on_unreachable = \"keep\" in the provider":  &sshexec.UnreachableError{Err: errors.New("no route")},
		"wait a minute and try again: sshd takes the":    &sshexec.UnreachableError{Err: &sshexec.HungUpError{Err: errors.New("EOF")}},
		"apply again: it looks at what is there":         &sshexec.InterruptedError{Err: errors.New("cut")},
		"let the user run sudo without a password":       &sshexec.SudoError{},
	} {
		f := &Failure{What: "x", Err: fmt.Errorf("wrapped: %w", err)}
		if d := f.Detail(); !strings.Contains(d, "What to do: ") || !strings.Contains(d, want) {
			t.Errorf("%T:\n%s", err, d)
		}
	}
	own := &Failure{Next: "do this.", Err: &sshexec.AuthError{}}
	if d := own.Detail(); !strings.HasSuffix(d, "What to do: do this.") {
		t.Errorf("the noun's own advice is lost:\n%s", d)
	}
}

func TestGoneAndUnreachable(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		err               error
		gone, unreachable bool
	}{
		{&sshexec.UnreachableError{Err: errors.New("x")}, true, true},
		{&sshexec.HostKeyError{}, true, false},
		{&sshexec.AuthError{}, false, false},
		{&sshexec.InterruptedError{Err: errors.New("x")}, false, false},
		{nil, false, false},
	} {
		err := tt.err
		if err != nil {
			err = fmt.Errorf("x: %w", err)
		}
		if IsGone(err) != tt.gone || IsUnreachable(err) != tt.unreachable {
			t.Errorf("%T: gone %t, unreachable %t", tt.err, IsGone(err), IsUnreachable(err))
		}
	}
}
