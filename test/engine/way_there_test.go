package engine

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
	"github.com/kamal-terraform/terraform-provider-kamal/test/testbed"
)

// Each way there: another port and an IPv6 address, an agent, certificates of
// user and host, a bastion of its own, and two hops by an SSH configuration. The
// server itself forwards nothing.
func TestEveryWayThereDeploys(t *testing.T) {
	onEngines(t, func(e *engine) {
		s, b := e.s, e.bed
		first, second := e.another(testbed.Debian13Bare), e.another(testbed.Debian13Bare)
		if s.Address6 == "" {
			e.Fatalf("the testbed %s has no IPv6: make it anew where the kernel has it", b.Name)
		}
		s.SSH(e, `printf 'Port 22\nPort 2222\nAllowTcpForwarding no\n' > /etc/ssh/sshd_config.d/way.conf; systemctl restart ssh`)

		e.in("IPv6 and another port", func(e *engine) {
			e.options = []option{with(func(o *sshexec.Options) { o.KnownHosts = s.KnownHostsLineAt(s.Address6, 2222) })}
			e.wayDeploys("["+s.Address6+"]:2222", "sixth")
		})
		e.in("agent", func(e *engine) {
			socket := e.serveAgent(e.TempDir(), b.KeyFile)
			// For the whole process: the other tests name their keys, and ask no agent.
			if err := os.Setenv("SSH_AUTH_SOCK", socket); err != nil { //nolint:usetesting // not for a parallel test
				e.Fatal(err)
			}
			e.Cleanup(func() { os.Unsetenv("SSH_AUTH_SOCK") })
			e.options = []option{with(func(o *sshexec.Options) { o.PrivateKeyFile, o.Agent = "", true })}
			e.wayDeploys(s.Address, "agent")
		})
		e.in("certificates", func(e *engine) {
			dir := e.TempDir()
			key, public := e.sshKey(dir, "id")
			cert := s.SSH(e, `mkdir /root/ca; cd /root/ca
				for ca in user host; do ssh-keygen -q -t ed25519 -N '' -f $ca; done
				echo '`+public+`' > id.pub
				ssh-keygen -q -s user -I somebody -n root -V +1h id.pub
				ssh-keygen -q -s host -h -I server -n `+s.Address+` -V +1h /etc/ssh/ssh_host_ed25519_key.pub
				printf 'TrustedUserCAKeys /root/ca/user.pub\nHostCertificate /etc/ssh/ssh_host_ed25519_key-cert.pub\n' > /etc/ssh/sshd_config.d/certificates.conf
				systemctl restart ssh
				cat id-cert.pub`)
			authority := "@cert-authority " + s.Address + " "
			e.options = []option{with(func(o *sshexec.Options) {
				o.PrivateKeyFile, o.Certificate = key, e.writeFile(dir, "id-cert.pub", cert)
				o.KnownHosts = authority + strings.TrimSpace(s.SSH(e, "cat /root/ca/host.pub"))
			})}
			e.wayDeploys(s.Address, "certificate")

			// Another authority vouches for nobody.
			e.options = []option{with(func(o *sshexec.Options) {
				o.PrivateKeyFile, o.Certificate, o.KnownHosts = key, strings.TrimSpace(cert), authority+public
			})}
			e.machine().fails("Unable to set up the server on "+s.Address, "host key")
			s.SSH(e, "rm /etc/ssh/sshd_config.d/certificates.conf; systemctl restart ssh")
		})
		e.in("a bastion", func(e *engine) {
			key, public := e.sshKey(e.TempDir(), "bastion")
			first.SSH(e, "echo '"+public+"' > /home/deploy/.ssh/authorized_keys")
			e.only(s, first)
			through := func(hostKey string) option {
				return with(func(o *sshexec.Options) {
					o.KnownHosts = s.KnownHostsLine()
					o.Bastion = &sshexec.Bastion{Destination: "deploy@" + first.Address, Options: sshexec.Options{PrivateKeyFile: key, HostKey: hostKey}}
				})
			}
			e.options = []option{through(first.HostKey)}
			e.wayDeploys(s.Address, "bastion")

			e.options = []option{through(s.HostKey)}
			e.machine().fails("host key of deploy@"+first.Address, "is not the known one")
			e.only(s)
		})
		e.in("two hops by the SSH configuration", func(e *engine) {
			dir := e.TempDir()
			jump, public := e.sshKey(dir, "jump")
			for _, hop := range []*testbed.Server{first, second} {
				hop.SSH(e, "echo '"+public+"' > /home/deploy/.ssh/authorized_keys")
			}
			// As ssh-keygen -H leaves it: no name of a host can be read in it.
			hashed := s.SSH(e, "cat > /root/known <<'END'\n"+s.KnownHostsLineAt(s.Address6, 2222)+"\n"+first.KnownHostsLine()+"\n"+second.KnownHostsLine()+"\nEND\nssh-keygen -q -H -f /root/known >/dev/null 2>&1; cat /root/known")
			if strings.Contains(hashed, first.Address) || strings.Count(hashed, "|1|") != 3 {
				e.Fatalf("not hashed:\n%s", hashed)
			}
			known := e.writeFile(dir, "known_hosts", hashed)
			config := e.writeFile(dir, "config", fmt.Sprintf("Host one two\n  User deploy\n  IdentityFile %s\n\nHost one\n  HostName %s\n\nHost two\n  HostName %s\n\n"+
				"Host web-*\n  User root\n  Port 2222\n  IdentityFile %s\n  ProxyJump one,two\n\nHost web-1\n  HostName %s\n\nHost *\n  UserKnownHostsFile %s\n",
				jump, first.Address, second.Address, e.writeFile(dir, "web", e.readFile(b.KeyFile)), s.Address6, known))
			e.only(second, first)
			e.only(s, second)
			e.options = []option{with(func(o *sshexec.Options) { o.PrivateKeyFile, o.KnownHosts, o.Config = "", "", config })}
			e.wayDeploys("web-1", "jump")
			e.only(s)
		})
	})
}
