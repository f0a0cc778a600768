package sshexec_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec/sshtest"
)

func run(t *testing.T, srv *sshtest.Server, o sshexec.Options) (*sshexec.Client, error) {
	t.Helper()
	c := newPool(t, o, nil).Client(srv.Addr)
	_, err := c.Run(timeout(t), steps("true"))
	return c, err
}

func fingerprint(t *testing.T, line string) string {
	t.Helper()
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil {
		t.Fatal(err)
	}
	return ssh.FingerprintSHA256(key)
}

func TestHostKeys(t *testing.T) {
	t.Parallel()
	_, other := sshtest.NewKey(t)
	otherLine := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(other)))
	tests := map[string]struct {
		change  func(o *sshexec.Options, srv *sshtest.Server)
		refused string // part of the error, "" if it must connect
	}{
		"known":                   {func(*sshexec.Options, *sshtest.Server) {}, ""},
		"unknown":                 {func(o *sshexec.Options, _ *sshtest.Server) { o.KnownHosts = "# empty \n" }, "is not known"},
		"changed":                 {func(_ *sshexec.Options, s *sshtest.Server) { s.NewHostKey() }, "is not the known one"},
		"accept-new":              {func(o *sshexec.Options, _ *sshtest.Server) { o.KnownHosts, o.HostKeyPolicy = "# \n", "accept-new" }, ""},
		"accept-new, but changed": {func(o *sshexec.Options, s *sshtest.Server) { s.NewHostKey(); o.HostKeyPolicy = "accept-new" }, "is not the known one"},
		"pinned key":              {func(o *sshexec.Options, s *sshtest.Server) { o.KnownHosts, o.HostKey = "# \n", s.HostKey+" comment" }, ""},
		"pinned fingerprint": {func(o *sshexec.Options, s *sshtest.Server) {
			o.KnownHosts, o.HostKey = "# \n", fingerprint(t, s.HostKey)
		}, ""},
		"another key pinned":   {func(o *sshexec.Options, _ *sshtest.Server) { o.HostKey = otherLine }, "the pinned host key"},
		"another fingerprint":  {func(o *sshexec.Options, _ *sshtest.Server) { o.HostKey = ssh.FingerprintSHA256(other) }, "the pinned host key"},
		"pin beats accept-new": {func(o *sshexec.Options, _ *sshtest.Server) { o.HostKey, o.HostKeyPolicy = otherLine, "accept-new" }, "the pinned host key"},
		"revoked":              {func(o *sshexec.Options, s *sshtest.Server) { o.KnownHosts += "@revoked * " + s.HostKey + "\n" }, "revoked"},
		"line that does not parse": {func(o *sshexec.Options, _ *sshtest.Server) {
			o.KnownHosts = "garbage\nhost ssh-new AAAA\n" + o.KnownHosts
		}, ""},
		"wildcard": {func(o *sshexec.Options, s *sshtest.Server) { o.KnownHosts = "* " + s.HostKey + "\n" }, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := sshtest.Start(t)
			o := optionsFor(srv)
			o.BootTimeout = time.Minute // which must not matter
			tt.change(&o, srv)
			start := time.Now()
			c, err := run(t, srv, o)
			if tt.refused == "" {
				if err != nil {
					t.Fatal(err)
				}
				if c.HostKey() != srv.HostKey {
					t.Errorf("HostKey %q, want %q", c.HostKey(), srv.HostKey)
				}
				return
			}
			var refused *sshexec.HostKeyError
			if !errors.As(err, &refused) || !strings.Contains(err.Error(), tt.refused) {
				t.Fatalf("error: %v", err)
			}
			if refused.OfferedLine != srv.HostKey || !strings.Contains(err.Error(), fingerprint(t, srv.HostKey)) {
				t.Errorf("offered: %q in %v", refused.OfferedLine, err)
			}
			if time.Since(start) > 5*time.Second {
				t.Error("it was tried again")
			}
			if srv.Handshakes() != 0 {
				t.Error("logged in all the same")
			}
		})
	}
}

