package acceptance

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/kamal-terraform/terraform-provider-kamal/test/testbed"
)

// wayConfig deploys the demo app to a server that is set up already.
const wayConfig = `
resource "kamal_server" "way" {
  server = "SERVER"
}

resource "kamal_app_role" "web" {
  service        = "SERVICE"
  servers        = [kamal_server.way.server]
  image          = "{{image "app:v1"}}"
  app_port       = 3000
  deploy_timeout = "30s"
}
`

// A way is a log-in to server 0 of a workspace, as the configuration has it.
type way struct {
	w *workspace
	// service is the app's name, another one for each way; ssh is the ssh object
	// of the provider, server the server's name.
	service, ssh, server string
}

// deploys applies, wants the app to run, and takes it away. There is one log-in
// for the plan and one for the apply, whatever there is on the way.
func (y way) deploys(t *testing.T) {
	t.Helper()
	y.w.Provider("ssh        = " + y.ssh + "\nregistries = {{registries}}")
	y.w.Write("main.tf", strings.NewReplacer("SERVER", y.server, "SERVICE", y.service).Replace(wayConfig))
	y.w.Apply()
	s := y.w.Servers[0]
	if n := y.w.Handshakes(y.server); n > 2 {
		t.Errorf("%d log-ins of a plan and an apply", n)
	}
	if got := s.SSH(t, "exec 3<>/dev/tcp/$(docker inspect --format '{{.NetworkSettings.Networks.kamal.IPAddress}}' "+y.service+`-web-v1)/3000
printf 'GET /env/APP_VERSION HTTP/1.0\r\n\r\n' >&3; tail -n 1 <&3`); got != "v1" {
		t.Errorf("the app says %q", got)
	}
	y.w.Destroy()
	if got := s.SSH(t, "docker ps --all --quiet --filter name="+y.service); got != "" {
		t.Errorf("left: %s", got)
	}
}

// noise is what a log-in says before it does what it is asked for.
const noise = `echo "Welcome to this server"; echo "It is noisy" >&2`

// Each kind of user, each shell: root with a noisy .bashrc and a banner, sudo
// with and without a password, group docker alone, fish and csh.
func TestEveryUserCanDeploy(t *testing.T) {
	aboutServers(t)
	t.Parallel()
	s := bed(t).Warm(t, testbed.Debian13)
	const password = `it's a "pass" $word \ ü`
	s.SSH(t, `apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends fish tcsh >/dev/null 2>&1
echo 'All you do is watched' > /etc/issue.net
echo 'Banner /etc/issue.net' > /etc/ssh/sshd_config.d/banner.conf
useradd --create-home --shell /usr/bin/fish fish
useradd --create-home --shell /usr/bin/tcsh --groups docker csh
echo 'fish ALL=(ALL) ALL' > /etc/sudoers.d/fish
for u in fish csh; do install -d -m 700 -o $u -g $u /home/$u/.ssh; install -m 600 -o $u -g $u /root/.ssh/authorized_keys /home/$u/.ssh/authorized_keys; done
for f in /root/.bashrc /home/deploy/.bashrc; do { echo '`+noise+`'; cat $f; } > $f.new; mv $f.new $f; done
mkdir -p /home/fish/.config/fish
echo '`+noise+`' > /home/fish/.config/fish/config.fish
echo 'echo "Welcome to this server"' > /home/csh/.cshrc
systemctl restart ssh`)
	s.SSH(t, "chpasswd <<'END'\nfish:"+password+"\nEND")
	for _, u := range []struct {
		name, user, sudo string
	}{
		{name: "root", user: "root"},
		{name: "sudo without a password", user: testbed.User},
		{name: "sudo with a password, and fish", user: "fish", sudo: password},
		{name: "group docker, and csh", user: "csh"},
	} {
		t.Run(u.name, func(t *testing.T) {
			w := newWorkspace(t, s)
			w.Setenv("KAMAL_SSH_SUDO_PASSWORD", u.sudo)
			way{w, "as-" + u.user, "{{ssh}}", u.user + "@" + s.Address}.deploys(t)
			if u.sudo != "" {
				newLeaks([]string{u.sudo}).files(t, w.Dir, w.logs)
			}
		})
	}
	// No password, and a wrong one: said before anything is changed.
	w := newWorkspace(t, s)
	w.Write("main.tf", strings.NewReplacer("SERVER", "fish@"+s.Address, "SERVICE", "shop").Replace(wayConfig))
	w.ApplyFails("sudo", "password")
	w.Setenv("KAMAL_SSH_SUDO_PASSWORD", "wrong")
	w.ApplyFails("sudo", "password")
	if got := s.SSH(t, "docker ps --all --quiet; ls -d /home/fish/.kamal/apps/shop 2>/dev/null || :"); got != "" {
		t.Errorf("left: %s", got)
	}
}

