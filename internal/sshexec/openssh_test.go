package sshexec_test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

// An sshd is a real OpenSSH server on loopback with its own keys.
type sshd struct {
	addr, dir string
	key       string // path of a private key that may log in
	hostKey   string // path of the ed25519 host key
	command   []string
}

// needOpenSSH skips where there is no OpenSSH to test against.
func needOpenSSH(t *testing.T) string {
	t.Helper()
	for _, path := range []string{"/usr/sbin/sshd", "/usr/bin/sshd"} {
		if _, err := os.Stat(path); err == nil {
			if os.Getuid() != 0 {
				t.Skip("SKIPPED: sshd is tested as root only")
			}
			return path
		}
	}
	t.Skip("SKIPPED: no sshd on this machine; install openssh-server to test against OpenSSH")
	return ""
}

func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v: %s", name, args, err, out)
	}
	return string(out)
}

func keygen(t *testing.T, path, keyType, passphrase string) string {
	t.Helper()
	args := []string{"-q", "-t", keyType, "-N", passphrase, "-C", filepath.Base(path), "-f", path}
	if keyType == "rsa" {
		args = append(args, "-b", "2048")
	}
	command(t, "ssh-keygen", args...)
	return path
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func writeFile(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// newSSHD makes the files of an sshd.
func newSSHD(t *testing.T, address string, more ...string) *sshd {
	t.Helper()
	binary := needOpenSSH(t)
	// sshd refuses files below directories that others may write to, and
	// users other than root must be able to get here.
	dir, err := os.MkdirTemp("/var/tmp", "sshexec-") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s := &sshd{dir: dir, hostKey: keygen(t, filepath.Join(dir, "host_ed25519"), "ed25519", ""), key: keygen(t, filepath.Join(dir, "id"), "ed25519", "")}
	writeFile(t, filepath.Join(dir, "authorized_keys"), readFile(t, s.key+".pub"))
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil { // for privilege separation
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	s.addr = l.Addr().String()
	_, port, _ := net.SplitHostPort(s.addr)
	_ = l.Close()
	// SHLVL keeps bash from reading the .bashrc of whoever runs the test.
	config := writeFile(t, filepath.Join(dir, "sshd_config"), strings.Join(append(more, "SetEnv SHLVL=5",
		"ListenAddress "+s.addr, "Port "+port, "HostKey "+s.hostKey, "PidFile none", "UsePAM no", "StrictModes no",
		"PermitRootLogin prohibit-password", "PasswordAuthentication no", "KbdInteractiveAuthentication no",
		"AuthorizedKeysFile "+filepath.Join(dir, "authorized_keys"), ""), "\n"))
	s.command = []string{binary, "-D", "-e", "-f", config}
	return s
}

// startSSHD starts an sshd with more lines of configuration; address is that
// of the loopback interface to listen on.
func startSSHD(t *testing.T, address string, more ...string) *sshd {
	t.Helper()
	s := newSSHD(t, address, more...)
	s.start(t, exec.Command(s.command[0], s.command[1:]...))
	return s
}

// start runs an sshd until the test ends and waits until it listens.
func (s *sshd) start(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	var log syncBuffer
	cmd.Stderr = &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("sshd: %s", log.String())
		}
	})
	waitFor(t, func() bool {
		c, err := net.Dial("tcp", s.addr)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// knownHosts returns the line for a public key file.
func (s *sshd) knownHosts(t *testing.T, public string) string {
	host, port, _ := net.SplitHostPort(s.addr)
	return fmt.Sprintf("[%s]:%s %s", host, port, readFile(t, public))
}

func (s *sshd) options(t *testing.T) sshexec.Options {
	return sshexec.Options{PrivateKeyFile: s.key, KnownHosts: s.knownHosts(t, s.hostKey+".pub")}
}

// try connects and runs one step.
func (s *sshd) try(t *testing.T, o sshexec.Options) error {
	t.Helper()
	r, err := newPool(t, o, nil).Client(s.addr).Run(timeout(t), steps("id -u; echo err >&2"))
	if err == nil && (r.Out(0) != "0" || string(r.Steps[0].Stderr) != "err\n") {
		t.Errorf("%q, %q", r.Out(0), r.Steps[0].Stderr)
	}
	return err
}

func TestOpenSSHLogin(t *testing.T) {
	t.Parallel()
	s := startSSHD(t, "127.0.0.1", "MaxAuthTries 3")
	file := func(name string) string { return filepath.Join(s.dir, name) }
	authorize := func(name string) {
		f, err := os.OpenFile(file("authorized_keys"), os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		_, _ = f.WriteString(readFile(t, file(name)+".pub"))
	}
	for _, keyType := range []string{"rsa", "ecdsa", "ed25519"} {
		keygen(t, file(keyType), keyType, "")
		authorize(keyType)
	}
	keygen(t, file("locked"), "ed25519", "open sesame")
	authorize("locked")
	keygen(t, file("stranger"), "ed25519", "")
	keygen(t, file("ca"), "ed25519", "")
	keygen(t, file("holder"), "ed25519", "")
	ca, err := os.OpenFile(file("authorized_keys"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = ca.WriteString("cert-authority " + readFile(t, file("ca.pub")))
	_ = ca.Close()
	command(t, "ssh-keygen", "-q", "-s", file("ca"), "-I", "holder", "-n", "root", file("holder.pub"))

	tests := map[string]struct {
		change func(*sshexec.Options)
		wrong  any // type of the error, nil if it must connect
	}{
		"key file":             {func(o *sshexec.Options) {}, nil},
		"rsa":                  {func(o *sshexec.Options) { o.PrivateKeyFile = file("rsa") }, nil},
		"ecdsa":                {func(o *sshexec.Options) { o.PrivateKeyFile = file("ecdsa") }, nil},
		"key content":          {func(o *sshexec.Options) { o.PrivateKey, o.PrivateKeyFile = readFile(t, s.key), "" }, nil},
		"passphrase":           {func(o *sshexec.Options) { o.PrivateKeyFile, o.Passphrase = file("locked"), "open sesame" }, nil},
		"wrong passphrase":     {func(o *sshexec.Options) { o.PrivateKeyFile, o.Passphrase = file("locked"), "sesame" }, new(*sshexec.ConfigError)},
		"no passphrase":        {func(o *sshexec.Options) { o.PrivateKeyFile = file("locked") }, new(*sshexec.ConfigError)},
		"stranger":             {func(o *sshexec.Options) { o.PrivateKeyFile = file("stranger") }, new(*sshexec.AuthError)},
		"key without its cert": {func(o *sshexec.Options) { o.PrivateKeyFile = file("holder") }, new(*sshexec.AuthError)},
		"certificate file":     {func(o *sshexec.Options) { o.PrivateKeyFile, o.Certificate = file("holder"), file("holder-cert.pub") }, nil},
		"certificate content": {func(o *sshexec.Options) {
			o.PrivateKeyFile, o.Certificate = file("holder"), readFile(t, file("holder-cert.pub"))
		}, nil},
		"certificate of another": {func(o *sshexec.Options) { o.Certificate = file("holder-cert.pub") }, new(*sshexec.ConfigError)},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			o := s.options(t)
			tt.change(&o)
			err := s.try(t, o)
			if tt.wrong == nil && err != nil || tt.wrong != nil && !errors.As(err, tt.wrong) {
				t.Errorf("error: %v", err)
			}
		})
	}
}

func TestOpenSSHAgentAndDefaultKeys(t *testing.T) {
	// Not parallel: it sets the environment.
	s := startSSHD(t, "127.0.0.1", "MaxAuthTries 3")
	socket := filepath.Join(s.dir, "agent")
	cmd := exec.Command("ssh-agent", "-D", "-a", socket)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	waitFor(t, func() bool { _, err := os.Stat(socket); return err == nil })
	t.Setenv("SSH_AUTH_SOCK", socket)
	home := filepath.Join(s.dir, "home")
	t.Setenv("HOME", home)
	if err := os.MkdirAll(filepath.Join(home, ".ssh"), 0o700); err != nil {
		t.Fatal(err)
	}
	o := s.options(t)
	o.PrivateKeyFile = ""
	add := func(key string) {
		add := exec.Command("ssh-add", "-q", key)
		if out, err := add.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}

	var config *sshexec.ConfigError
	if err := s.try(t, o); !errors.As(err, &config) {
		t.Errorf("nothing to log in with: %v", err)
	}
	add(s.key)
	if err := s.try(t, o); err != nil {
		t.Errorf("agent by default: %v", err)
	}
	o.Agent = true
	if err := s.try(t, o); err != nil {
		t.Errorf("agent: %v", err)
	}
	stranger := keygen(t, filepath.Join(s.dir, "stranger"), "ed25519", "")
	o.PrivateKeyFile = stranger
	if err := s.try(t, o); err != nil {
		t.Errorf("key, then agent: %v", err)
	}
	o.Agent = false
	var refused *sshexec.AuthError
	if err := s.try(t, o); !errors.As(err, &refused) {
		t.Errorf("a key is given, and the agent not asked for: %v", err)
	}

	// sshd hangs up in the middle of it: still a log-in that was refused.
	command(t, "ssh-add", "-q", "-D")
	for i := range 4 {
		add(keygen(t, filepath.Join(s.dir, fmt.Sprint("many", i)), "ed25519", ""))
	}
	o.PrivateKeyFile, o.Agent = "", true
	if err := s.try(t, o); !errors.As(err, &refused) || len(refused.Tried) != 4 {
		t.Errorf("too many keys: %v", err)
	}

	t.Setenv("SSH_AUTH_SOCK", "")
	if err := s.try(t, o); !errors.As(err, &config) {
		t.Errorf("no agent: %v", err)
	}
	o.Agent = false
	writeFile(t, filepath.Join(home, ".ssh/id_ed25519"), readFile(t, s.key))
	if err := s.try(t, o); err != nil {
		t.Errorf("default key: %v", err)
	}
	o.KnownHosts = ""
	var unknown *sshexec.HostKeyError
	if err := s.try(t, o); !errors.As(err, &unknown) || !strings.Contains(err.Error(), "~/.ssh/known_hosts") {
		t.Errorf("default known_hosts, missing: %v", err)
	}
	writeFile(t, filepath.Join(home, ".ssh/known_hosts"), s.knownHosts(t, s.hostKey+".pub"))
	if err := s.try(t, o); err != nil {
		t.Errorf("default known_hosts: %v", err)
	}
}

func TestOpenSSHHostKeys(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	rsa := keygen(t, filepath.Join(dir, "host_rsa"), "rsa", "")
	ecdsa := keygen(t, filepath.Join(dir, "host_ecdsa"), "ecdsa", "")
	ca := keygen(t, filepath.Join(dir, "ca"), "rsa", "")
	certified := keygen(t, filepath.Join(dir, "certified"), "ed25519", "")
	elsewhere := keygen(t, filepath.Join(dir, "elsewhere"), "ed25519", "")
	command(t, "ssh-keygen", "-q", "-s", ca, "-I", "host", "-h", "-n", "127.0.0.1", certified+".pub")
	command(t, "ssh-keygen", "-q", "-s", ca, "-I", "host", "-h", "-n", "example.com", elsewhere+".pub")
	s := startSSHD(t, "127.0.0.1", "HostKey "+rsa, "HostKey "+ecdsa)
	withCert := startSSHD(t, "127.0.0.1", "HostKey "+certified, "HostCertificate "+certified+"-cert.pub")
	wrongCert := startSSHD(t, "127.0.0.1", "HostKey "+elsewhere, "HostCertificate "+elsewhere+"-cert.pub")
	hashed := writeFile(t, filepath.Join(dir, "hashed"), s.knownHosts(t, s.hostKey+".pub"))
	command(t, "ssh-keygen", "-q", "-H", "-f", hashed)
	if strings.Contains(readFile(t, hashed), "127.0.0.1") {
		t.Fatal("known_hosts is not hashed")
	}
	authority := func(s *sshd, pattern string) string {
		return "@cert-authority " + pattern + " " + readFile(t, ca+".pub")
	}
	rsaPrint := strings.Fields(command(t, "ssh-keygen", "-l", "-f", rsa+".pub"))[1]

	tests := map[string]struct {
		server  *sshd
		known   string
		pin     string
		refused string
	}{
		"hashed file":               {s, hashed, "", ""},
		"several files":             {s, dir + "/none:" + hashed, "", ""},
		"only rsa known":            {s, s.knownHosts(t, rsa+".pub"), "", ""},
		"only ecdsa known":          {s, s.knownHosts(t, ecdsa+".pub"), "", ""},
		"another key known":         {s, s.knownHosts(t, ca+".pub"), "", "is not the known one"},
		"another type known":        {withCert, withCert.knownHosts(t, ecdsa+".pub"), "", "is not the known one"},
		"rsa key pinned":            {s, "", readFile(t, rsa+".pub"), ""},
		"rsa print pinned":          {s, "", rsaPrint, ""},
		"rsa print, not there":      {withCert, "", rsaPrint, "the pinned host key"},
		"authority":                 {withCert, authority(withCert, strings.Fields(withCert.knownHosts(t, ca+".pub"))[0]), "", ""},
		"authority for all":         {withCert, authority(withCert, "*"), "", ""},
		"authority elsewhere":       {withCert, authority(withCert, "*.example.com"), "", "is not known"},
		"cert of another host":      {wrongCert, authority(wrongCert, "*"), "", "is refused"},
		"key, though cert is wrong": {wrongCert, authority(wrongCert, "*") + wrongCert.knownHosts(t, elsewhere+".pub"), "", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			o := tt.server.options(t)
			o.HostKey = tt.pin
			if tt.known != "" {
				o.KnownHosts = tt.known
			}
			err := tt.server.try(t, o)
			var refused *sshexec.HostKeyError
			if tt.refused == "" && err != nil || tt.refused != "" && (!errors.As(err, &refused) || !strings.Contains(err.Error(), tt.refused)) {
				t.Errorf("error: %v", err)
			}
		})
	}
}

func TestOpenSSHForwardingAndBastion(t *testing.T) {
	t.Parallel()
	s := startSSHD(t, "127.0.0.1", "AllowTcpForwarding no")
	bastion := startSSHD(t, "127.0.0.1")
	_, err := newPool(t, s.options(t), nil).Client(s.addr).Dial(timeout(t), "tcp", s.addr)
	var forbidden *sshexec.ForwardingError
	if !errors.As(err, &forbidden) {
		t.Errorf("AllowTcpForwarding no: %v", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	_ = l.Close()
	_, err = newPool(t, bastion.options(t), nil).Client(bastion.addr).Dial(timeout(t), "tcp", closed)
	var refused *net.OpError
	if !errors.As(err, &refused) || errors.As(err, &forbidden) {
		t.Errorf("nothing listens: %v", err)
	}

	o := s.options(t)
	o.Bastion = &sshexec.Bastion{Destination: bastion.addr, Options: bastion.options(t)}
	if err := s.try(t, o); err != nil {
		t.Errorf("bastion: %v", err)
	}
	// A server that forwards nothing is no bastion, and the error names it.
	o, oBastion := bastion.options(t), s.options(t)
	o.Bastion = &sshexec.Bastion{Destination: s.addr, Options: oBastion}
	var unreachable *sshexec.UnreachableError
	if err := bastion.try(t, o); !errors.As(err, &unreachable) || !strings.Contains(err.Error(), "bastion "+s.addr) {
		t.Errorf("bastion that does not forward: %v", err)
	}
}

func TestOpenSSHSessions(t *testing.T) {
	t.Parallel()
	for _, limit := range []string{"1", "2", "10"} {
		t.Run("MaxSessions "+limit, func(t *testing.T) {
			t.Parallel()
			s := startSSHD(t, "127.0.0.1", "MaxSessions "+limit)
			c := newPool(t, s.options(t), nil).Client(s.addr)
			errs := make(chan error)
			for range 20 {
				go func() { _, err := c.Run(timeout(t), steps("sleep 0.02")); errs <- err }()
			}
			for range 20 {
				if err := <-errs; err != nil {
					t.Error(err)
				}
			}
			if got := c.Stats(); got.Handshakes != 1 || got.Calls != 20 {
				t.Errorf("%+v", got)
			}
		})
	}
	t.Run("MaxSessions 0", func(t *testing.T) {
		t.Parallel()
		s := startSSHD(t, "127.0.0.1", "MaxSessions 0")
		var start *sshexec.StartError
		if err := s.try(t, s.options(t)); !errors.As(err, &start) {
			t.Errorf("error: %v", err)
		}
	})
}

func TestOpenSSHOverIPv6(t *testing.T) {
	t.Parallel()
	s := startSSHD(t, "::1")
	if !strings.HasPrefix(s.addr, "[::1]:") {
		t.Fatal(s.addr)
	}
	if err := s.try(t, s.options(t)); err != nil {
		t.Error(err)
	}
}

func TestOpenSSHEndsWhatIsCancelled(t *testing.T) {
	t.Parallel()
	s := startSSHD(t, "127.0.0.1")
	for _, how := range []string{"cancel", "close"} {
		t.Run(how, func(t *testing.T) {
			p := newPool(t, s.options(t), nil)
			pid := filepath.Join(s.dir, "pid-"+how)
			ctx, cancel := contextWithCancel(t)
			defer cancel()
			ended := make(chan error)
			go func() {
				_, err := p.Client(s.addr).Run(ctx, steps("echo $$ >"+pid+"; sleep 100 & wait"))
				ended <- err
			}()
			waitFor(t, func() bool { b, _ := os.ReadFile(pid); return len(b) > 1 })
			if how == "cancel" {
				cancel()
			} else {
				_ = p.Close()
			}
			var interrupted *sshexec.InterruptedError
			if err := <-ended; !errors.As(err, &interrupted) {
				t.Errorf("error: %v", err)
			}
			proc := "/proc/" + strings.TrimSpace(readFile(t, pid))
			start := time.Now()
			waitFor(t, func() bool { _, err := os.Stat(proc); return err != nil })
			t.Logf("gone after %s", time.Since(start))
		})
	}
}
