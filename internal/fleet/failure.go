package fleet

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

// A Failure is what could not be done, told for the person who has to mend it
// at night: what failed and where, the command, what is running now, and what
// to do next. Every error of the nouns' Apply functions is one.
type Failure struct {
	// What could not be done, as in "deploy shop-web v2". It follows "Unable to".
	What string
	// Server is the server's name; "" where it concerns none or all.
	Server string
	// Step is the sentence of the step that failed, where Err doesn't tell.
	Step string
	// Cause is the diagnosis: what was seen, and the likely reason.
	Cause string
	// Running says what is running now.
	Running string
	// Next says what to do next.
	Next string
	// Err is what happened, often a *sshexec.StepError.
	Err error
}

func (f *Failure) Error() string {
	return f.Summary() + "\n" + f.Detail()
}

func (f *Failure) Unwrap() error { return f.Err }

// Summary is one line: what could not be done, to what, where.
func (f *Failure) Summary() string {
	if f.Server == "" {
		return "Unable to " + f.What
	}
	return "Unable to " + f.What + " on " + f.Server
}

// Detail is the rest, always in this order: the step, the command, its exit
// code and the end of its standard error, what is running now, what to do next.
func (f *Failure) Detail() string {
	var b strings.Builder
	line := func(label, text string) {
		if text = strings.TrimSpace(text); text != "" {
			fmt.Fprintf(&b, "%s: %s\n", label, text)
		}
	}
	var step *sshexec.StepError
	if errors.As(f.Err, &step) {
		line("Step", firstOf(f.Step, step.Title))
		line("Command", lastLines(step.Script, 12))
		line("Exit code", fmt.Sprint(step.ExitCode))
		line("Error output", lastLines(string(step.Stderr), 15))
	} else {
		line("Step", f.Step)
		if f.Err != nil {
			line("Error", f.Err.Error())
		}
	}
	line("Cause", f.Cause)
	next := f.Next
	if next == "" {
		next = AdviceFor(f.Err)
	}
	if f.Running != "" {
		b.WriteString("\n")
		line("Running now", f.Running)
	}
	if next != "" {
		b.WriteString("\n")
		line("What to do", next)
	}
	return strings.TrimSpace(b.String())
}

// AdviceFor says what to do about the transport's errors, which are the same for all.
func AdviceFor(err error) string {
	var (
		hostKey     *sshexec.HostKeyError
		auth        *sshexec.AuthError
		unreachable *sshexec.UnreachableError
		hungUp      *sshexec.HungUpError
		interrupted *sshexec.InterruptedError
		sudo        *sshexec.SudoError
	)
	switch {
	case errors.As(err, &hostKey) && len(hostKey.Known) == 0:
		return "compare the fingerprint with the one the server's console or your cloud shows (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub), " +
			"then add the line to known_hosts, or give the key as host_key:\n" + hostKey.OfferedLine
	case errors.As(err, &hostKey):
		return "find out why the key changed before you log in: a server that was made anew has a new key, and so has one that somebody put in its place. " +
			"If the new key is right, put it into " + hostKey.Source + ":\n" + hostKey.OfferedLine
	case errors.As(err, &auth):
		return "check the user and the key in the provider's ssh block: the server's ~/.ssh/authorized_keys must have the public half of one of the keys tried."
	case errors.As(err, &hungUp):
		return "wait a minute and try again: sshd takes the connection and hangs up, as it does while it starts, with too many log-ins under way (MaxStartups), " +
			"and to an address from which log-ins have just failed (PerSourcePenalties, OpenSSH 9.8 and newer). On the server, journalctl -u ssh tells which."
	case errors.As(err, &unreachable):
		return "check the address, that the server runs, and that its firewall lets this machine in. " +
			"If the server is lost for good, set on_unreachable = \"keep\" in the provider to be able to destroy what was on it."
	case errors.Is(err, context.Canceled):
		return "it was interrupted by hand. Apply again when you are ready: it looks at what is there before it does anything."
	case errors.Is(err, context.DeadlineExceeded) && !errors.As(err, &unreachable):
		return "the time of the `timeouts` block is over. Raise it if the work just takes longer, and apply again."
	case errors.As(err, &interrupted):
		return "apply again: it looks at what is there before it does anything."
	case errors.As(err, &sudo):
		return "let the user run sudo without a password, give sudo_password in the provider's ssh block, or log in as root."
	}
	return ""
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// lastLines is the last n lines of a text, with a word on what was left out.
func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if len(lines) <= n {
		return strings.Join(lines, "\n")
	}
	return fmt.Sprintf("… (%d lines before)\n", len(lines)-n) + strings.Join(lines[len(lines)-n:], "\n")
}