// sshKey is a new key pair: the private key's file, and the public one as a
// line of authorized_keys.
func sshKey(t *testing.T, dir, name string) (file, public string) {
	t.Helper()
	key, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, name)
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(dir, name)
	if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	line, err := ssh.NewPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return file, strings.TrimSpace(string(ssh.MarshalAuthorizedKey(line)))
}

// serveAgent runs an SSH agent that has one key, and returns its socket.
func serveAgent(t *testing.T, dir, keyFile string) string {
	t.Helper()
	text, err := os.ReadFile(keyFile)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.ParseRawPrivateKey(text)
	if err != nil {
		t.Fatal(err)
	}
	ring := agent.NewKeyring()
	if err := ring.Add(agent.AddedKey{PrivateKey: key}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "agent")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _ = agent.ServeAgent(ring, conn) }()
		}
	}()
	return path
}

// only lets a server be reached by SSH from some addresses alone.
func only(t *testing.T, s *testbed.Server, from ...*testbed.Server) {
	t.Helper()
	script := "for p in iptables ip6tables; do $p -F INPUT; done\n"
	for _, f := range from {
		script += "iptables -A INPUT -p tcp -s " + f.Address + " -j ACCEPT; ip6tables -A INPUT -p tcp -s " + f.Address6 + " -j ACCEPT\n"
	}
	if len(from) > 0 {
		script += "for p in iptables ip6tables; do $p -A INPUT -p tcp -m multiport --dports 22,2222 -j DROP; done\n"
	}
	s.SSH(t, script)
}

