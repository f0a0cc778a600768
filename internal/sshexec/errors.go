package sshexec

import (
	"fmt"
	"strings"
)

// An UnreachableError says that no connection came about: the name did not
// resolve, nothing answered, or the peer hung up before log-in. Whether the
// server exists is unknown.
type UnreachableError struct {
	Server string
	Err    error
}

func (e *UnreachableError) Error() string {
	return fmt.Sprintf("cannot reach %s: %v", e.Server, e.Err)
}

func (e *UnreachableError) Unwrap() error { return e.Err }

// A HungUpError is in an UnreachableError when the server took the connection
// and ended it before it showed its host key. OpenSSH does so while it starts,
// when MaxStartups is reached, and from 9.8 on to an address from which log-ins
// failed (PerSourcePenalties).
type HungUpError struct{ Err error }

func (e *HungUpError) Error() string { return e.Err.Error() }

func (e *HungUpError) Unwrap() error { return e.Err }

// An AuthError says that the server answered, with the right host key, and
// refused every way to log in that was tried.
type AuthError struct {
	Server, User string
	// Tried lists what was offered: "key SHA256:… (file ~/.ssh/id_ed25519)".
	Tried []string
	Err   error
}

func (e *AuthError) Error() string {
	return fmt.Sprintf("%s refused to log in user %q (tried: %s): %v", e.Server, e.User, strings.Join(e.Tried, ", "), e.Err)
}

func (e *AuthError) Unwrap() error { return e.Err }

// A HostKeyError says that the server showed a host key other than the known
// one, or that none is known and the policy is strict. It is never retried.
type HostKeyError struct {
	Server string
	// Offered is what the server showed, as "ssh-ed25519 SHA256:…".
	Offered string
	// OfferedLine is the offered key in known_hosts form.
	OfferedLine string
	// Known are the fingerprints on record; empty where there is none.
	Known []string
	// Source says where the known keys come from, as in "~/.ssh/known_hosts:12".
	Source string
	// Reason is set where it is not the key itself that is wrong: a revoked
	// key, a certificate that has expired or is for another host.
	Reason string
}

func (e *HostKeyError) Error() string {
	if e.Reason != "" {
		return fmt.Sprintf("the host key of %s is refused: it offers %s: %s (%s)", e.Server, e.Offered, e.Reason, e.Source)
	}
	if len(e.Known) == 0 {
		return fmt.Sprintf("the host key of %s is not known: it offers %s, and %s has no key for it", e.Server, e.Offered, e.Source)
	}
	return fmt.Sprintf("the host key of %s is not the known one: it offers %s, %s says %s", e.Server, e.Offered, e.Source, strings.Join(e.Known, ", "))
}

// A ConfigError says that the SSH options cannot work whatever the server
// does: a key that does not parse, a passphrase that is missing or wrong.
type ConfigError struct {
	Server string
	Err    error
}

func (e *ConfigError) Error() string { return fmt.Sprintf("SSH options for %s: %v", e.Server, e.Err) }

func (e *ConfigError) Unwrap() error { return e.Err }

// An InterruptedError says that a call began and its end was not seen. What
// the step named did is unknown: observe again before acting.
type InterruptedError struct {
	Server, Call, Step string
	Err                error
}

func (e *InterruptedError) Error() string {
	return fmt.Sprintf("lost sight of %q (%s) on %s, its outcome is unknown: %v", e.Step, e.Call, e.Server, e.Err)
}

func (e *InterruptedError) Unwrap() error { return e.Err }

// A StartError says that the server took the log-in and did not run the script
// of a call: the account has no usable shell, sshd refuses sessions, or the
// script does not parse. No step has run.
type StartError struct {
	Server, Call string
	// Output is what came instead, redacted.
	Output string
	Err    error
}

func (e *StartError) Error() string {
	s := fmt.Sprintf("%s on %s did not start: %v", e.Call, e.Server, e.Err)
	if e.Output != "" {
		s += ": " + e.Output
	}
	return s
}

func (e *StartError) Unwrap() error { return e.Err }

// A SudoError says that the SSH user is not root and could not become root.
type SudoError struct {
	Server, User, Stderr string
}

func (e *SudoError) Error() string {
	return fmt.Sprintf("user %q cannot use sudo on %s: %s", e.User, e.Server, e.Stderr)
}

// A ForwardingError says that the server's sshd does not forward connections
// (AllowTcpForwarding, DisableForwarding, PermitOpen). Sessions still work.
type ForwardingError struct {
	Server, Address string
	Err             error
}

func (e *ForwardingError) Error() string {
	return fmt.Sprintf("sshd on %s does not forward to %s: %v", e.Server, e.Address, e.Err)
}

func (e *ForwardingError) Unwrap() error { return e.Err }

// A StepError is a step that ran to its end and exited with a code other than
// zero. Everything in it is redacted.
type StepError struct {
	Server, Call string
	StepResult
}

func (e *StepError) Error() string {
	return fmt.Sprintf("%s on %s: exit code %d: %s", e.Title, e.Server, e.ExitCode, strings.TrimSpace(string(e.Stderr)))
}
