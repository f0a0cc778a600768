package engine

import (
	"bufio"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/approle"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
	"github.com/kamal-terraform/terraform-provider-kamal/test/byhand"
)

// fingerprint is SHA256:… of a public key.
func fingerprint(t testing.TB, key string) string {
	t.Helper()
	command := exec.Command("ssh-keygen", "-l", "-f", "-")
	command.Stdin = strings.NewReader(key + "\n")
	out, err := command.Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(out))[1]
}

// The way to the server itself. Nothing can be changed there, and nothing is
// kept in the state.
func TestRoleSSHErrors(t *testing.T) {
	onEngines(t, func(e *engine) {
		// OpenSSH turns away for a while who has failed to log in: that comes at the end.
		e.s.SSH(e, `echo 'PerSourcePenalties no' > /etc/ssh/sshd_config.d/patient.conf; systemctl restart ssh`)
		r := e.role()
		dir := e.TempDir()
		key := filepath.Join(dir, "stranger")
		if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key).CombinedOutput(); err != nil {
			e.Fatalf("%v: %s", err, out)
		}
		public, err := os.ReadFile(key + ".pub")
		if err != nil {
			e.Fatal(err)
		}
		wrong := strings.Join(strings.Fields(string(public))[:2], " ")
		wrongKnownHosts, empty := filepath.Join(dir, "known_hosts"), filepath.Join(dir, "none")
		for file, content := range map[string]string{wrongKnownHosts: e.s.Address + " " + wrong + "\n", empty: ""} {
			if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
				e.Fatal(err)
			}
		}
		bad := []struct {
			name   string
			change func(*sshexec.Options)
			says   []string
		}{
			{"a key that is refused", func(o *sshexec.Options) { o.PrivateKeyFile = key },
				[]string{e.s.Address + ` refused to log in user "root"`, "check the user and the key in the provider's ssh block"}},
			{"another host key", func(o *sshexec.Options) { o.KnownHosts = wrongKnownHosts },
				[]string{"the host key of " + e.s.Address + " is not the known one", fingerprint(e, e.s.HostKey), fingerprint(e, wrong)}},
			{"no host key", func(o *sshexec.Options) { o.KnownHosts = empty },
				[]string{"the host key of " + e.s.Address + " is not known", fingerprint(e, e.s.HostKey)}},
			{"a pinned key that is wrong", func(o *sshexec.Options) { o.HostKey = wrong },
				[]string{"the host key of " + e.s.Address + " is not the known one", fingerprint(e, wrong)}},
			{"a port on which nobody listens", func(o *sshexec.Options) { o.Port = 1 },
				[]string{"cannot reach " + e.s.Address, "connection refused"}},
		}
		with := func(change func(*sshexec.Options)) []option {
			return []option{func(_ *fleet.Fleet, o *sshexec.Options) { change(o) }}
		}
		before := footprint(e, e.s)
		for _, tt := range bad {
			r.in("create with "+tt.name, func(r *role) {
				r.e.options = with(tt.change)
				r.fails("app:v1", append(tt.says, "Unable to deploy shop-web v1 on "+e.s.Address, "What to do: ")...)
				if len(r.has) > 0 || len(r.instances) > 0 {
					r.e.Errorf("in the state: %q, %v", r.has, r.instances)
				}
			})
		}
		wantSame(e, "the server", before, footprint(e, e.s))

		r.deploy("app:v1")
		id := r.container()
		before = footprint(e, e.s)
		for _, tt := range bad {
			r.in("refresh with "+tt.name, func(r *role) {
				r.e.options = with(tt.change)
				_, err := r.e.newRun().fleet.Server(e.s.Address).Snapshot(e.ctx())
				r.e.wantFailure(err, tt.says...)
			})
			r.in("deploy with "+tt.name, func(r *role) {
				r.e.options = with(tt.change)
				r.fails("app:v2", append(tt.says, "Running now: what ran before, nothing was changed")...)
			})
		}
		wantSame(e, "the server", before, footprint(e, e.s))
		r.spec.Image = e.image("app:v1")
		r.wantConverged()
		if r.container() != id {
			e.Errorf("the state lost the container: %q", r.container())
		}

		e.s.SSH(e, `rm /etc/ssh/sshd_config.d/patient.conf; systemctl restart ssh`)
		e.Cleanup(func() { e.s.SSH(e, "systemctl restart ssh") }) // which forgets whom it turns away
		eventually(e, time.Minute, "sshd turns this machine away", func() bool {
			c, err := net.Dial("tcp", net.JoinHostPort(e.s.Address, "22"))
			if err != nil {
				return false
			}
			defer c.Close()
			line, _ := bufio.NewReader(c).ReadString('\n')
			return strings.HasPrefix(line, "Not allowed at this time")
		})
		r.fails("app:v1", "cannot reach "+e.s.Address, "wait a minute and try again", "PerSourcePenalties")
	})
}

// Where sshd forwards no connections kamal-proxy's check has to do, and where
// there is no service yet a warning says that nobody has checked.
func TestRoleWhoseHealthCannotBeAskedFor(t *testing.T) {
	onEngines(t, func(e *engine) {
		e.s.SSH(e, `echo 'AllowTcpForwarding no' > /etc/ssh/sshd_config.d/closed.conf; systemctl restart ssh`)
		e.Cleanup(func() { e.s.SSH(e, `rm /etc/ssh/sshd_config.d/closed.conf; systemctl restart ssh`) })
		r := e.role(func(s *approle.Spec) { s.DeployTimeout = 4 * time.Second })
		if told := warned(r.deploy("app:v1").Warnings); !says(told, "The health of shop-web-v1 on "+e.s.Address+" was not checked") || !says(told, "AllowTcpForwarding") {
			e.Errorf("no word of it: %s", told)
		}
		byhand.RouteWeb(e, e.bed, e.s)
		l := startLoad(e, e.s)
		before := footprint(e, e.s)
		r.fails("app:unhealthy", "switch kamal-proxy to the new container", "kamal-proxy says: ", "503", "Running now: the old version goes on as before, container shop-web-v1")
		wantSame(e, "the server", before, footprint(e, e.s))
		if told := warned(r.deploy("app:v2").Warnings); told != "" {
			e.Errorf("warned: %s", told)
		}
		wantVersion(e, e.s, "http://shop.example.com/", "v2")
		wantNoneFailed(e, l, "checked by kamal-proxy")
	})
}
