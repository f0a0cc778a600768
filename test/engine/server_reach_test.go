package engine

import (
	"testing"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

// with is an option that changes how a run connects.
func with(change func(*sshexec.Options)) option {
	return func(_ *fleet.Fleet, o *sshexec.Options) { change(o) }
}

// acceptNew takes the key of a server that nobody knows; accepted is the one
// that an earlier run took.
func acceptNew(accepted string) option {
	return with(func(o *sshexec.Options) {
		o.KnownHosts, o.HostKeyPolicy, o.AcceptedKey = "/dev/null", sshexec.PolicyAcceptNew, accepted
	})
}

// The first key of a server is pinned, and a machine with another one is not
// taken for it; what keeps a server from being reached is told.
func TestServerIsToldFromAnotherMachine(t *testing.T) {
	onEngines(t, func(e *engine) {
		s, m := e.s, e.machine()
		setUp := "Unable to set up the server on " + s.Address
		s.SSH(e, "mkdir /root/kept; cp -p /etc/ssh/ssh_host_* /etc/machine-id /root/.ssh/authorized_keys /root/kept/")

		e.options = []option{acceptNew("")}
		m.setUp()
		key := e.run.fleet.Server(m.name).HostKey()
		if key != s.HostKey {
			e.Errorf("host key %q, want %q", key, s.HostKey)
		}
		e.options = []option{acceptNew(key)}
		s.SSH(e, "echo 0123456789abcdef0123456789abcdef > /etc/machine-id")
		if left := m.left(); len(left) > 0 {
			e.Errorf("another machine with Docker set up: %q", left)
		}
		if got := e.snapshot(s.Address).Facts.MachineID; got != "0123456789abcdef0123456789abcdef" {
			e.Errorf("machine id %q", got)
		}

		// A machine with other keys at the same address.
		s.SSH(e, "rm /etc/ssh/ssh_host_*; ssh-keygen -A; systemctl restart ssh")
		footprint := func() string {
			return s.SSH(e, "docker network ls --quiet --no-trunc | sort; sha256sum /etc/docker/daemon.json; ls -A /root/.kamal 2>/dev/null || :")
		}
		s.SSH(e, "docker network rm kamal >/dev/null") // something to do
		before := footprint()
		for _, way := range []struct {
			name  string
			o     option
			texts []string
		}{
			{"accepted before", acceptNew(key), []string{"is not the known one", "the key accepted when the server was first seen says " + key, "find out why the key changed"}},
			{"pinned", with(func(o *sshexec.Options) { o.HostKey = key }), []string{"is not the known one", "the pinned host key"}},
			{"pinned for every server", with(func(o *sshexec.Options) {
				o.HostKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBrB1kmtyqmi8u2vz2h1wNi5JIXAKcQ5oRfWMrKqTKQZ"
			}), []string{"the host key of " + s.Address + " is not the known one"}},
			{"in known_hosts", with(func(o *sshexec.Options) { o.KnownHosts = s.KnownHostsLine() }), []string{"is not the known one", "the known_hosts given"}},
			{"in known_hosts, and new ones accepted", with(func(o *sshexec.Options) { o.KnownHosts, o.HostKeyPolicy = s.KnownHostsLine(), sshexec.PolicyAcceptNew }), []string{"is not the known one"}},
			{"nobody is known", with(func(o *sshexec.Options) { o.KnownHosts = "/dev/null" }), []string{"the host key of " + s.Address + " is not known", "ssh-ed25519 SHA256:", "compare the fingerprint"}},
		} {
			e.options = []option{way.o}
			m.fails(append(way.texts, setUp)...)
			if n := e.run.handshakes(s.Address); n != 0 {
				e.Errorf("%s: %d log-ins", way.name, n)
			}
			_, err := e.newRun().fleet.Server(m.name).Snapshot(e.ctx())
			e.wantFailure(err, way.texts...)
			if !fleet.IsGone(err) || fleet.IsUnreachable(err) {
				e.Errorf("%s: the server that once was there is not gone: %v", way.name, err)
			}
		}
		wantSame(e, "the other machine", before, footprint())
		s.SSH(e, "cp -p /root/kept/ssh_host_* /etc/ssh/; systemctl restart ssh")

		// A key that the server refuses. A server that is created may still be
		// booting, and its key may not be there yet: it is tried until the time is up.
		// (Debian 13's sshd would stop answering somebody who fails so often.)
		e.options = []option{with(func(o *sshexec.Options) { o.BootTimeout = 3 * time.Second })}
		s.SSH(e, "rm /root/.ssh/authorized_keys")
		m.fails(setUp, `refused to log in user "root"`, "still after 3s and", "check the user and the key in the provider's ssh block")
		s.SSH(e, "cp -p /root/kept/authorized_keys /root/.ssh/")
		m.setUp()
	})
}

// What Docker says when it does not start is told, and a server that does not
// answer is told from one that refuses.
func TestServerThatDoesNotComeUp(t *testing.T) {
	onEngines(t, func(e *engine) {
		s, m := e.s, e.machine()
		setUp := "Unable to set up the server on " + s.Address
		s.SSH(e, `systemctl stop docker.socket docker; mv /usr/sbin/iptables /usr/sbin/iptables.away
			printf '#!/bin/sh\necho "iptables: no such module" >&2; exit 3\n' > /usr/sbin/iptables; chmod 755 /usr/sbin/iptables`)
		m.fails(setUp, "start Docker, now and at boot", "iptables does not work, which Docker needs: iptables: no such module")
		s.SSH(e, "mv /usr/sbin/iptables.away /usr/sbin/iptables")
		m.setUp()

		s.Stop(e)
		e.options = []option{with(func(o *sshexec.Options) { o.ConnectTimeout = 2 * time.Second })}
		m.fails(setUp, "cannot reach "+s.Address, `on_unreachable = "keep"`)
		err := m.removeDocker(e.ctx())
		e.wantFailure(err, "Unable to remove Docker on "+s.Address, "cannot reach "+s.Address)
		if !fleet.IsUnreachable(err) {
			e.Errorf("a server that is lost could not be destroyed: %v", err)
		}
		// It boots while it is waited for.
		e.options = []option{with(func(o *sshexec.Options) { o.BootTimeout = time.Minute })}
		r, ctx := e.newRun(), e.ctx()
		waiting := e.start(func() error {
			_, err := r.fleet.Server(m.name).Snapshot(ctx)
			return err
		})
		e.Cleanup(r.kill) // before its end is waited for
		s.Start(e)
		e.must(waiting.wait())
		if n := r.handshakes(s.Address); n != 1 {
			e.Errorf("%d log-ins, want one", n)
		}
		if left := m.left(); len(left) > 0 {
			e.Errorf("after a reboot: %q", left)
		}
	})
}
