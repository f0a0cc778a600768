package testbed

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"
)

// Run runs a bash script as root and returns its standard output. It goes in
// through this machine's kernel, not over SSH: it works whatever a test did to the
// network, and proves nothing about the provider's own transport. (docker exec would
// do the same for twenty times the CPU, and tests ask thousands of times.) The
// script stops at the first command that fails; the error is then a *CommandError.
func (s *Server) Run(ctx context.Context, script string) (string, error) {
	in, err := s.way(ctx)
	if err != nil {
		return "", err
	}
	out, err := in.nsenter(ctx, "", []string{"mnt", "uts", "ipc", "net", "pid"}, "env", "--ignore-environment", "HOME=/root", "container=docker",
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "bash", "-eo", "pipefail", "-c", "cd /root\n"+script)
	if failed := (*CommandError)(nil); errors.As(err, &failed) {
		failed.Command = summary(s.Name+":", []string{script})
	}
	return out, err
}

// way is the way into the server as it runs now; another one after a reboot.
func (s *Server) way(ctx context.Context) (*inside, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.in != nil {
		if _, err := os.ReadFile(s.in.proc + "/cgroup"); err == nil {
			return s.in, nil
		}
		s.in.leave()
		s.in = nil
	}
	_, pid, err := s.running(ctx)
	if err == nil {
		s.in, err = s.inside(pid)
	}
	return s.in, err
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
