package engine

import (
	"testing"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
	"github.com/kamal-terraform/terraform-provider-kamal/test/testbed"
)

// noise is what a log-in says before it does what it is asked for.
const noise = `echo "Welcome to this server"; echo "It is noisy" >&2`

// moreUsers makes a server with a banner, noisy shells, a user of fish who is
// in sudoers, and one of csh who is in group docker alone.
const moreUsers = `apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends fish tcsh >/dev/null 2>&1
echo 'All you do is watched' > /etc/issue.net
echo 'Banner /etc/issue.net' > /etc/ssh/sshd_config.d/banner.conf
useradd --create-home --shell /usr/bin/fish fish
useradd --create-home --shell /usr/bin/tcsh --groups docker csh
echo 'fish ALL=(ALL) ALL' > /etc/sudoers.d/fish
for u in fish csh; do install -d -m 700 -o $u -g $u /home/$u/.ssh; install -m 600 -o $u -g $u /root/.ssh/authorized_keys /home/$u/.ssh/authorized_keys; done
for f in /root/.bashrc /home/deploy/.bashrc; do { echo '` + noise + `'; cat $f; } > $f.new; mv $f.new $f; done
mkdir -p /home/fish/.config/fish
echo '` + noise + `' > /home/fish/.config/fish/config.fish
echo 'echo "Welcome to this server"' > /home/csh/.cshrc
systemctl restart ssh`

// Each kind of user, each shell: root with a noisy .bashrc and a banner, sudo
// with and without a password, group docker alone, fish and csh.
func TestEveryUserCanDeploy(t *testing.T) {
	onEngines(t, func(e *engine) {
		s := e.s
		const password = `it's a "pass" $word \ ü`
		s.SSH(e, moreUsers)
		s.SSH(e, "chpasswd <<'END'\nfish:"+password+"\nEND")
		for _, u := range []struct {
			name, user, sudo string
		}{
			{name: "root", user: "root"},
			{name: "sudo without a password", user: testbed.User},
			{name: "sudo with a password, and fish", user: "fish", sudo: password},
			{name: "group docker, and csh", user: "csh"},
		} {
			e.in(u.name, func(e *engine) {
				e.options = []option{with(func(o *sshexec.Options) { o.SudoPassword = u.sudo })}
				e.wayDeploys(u.user+"@"+s.Address, "as-"+u.user)
				e.run.log.mustNotHold(e, u.sudo)
			})
		}

		// No password, and a wrong one: said before anything is changed.
		m, r := e.machine(), e.role()
		m.name = "fish@" + s.Address
		r.servers = []string{m.name}
		for given, texts := range map[string][]string{
			"":      {"sudo", "password"},
			"wrong": {"sudo", "password", `user "fish" cannot use sudo on fish@` + s.Address, "let the user run sudo without a password"},
		} {
			e.options = []option{with(func(o *sshexec.Options) { o.SudoPassword = given })}
			m.fails(texts...)
			r.fails("app:v1", texts...)
		}
		if got := s.SSH(e, "docker ps --all --quiet; ls -d /home/fish/.kamal/apps/shop 2>/dev/null || :"); got != "" {
			e.Errorf("left: %s", got)
		}

		// Docker alone is not enough for setting a server up.
		e.options = nil
		m.name = "csh@" + s.Address
		const notRoot, remedy = "the SSH user is not root and can't use sudo, only Docker.", "let the user run sudo without a password"
		e.wantFailure(m.removeDocker(e.ctx()), "Unable to remove Docker on "+m.name, notRoot, remedy)
		s.SSH(e, "systemctl disable docker")
		m.fails("Unable to set up the server on "+m.name, notRoot, remedy)
		s.SSH(e, "! systemctl is-enabled docker && docker version >/dev/null && systemctl enable docker")
	})
}