func TestAcceptedHostKeyCountsFromThenOn(t *testing.T) {
	t.Parallel()
	srv := sshtest.Start(t)
	o := optionsFor(srv)
	o.KnownHosts, o.HostKeyPolicy = "# nothing \n", sshexec.PolicyAcceptNew
	c := newPool(t, o, nil).Client(srv.Addr)
	mustRun(t, c, steps("true"))
	first := c.HostKey()
	srv.Cut()
	mustRun(t, c, steps("true"))
	srv.NewHostKey()
	srv.Cut()
	waitFor(t, func() bool { // until the cut is noticed
		_, err := c.Run(timeout(t), steps("true"))
		var changed *sshexec.HostKeyError
		return errors.As(err, &changed) && strings.Contains(changed.Source, "accepted before")
	})
	if c.HostKey() != first {
		t.Error("HostKey tells the refused key")
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	srv := sshtest.Start(t)
	otherKey, otherPublic := sshtest.NewKey(t)
	file := filepath.Join(t.TempDir(), "id")
	if err := os.WriteFile(file, []byte(srv.Key), 0o600); err != nil {
		t.Fatal(err)
	}
	base := sshexec.Options{KnownHosts: srv.KnownHosts}

	o := base
	o.PrivateKeyFile = file
	if _, err := run(t, srv, o); err != nil {
		t.Errorf("file: %v", err)
	}

	o = base
	o.PrivateKey = otherKey
	_, err := run(t, srv, o)
	var refused *sshexec.AuthError
	if !errors.As(err, &refused) || refused.User != "root" || !strings.Contains(err.Error(), ssh.FingerprintSHA256(otherPublic)) {
		t.Errorf("wrong key: %v", err)
	}

	for name, change := range map[string]func(*sshexec.Options){
		"no key":              func(o *sshexec.Options) { o.PrivateKey = "nonsense" },
		"missing file":        func(o *sshexec.Options) { o.PrivateKeyFile = file + "x" },
		"two keys":            func(o *sshexec.Options) { o.PrivateKey, o.PrivateKeyFile = srv.Key, file },
		"policy":              func(o *sshexec.Options) { o.PrivateKey, o.HostKeyPolicy = srv.Key, "maybe" },
		"pin":                 func(o *sshexec.Options) { o.PrivateKey, o.HostKey = srv.Key, "SHA256:abc" },
		"no certificate":      func(o *sshexec.Options) { o.PrivateKey, o.Certificate = srv.Key, srv.HostKey },
		"known_hosts missing": func(o *sshexec.Options) { o.PrivateKey, o.KnownHosts = srv.Key, file+"x" },
		"config missing":      func(o *sshexec.Options) { o.PrivateKey, o.Config = srv.Key, file+"x" },
		"sudo password":       func(o *sshexec.Options) { o.PrivateKey, o.SudoPassword = srv.Key, "a\nb" },
		"bastion":             func(o *sshexec.Options) { o.PrivateKey, o.Bastion = srv.Key, &sshexec.Bastion{} },
	} {
		o := base
		o.BootTimeout = time.Minute // which must not matter
		change(&o)
		_, err := run(t, srv, o)
		var config *sshexec.ConfigError
		if !errors.As(err, &config) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOptionsThatFailAreAConfigErrorAndAskedAgain(t *testing.T) {
	t.Parallel()
	srv := sshtest.Start(t)
	bad := errors.New("not known yet")
	p := sshexec.NewPool(func(string) (sshexec.Options, error) { return optionsFor(srv), bad }, nil)
	t.Cleanup(func() { _ = p.Close() })
	c := p.Client(srv.Addr)
	_, err := c.Run(timeout(t), steps("true"))
	var config *sshexec.ConfigError
	if !errors.As(err, &config) || !errors.Is(err, bad) {
		t.Errorf("error: %v", err)
	}
	bad = nil
	mustRun(t, c, steps("true"))
}

func TestSpellingsOfOneServerShareAConnection(t *testing.T) {
	t.Parallel()
	srv := sshtest.Start(t)
	p := newPool(t, optionsFor(srv), nil)
	mustRun(t, p.Client(srv.Addr), steps("true"))
	mustRun(t, p.Client("root@"+srv.Addr), steps("true"))
	if srv.Handshakes() != 1 {
		t.Errorf("%d handshakes", srv.Handshakes())
	}
	mustRun(t, p.Client("other@"+srv.Addr), steps("true"))
	if srv.Handshakes() != 2 {
		t.Errorf("%d handshakes with another user", srv.Handshakes())
	}
	if again := p.Client(srv.Addr); p.Client(srv.Addr) != again || p.Client("other@"+srv.Addr).User() != "other" {
		t.Error("clients")
	}
}

func TestSSHConfig(t *testing.T) {
	t.Parallel()
	srv, jump := sshtest.Start(t), sshtest.Start(t)
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	split := func(addr string) (host, port string) { host, port, _ = strings.Cut(addr, ":"); return }
	host, port := split(srv.Addr)
	jumpHost, jumpPort := split(jump.Addr)
	known := write("known", srv.KnownHosts+jump.KnownHosts)
	config := write("config", fmt.Sprintf(`
Host web
  HostName %s
  Port %s
  User deploy
  IdentityFile %s
  ProxyJump hop
Host hop
  HostName %s
  Port %s
  IdentityFile %s
Host *
  UserKnownHostsFile %s
  IdentityFile %s/missing
`, host, port, write("id", srv.Key), jumpHost, jumpPort, write("jump", jump.Key), known, dir))
	p := newPool(t, sshexec.Options{Config: config}, nil)
	c := p.Client("web")
	mustRun(t, c, steps("true"))
	if c.User() != "deploy" || jump.Handshakes() != 1 || jump.Forwards() != 1 || srv.Handshakes() != 1 {
		t.Errorf("user %q, jump %d/%d, server %d", c.User(), jump.Handshakes(), jump.Forwards(), srv.Handshakes())
	}
	if got := p.Client("root@web").User(); got != "root" {
		t.Errorf("user of the destination: %q", got)
	}

	loop := write("loop", "Host a\n ProxyJump b\nHost b\n ProxyJump a\n")
	_, err := newPool(t, sshexec.Options{Config: loop}, nil).Client("a").Run(timeout(t), steps("true"))
	var wrong *sshexec.ConfigError
	if !errors.As(err, &wrong) {
		t.Errorf("circular ProxyJump: %v", err)
	}
}

// A recorder keeps log lines.
type recorder struct {
	mu    sync.Mutex
	lines []string
}

func (r *recorder) Debug(_ context.Context, msg string, fields map[string]any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, fmt.Sprintf("%s %v", msg, fields))
}

func TestEachHandshakeAndCallIsLoggedWithoutSecrets(t *testing.T) {
	t.Parallel()
	srv := sshtest.Start(t)
	log := &recorder{}
	c := newPool(t, optionsFor(srv), log).Client(srv.Addr)
	call := steps(`echo "$TOKEN"; echo "token is $TOKEN" >&2; exit 3`)
	call.Title = "use s3cr3t-value"
	call.Steps[0].Title = "with s3cr3t-value"
	call.Steps = append([]sshexec.Step{{Title: "ok", Script: "true s3cr3t-value"}}, call.Steps...)
	call.Vars = []sshexec.Var{{Name: "TOKEN", Value: "s3cr3t-value", Secret: true}}
	r := mustRun(t, c, call)
	if r.Out(1) != "s3cr3t-value" {
		t.Errorf("stdout is for the caller, exact: %q", r.Out(1))
	}
	_, err := c.Run(timeout(t), sshexec.Call{Title: "die of s3cr3t-value", Steps: []sshexec.Step{{Title: "kill s3cr3t-value", Script: "kill -9 $$"}}})
	if err == nil {
		t.Error("no error")
	}
	shown := strings.Join(log.lines, "\n") + r.Err().Error() + err.Error() + r.Call + r.Steps[0].Script + string(r.Steps[1].Stderr) + r.Steps[1].Title
	if strings.Contains(shown, "s3cr3t") || !strings.Contains(shown, "token is [redacted]") {
		t.Errorf("shown: %s", shown)
	}
	count := map[string]int{}
	for _, l := range log.lines {
		what, _, _ := strings.Cut(l, " map")
		count[what]++
	}
	if len(log.lines) != 3 || count["ssh handshake"] != 1 || count["remote call"] != 2 || !strings.Contains(log.lines[1], "exit_codes:[0 3]") {
		t.Errorf("log:\n%s", strings.Join(log.lines, "\n"))
	}
}
