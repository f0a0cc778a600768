package engine

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// A server that is still being made by cloud-init is waited for; then it is
// set up, and what changes by hand is seen and mended.
func TestServerIsWaitedForAndMended(t *testing.T) {
	onEngines(t, func(e *engine) {
		s, m := e.s, e.machine()
		s.SSH(e, `printf '#!/bin/sh\necho "status: $(cat /run/ci)"\n' > /usr/local/bin/cloud-init; chmod 755 /usr/local/bin/cloud-init; echo running > /run/ci`)
		m.failsWithin(15*time.Second, "Unable to set up the server on "+s.Address, "cloud-init still runs after", "status: running", "nothing was changed")
		// Where it has not begun, and the system is up, it never will.
		s.SSH(e, "echo not started > /run/ci")
		m.setUp()
		s.SSH(e, "echo done > /run/ci")

		const (
			root  = "check that we are root"
			write = "write /etc/docker/daemon.json"
			start = "start Docker, now and at boot"
			net   = "make the network kamal" // where Docker does not run nobody can tell whether it is there
		)
		for _, d := range []struct {
			name, spoil string
			steps       []string
			mended      string
		}{
			{"Docker stopped", "systemctl stop docker.socket docker", []string{root, start, net}, "systemctl is-active docker"},
			{"not started at boot", "systemctl disable docker", []string{root, start}, "systemctl is-enabled docker"},
			{"network gone", "docker network rm kamal", []string{net}, "docker network inspect kamal"},
			{"log options changed", `sed -i 's/"10m"/"1g"/' /etc/docker/daemon.json`,
				[]string{root, write, "restart Docker, where no container runs"}, `grep '"max-size": "10m"' /etc/docker/daemon.json`},
			{"file gone", "rm /etc/docker/daemon.json",
				[]string{root, write, "restart Docker, where no container runs"}, "grep live-restore /etc/docker/daemon.json"},
			{"stopped, and the file is another", "systemctl stop docker.socket docker; echo '{}' > /etc/docker/daemon.json", []string{root, write, start, net}, "grep live-restore /etc/docker/daemon.json"},
		} {
			s.SSH(e, d.spoil)
			if got := m.left(); !slices.Equal(got, d.steps) {
				e.Errorf("%s: the plan is %q, want %q", d.name, got, d.steps)
			}
			m.setUp()
			s.SSH(e, d.mended)
		}

		// Another spelling of the same server: nothing is done.
		pid := m.dockerd()
		m.name = "root@" + s.Address + ":22"
		m.setUp()
		if now := m.dockerd(); now != pid {
			e.Errorf("another spelling of the server restarted Docker: %s, was %s", now, pid)
		}
		if calls := strings.Join(e.run.remoteCalls(m.name), ", "); calls != "look at the server" {
			e.Errorf("calls where nothing is to do: %q", calls)
		}
	})
}
