package engine

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/approle"
	"github.com/kamal-terraform/terraform-provider-kamal/test/testbed"
)

// wayDeploys sets a server up, deploys an app, wants it to run, and takes it
// away; each run logs in once, whatever there is on the way. name is the
// server's name, service the app's, another one for each way.
func (e *engine) wayDeploys(name, service string) {
	e.Helper()
	m := e.machine()
	m.name = name
	m.setUp()
	logIns := func(what string) {
		e.Helper()
		if n := e.run.handshakes(name); n != 1 {
			e.Errorf("%d log-ins for %s", n, what)
		}
	}
	logIns("setting the server up")
	r := e.role(func(s *approle.Spec) { s.Role.Service = service })
	r.servers = []string{name}
	r.deploy("app:v1")
	logIns("a deploy")
	if got := e.s.SSH(e, "exec 3<>/dev/tcp/$(docker inspect --format '{{.NetworkSettings.Networks.kamal.IPAddress}}' "+service+`-web-v1)/3000
printf 'GET /env/APP_VERSION HTTP/1.0\r\n\r\n' >&3; tail -n 1 <&3`); got != "v1" {
		e.Errorf("the app says %q", got)
	}
	if warnings, err := r.remove(); err != nil || warnings != "" {
		e.Errorf("remove: %v, warnings %q", err, warnings)
	}
	logIns("a remove")
	if got := e.s.SSH(e, "docker ps --all --quiet --filter name="+service); got != "" {
		e.Errorf("left: %s", got)
	}
}

// sshKey is a new key pair: the private key's file, and the public one as a
// line of authorized_keys.
func (e *engine) sshKey(dir, name string) (file, public string) {
	e.Helper()
	key, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		e.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, name)
	if err != nil {
		e.Fatal(err)
	}
	line, err := ssh.NewPublicKey(key)
	if err != nil {
		e.Fatal(err)
	}
	return e.writeFile(dir, name, string(pem.EncodeToMemory(block))), strings.TrimSpace(string(ssh.MarshalAuthorizedKey(line)))
}

// writeFile writes a file for its owner only, and returns its path.
func (e *engine) writeFile(dir, name, text string) string {
	e.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		e.Fatal(err)
	}
	return path
}

// readFile is what is in a file.
func (e *engine) readFile(path string) string {
	e.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		e.Fatal(err)
	}
	return string(text)
}

// serveAgent runs an SSH agent that has one key, and returns its socket.
func (e *engine) serveAgent(dir, keyFile string) string {
	e.Helper()
	key, err := ssh.ParseRawPrivateKey([]byte(e.readFile(keyFile)))
	if err != nil {
		e.Fatal(err)
	}
	ring := agent.NewKeyring()
	if err := ring.Add(agent.AddedKey{PrivateKey: key}); err != nil {
		e.Fatal(err)
	}
	path := filepath.Join(dir, "agent")
	l, err := (&net.ListenConfig{}).Listen(e.Context(), "unix", path)
	if err != nil {
		e.Fatal(err)
	}
	e.Cleanup(func() { l.Close() })
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

// only lets a server be reached by SSH from some addresses alone; from none
// means from all.
func (e *engine) only(s *testbed.Server, from ...*testbed.Server) {
	e.Helper()
	script := "for p in iptables ip6tables; do $p -F INPUT; done\n"
	for _, f := range from {
		script += "iptables -A INPUT -p tcp -s " + f.Address + " -j ACCEPT; ip6tables -A INPUT -p tcp -s " + f.Address6 + " -j ACCEPT\n"
	}
	if len(from) > 0 {
		script += "for p in iptables ip6tables; do $p -A INPUT -p tcp -m multiport --dports 22,2222 -j DROP; done\n"
	}
	s.SSH(e, script)
}