// Each way there: another port and an IPv6 address, an agent, certificates of
// user and host, a bastion of its own, and two hops by ~/.ssh/config. The server
// itself forwards nothing.
func TestEveryWayThereDeploys(t *testing.T) {
	aboutServers(t)
	t.Parallel()
	b := bed(t)
	s, first, second := b.Server(t, testbed.Debian12), b.Server(t, testbed.Debian13Bare), b.Server(t, testbed.Debian13Bare)
	if s.Address6 == "" {
		t.Fatalf("the testbed %s has no IPv6: make it anew where the kernel has it", b.Name)
	}
	s.SSH(t, `printf 'Port 22\nPort 2222\nAllowTcpForwarding no\n' > /etc/ssh/sshd_config.d/way.conf; systemctl restart ssh`)
	here6 := "[" + s.Address6 + "]:2222"

	t.Run("IPv6 and another port", func(t *testing.T) {
		w := newWorkspace(t, s)
		way{w, "sixth", fmt.Sprintf("{ private_key_file = %q, known_hosts = %q }", b.KeyFile, s.KnownHostsLineAt(s.Address6, 2222)), here6}.deploys(t)
	})
	t.Run("agent", func(t *testing.T) {
		w := newWorkspace(t, s)
		w.Setenv("SSH_AUTH_SOCK", serveAgent(t, w.home, b.KeyFile))
		way{w, "agent", fmt.Sprintf("{ agent = true, known_hosts = %q }", b.KnownHostsFile), s.Address}.deploys(t)
	})
	t.Run("certificates", func(t *testing.T) {
		w := newWorkspace(t, s)
		key, public := sshKey(t, w.home, "id")
		cert := s.SSH(t, `mkdir /root/ca; cd /root/ca
			for ca in user host; do ssh-keygen -q -t ed25519 -N '' -f $ca; done
			echo '`+public+`' > id.pub
			ssh-keygen -q -s user -I somebody -n root -V +1h id.pub
			ssh-keygen -q -s host -h -I server -n `+s.Address+` -V +1h /etc/ssh/ssh_host_ed25519_key.pub
			printf 'TrustedUserCAKeys /root/ca/user.pub\nHostCertificate /etc/ssh/ssh_host_ed25519_key-cert.pub\n' > /etc/ssh/sshd_config.d/certificates.conf
			systemctl restart ssh
			cat id-cert.pub`)
		authority := "@cert-authority " + s.Address + " " + strings.TrimSpace(s.SSH(t, "cat /root/ca/host.pub"))
		w.write(filepath.Join(w.home, "id-cert.pub"), cert)
		way{w, "certificate", fmt.Sprintf("{ private_key_file = %q, certificate = %q, known_hosts = %q }", key, filepath.Join(w.home, "id-cert.pub"), authority), s.Address}.deploys(t)

		// Another authority vouches for nobody.
		w.Provider(fmt.Sprintf("ssh = { private_key_file = %q, certificate = %q, known_hosts = %q }", key, strings.TrimSpace(cert), "@cert-authority "+s.Address+" "+public))
		w.ApplyFails("Unable to set up the server on "+s.Address, "host key")
		s.SSH(t, "rm /etc/ssh/sshd_config.d/certificates.conf; systemctl restart ssh")
	})

	t.Run("a bastion", func(t *testing.T) {
		w := newWorkspace(t, s)
		key, public := sshKey(t, w.home, "bastion")
		first.SSH(t, "echo '"+public+"' > /home/deploy/.ssh/authorized_keys")
		only(t, s, first)
		bastion := func(hostKey string) string {
			return fmt.Sprintf("{ private_key_file = %q, known_hosts = %q, bastion = { server = \"deploy@%s\", private_key_file = %q, host_key = %q } }",
				b.KeyFile, s.KnownHostsLine(), first.Address, key, hostKey)
		}
		way{w, "bastion", bastion(first.HostKey), s.Address}.deploys(t)

		w.Provider("ssh = " + bastion(s.HostKey))
		w.ApplyFails("bastion", first.Address, "host key")
		only(t, s)
	})
	t.Run("two hops by the SSH configuration", func(t *testing.T) {
		w := newWorkspace(t, s)
		dir := filepath.Join(w.home, ".ssh")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		_, public := sshKey(t, dir, "jump")
		for _, hop := range []*testbed.Server{first, second} {
			hop.SSH(t, "echo '"+public+"' > /home/deploy/.ssh/authorized_keys")
		}
		text, err := os.ReadFile(b.KeyFile)
		if err != nil {
			t.Fatal(err)
		}
		w.write(filepath.Join(dir, "web"), string(text))
		w.write(filepath.Join(dir, "config"), fmt.Sprintf("Host one two\n  User deploy\n  IdentityFile ~/.ssh/jump\n\nHost one\n  HostName %s\n\nHost two\n  HostName %s\n\n"+
			"Host web-*\n  User root\n  Port 2222\n  IdentityFile ~/.ssh/web\n  ProxyJump one,two\n\nHost web-1\n  HostName %s\n", first.Address, second.Address, s.Address6))
		// As ssh-keygen -H leaves it: no name of a host can be read in it.
		hashed := s.SSH(t, "cat > /root/known <<'END'\n"+s.KnownHostsLineAt(s.Address6, 2222)+"\n"+first.KnownHostsLine()+"\n"+second.KnownHostsLine()+"\nEND\nssh-keygen -q -H -f /root/known >/dev/null 2>&1; cat /root/known")
		if strings.Contains(hashed, first.Address) || strings.Count(hashed, "|1|") != 3 {
			t.Fatalf("not hashed:\n%s", hashed)
		}
		w.write(filepath.Join(dir, "known_hosts"), hashed)
		only(t, second, first)
		only(t, s, second)
		way{w, "jump", `{ config = "~/.ssh/config" }`, "web-1"}.deploys(t)
	})
}
