package testbed

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"
)

// Run runs a bash script as root and returns its standard output. It goes
// through `docker exec`, not SSH: it works whatever a test did to the network,
// and proves nothing about the provider's own transport. The script stops at
// the first command that fails; the error is then a *CommandError.
func (s *Server) Run(ctx context.Context, script string) (string, error) {
	return docker(ctx, "exec", "--env", "HOME=/root", "--workdir", "/root", s.bed.object(s.Name), "bash", "-eo", "pipefail", "-c", script)
}

// SSH is Run that fails the test if the script fails.
func (s *Server) SSH(t testing.TB, script string) string {
	t.Helper()
	// Also called by cleanups, when t.Context is already cancelled.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 5*time.Minute)
	defer cancel()
	out, err := s.Run(ctx, script)
	if err != nil {
		t.Fatalf("%s: %v\n%s", s.Name, err, out)
	}
	return out
}

// LogIn logs root's Docker in at the bed's registry.
func (s *Server) LogIn(t testing.TB) {
	t.Helper()
	r := s.bed.Registry
	s.SSH(t, fmt.Sprintf("echo %s | docker login --username %s --password-stdin %s", r.Password, r.Username, r.Address))
}

// Reboot restarts the machine and waits until it is up. Files, containers with
// a restart policy and the host key stay; firewall rules made by hand go.
func (s *Server) Reboot(t testing.TB) {
	t.Helper()
	s.power(t, true, "restart", "-t", "30")
}

// Stop switches the machine off: its address answers nothing.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	s.power(t, false, "stop", "-t", "30")
}

// Start switches it on again and waits until it is up.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	s.power(t, true, "start")
}

// Pause freezes the machine: the kernel still accepts connections, and nothing
// ever answers on them.
func (s *Server) Pause(t testing.TB) {
	t.Helper()
	s.power(t, false, "pause")
}

// Unpause thaws it.
func (s *Server) Unpause(t testing.TB) {
	t.Helper()
	s.power(t, false, "unpause")
}

func (s *Server) power(t testing.TB, wait bool, args ...string) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	_, err := docker(ctx, append(args, s.bed.object(s.Name))...)
	if err == nil && wait {
		before := s.HostKey
		err = s.waitReady(ctx)
		if err == nil && s.HostKey != before {
			err = errors.Join(err, s.bed.refreshKnownHosts(ctx))
		}
	}
	if err != nil {
		t.Fatal(fmt.Errorf("%s: %w", s.Name, err))
	}
}
