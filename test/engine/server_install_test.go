package engine

import (
	"strings"
	"testing"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/server"
	"github.com/kamal-terraform/terraform-provider-kamal/test/testbed"
)

// A bare machine: what would make the installation fail with words that nobody
// understands is told before anything is changed; a package manager that is
// busy is waited for; and once apt runs, it runs to its end, whatever becomes
// of the provider.
func TestServerOfABareMachineIsRefusedWaitedForAndInstalled(t *testing.T) {
	t.Parallel()
	onKinds(t, []testbed.Kind{testbed.Debian13Bare}, func(e *engine) {
		s, m := e.s, e.machine()
		const untouched = "! command -v dockerd && [ ! -e /etc/docker ]"
		s.SSH(e, "rm -rf /etc/docker") // there only because of the testbed's registry
		setUp := "Unable to set up the server on " + s.Address

		e.in("what is in the way", func(e *engine) {
			m := e.machine()
			s.SSH(e, "mount -t tmpfs -o size=100m tmpfs /var/lib/docker")
			m.fails(setUp, "the disk is nearly full: 100 MiB are free where Docker keeps its data", "nothing was changed")
			s.SSH(e, `umount /var/lib/docker; printf '#!/bin/sh\nexec /bin/date --date "1 hour" "$@"\n' > /usr/local/bin/date; chmod 755 /usr/local/bin/date`)
			m.fails(setUp, "its clock says", "apart", "timedatectl set-ntp true", "nothing was changed")
			s.SSH(e, "rm /usr/local/bin/date")

			m.want(func(want *server.Spec) { want.Swap = &server.Swap{File: "/swapfile", Size: 900_000 << 30} })
			m.fails(setUp, "too little for a swap file", "nothing was changed")
			m.want(func(want *server.Spec) { want.Docker.Install = false })
			m.fails(setUp, "Docker is missing", "docker.install is false")
			m.want(func(*server.Spec) {})
			s.SSH(e, `cp -p /etc/os-release /root/os-release; sed -i 's/^ID=.*/ID=fedora/; s/^PRETTY_NAME=.*/PRETTY_NAME="Fedora Linux 42"/' /etc/os-release`)
			m.fails("without install_script it is installed from the packages of Debian and Ubuntu", "Fedora Linux 42")
			s.SSH(e, "cp -p /root/os-release /etc/os-release\n"+untouched)
		})

		pid := m.holdLock()
		m.failsWithin(15*time.Second, setUp, "/var/lib/dpkg/lock-frontend is locked by pid "+pid, "stub-of-unattended-upgrade", "nothing was changed")
		s.SSH(e, untouched)

		first, ctx := e.newRun(), e.ctx()
		apply := e.start(func() error {
			_, err := server.Apply(ctx, first.fleet.Server(m.name), m.spec)
			return err
		})
		e.Cleanup(first.kill) // before its end is waited for
		eventually(e, time.Minute, "the provider waits", func() bool {
			_, err := s.Run(e.Context(), "pgrep -fx 'sleep 1'")
			return err == nil
		})
		s.SSH(e, "! command -v dockerd")
		m.freeLock()
		eventually(e, 2*time.Minute, "apt unpacks", func() bool {
			out, err := s.Run(e.Context(), "ls /var/lib/dpkg/info | grep -c containerd || true")
			return err == nil && strings.TrimSpace(out) != "0"
		})
		first.kill()
		e.run = first
		e.wantFailure(apply.wait(), setUp, "lost sight of", "apply again")

		m.setUp()
		s.SSH(e, `[ -z "$(dpkg --audit)" ] && docker network inspect kamal >/dev/null`)
		if n := strings.TrimSpace(s.SSH(e, "grep -c '^Commandline: .* install .*docker.io' /var/log/apt/history.log")); n != "1" {
			e.Errorf("apt was cut off: it installed %s times", n)
		}
		s.SSH(e, `systemctl is-enabled docker && [ "$(docker info --format '{{.LiveRestoreEnabled}}')" = true ]
			grep -q '"userland-proxy": false' /etc/docker/daemon.json && [ "$(stat -c %a /etc/docker/daemon.json)" = 644 ]`)
	})
}
