package engine

import (
	"context"
	"strings"
	"testing"
	"time"
)

// Docker is removed only where nothing runs and the distribution's package is
// what there is; what it kept stays.
func TestServerRemovesDockerWhenToldTo(t *testing.T) {
	onEngines(t, func(e *engine) {
		s, m := e.s, e.machine()
		remove := "Unable to remove Docker on " + s.Address
		m.runBusy()
		e.wantFailure(m.removeDocker(e.ctx()), remove, "containers run there: busy", "all of them, as before", "remove_docker_on_destroy = false")
		m.stopBusy()

		s.SSH(e, "systemctl stop docker.socket docker")
		e.wantFailure(m.removeDocker(e.ctx()), remove, "Docker does not answer there, so nobody can tell whether containers run.", "start Docker on the server")
		s.SSH(e, "systemctl start docker")

		const foreign = "it was not installed from the distribution's package docker.io."
		if strings.TrimSpace(s.SSH(e, "dpkg-query --show --showformat '${db:Status-Status}' docker.io 2>/dev/null || :")) != "installed" {
			e.wantFailure(m.removeDocker(e.ctx()), remove, foreign)
			s.SSH(e, "docker version >/dev/null")
			return
		}
		pid := m.holdLock()
		ctx, cancel := context.WithTimeout(e.ctx(), 10*time.Second)
		defer cancel()
		e.wantFailure(m.removeDocker(ctx), remove, "it was not free after", "is locked by pid "+pid)
		s.SSH(e, "docker version >/dev/null")
		m.freeLock()

		e.must(m.removeDocker(e.ctx()))
		s.SSH(e, "! command -v dockerd && ! command -v docker && [ -d /var/lib/docker ]")
		e.must(m.removeDocker(e.ctx())) // nothing is there
		s.SSH(e, `printf '#!/bin/sh\n' > /usr/local/bin/dockerd; chmod 755 /usr/local/bin/dockerd`)
		e.wantFailure(m.removeDocker(e.ctx()), remove, foreign, "remove it by hand")
		s.SSH(e, "rm /usr/local/bin/dockerd")
	})
}
