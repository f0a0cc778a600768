package testbed

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Server is one machine of the bed.
type Server struct {
	Name     string
	Kind     Kind
	Address  string // IPv4; sshd is on port 22
	Address6 string // IPv6; "" if this machine has none
	HostKey  string // "ssh-ed25519 AAAA…"

	bed       *Bed
	container string
	image     string
	state     string // as Docker calls it
	owner     int    // process id, 0 if it is everybody's

	mu     sync.Mutex
	in     *inside // nil before it is first needed
	pooled bool    // Warm lends it
}

// User is the account beside root: sudo without password, not in group docker.
const User = "deploy"

// readyTimeout bounds a boot; it takes two seconds on an idle machine.
const readyTimeout = 2 * time.Minute

// Server starts a server for this test alone and removes it afterwards.
func (b *Bed) Server(t testing.TB, kind Kind) *Server {
	t.Helper()
	suffix := make([]byte, 4)
	rand.Read(suffix)
	if err := ensureMachines(t.Context(), t.Logf, kind.machine()); err != nil {
		t.Fatal(err)
	}
	s, err := b.start(t.Context(), string(kind)+"-"+hex.EncodeToString(suffix), kind, os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() && os.Getenv("TESTBED_KEEP") != "" {
			t.Logf("server kept, because the test failed: %s (docker exec -it %s bash)", s.Name, b.object(s.Name))
			return
		}
		if err := b.Remove(context.Background(), s.Name); err != nil {
			t.Error(err)
		}
	})
	return s
}

// Start starts a server that stays until Remove or Down.
func (b *Bed) Start(ctx context.Context, name string, kind Kind) (*Server, error) {
	if !validName.MatchString(name) {
		return nil, fmt.Errorf("server name %q: want %s", name, validName)
	}
	if !kind.valid() {
		return nil, fmt.Errorf("server kind %q: want one of %q", kind, Kinds())
	}
	return b.start(ctx, name, kind, 0)
}

func (b *Bed) start(ctx context.Context, name string, kind Kind, owner int, labels ...string) (*Server, error) {
	if err := b.ensureMachine(ctx, kind); err != nil {
		return nil, err
	}
	unlock, err := b.lock(ctx)
	if err != nil {
		return nil, err
	}
	s, err := b.create(ctx, name, kind, owner, labels...)
	unlock()
	if err != nil {
		return nil, err
	}
	if _, err = docker(ctx, "start", s.container); err == nil {
		err = s.waitReady(ctx)
	}
	if err == nil {
		err = b.refreshKnownHosts(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, b.Remove(context.WithoutCancel(ctx), name))
	}
	return s, nil
}

// Remove removes a server with everything on it.
func (b *Bed) Remove(ctx context.Context, name string) error {
	unlock, err := b.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	servers, err := b.servers(ctx)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(servers, func(s *Server) bool { return s.Name == name }) {
		return fmt.Errorf("testbed %s has no server %q", b.Name, name)
	}
	if err := b.remove(ctx, name); err != nil {
		return err
	}
	return b.writeKnownHosts(ctx)
}

func (b *Bed) remove(ctx context.Context, name string) error {
	if _, err := docker(ctx, "rm", "--force", "--volumes", b.object(name)); err != nil {
		return err
	}
	if err := b.forgetPooled(name); err != nil {
		return err
	}
	err := os.Remove((&Server{Name: name, bed: b}).hostKeyFile())
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// Shared returns a standing server: "web-1" (Debian 12), "web-2" (Debian 13) or
// "bare" (Debian 13 without Docker). Other tests may be using it too.
func (b *Bed) Shared(name string) *Server {
	servers, err := b.servers(context.Background())
	if err != nil {
		panic(fmt.Sprintf("testbed %s: %v", b.Name, err))
	}
	for _, s := range servers {
		if s.Name == name {
			return s
		}
	}
	panic(fmt.Sprintf("testbed %s has no server %q", b.Name, name))
}

// capabilities are what systemd and a Docker daemon need. --privileged would be
// shorter, but fails where root itself lacks CAP_SYS_RESOURCE.
var capabilities = []string{"SYS_ADMIN", "NET_ADMIN", "SYS_PTRACE", "NET_RAW", "MKNOD", "SYSLOG",
	"IPC_LOCK", "SYS_NICE", "DAC_READ_SEARCH"}

// create makes the container without starting it; its image is there. The caller
// holds the lock.
func (b *Bed) create(ctx context.Context, name string, kind Kind, owner int, labels ...string) (*Server, error) {
	image, err := machineImage(ctx, kind.machine())
	if err != nil {
		return nil, err
	}
	others, err := b.servers(ctx)
	if err != nil {
		return nil, err
	}
	address, err := b.nextAddress(others)
	if err != nil {
		return nil, err
	}
	s := &Server{Name: name, Kind: kind, Address: address, Address6: b.address6(address),
		bed: b, owner: owner, image: image}
	args := []string{"create", "--name", b.object(name), "--hostname", name,
		"--network", "testbed." + b.Name, "--ip", address,
		"--label", labelBed + "=" + b.Name, "--label", labelServer + "=" + name,
		"--label", labelKind + "=" + string(kind), "--label", labelAddress + "=" + address,
		"--stop-signal", "SIGRTMIN+3", // systemd: halt
		"--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined",
		"--security-opt", "systempaths=unconfined",
		// Own cgroups: inner containers end, freeze and are counted with their server.
		"--cgroupns", "private", "--tmpfs", "/run", "--tmpfs", "/run/lock",
		// A real file system below, or the inner overlay2 would have to lie on another
		// overlay. Docker's new image store is containerd's.
		"--volume", "/var/lib/docker", "--volume", "/var/lib/containerd",
	}
	for _, label := range labels {
		args = append(args, "--label", label)
	}
	for _, capability := range capabilities {
		args = append(args, "--cap-add", capability)
	}
	if s.Address6 != "" {
		args = append(args, "--ip6", s.Address6)
	}
	if owner != 0 {
		args = append(args, "--label", labelOwner+"="+strconv.Itoa(owner))
	}
	if conf := resolvConf(); conf != "" {
		file := filepath.Join(b.Dir, "resolv.conf")
		if err := writeFile(file, []byte(conf), 0o644); err != nil {
			return nil, err
		}
		args = append(args, "--volume", file+":/etc/resolv.conf:ro")
	}
	if s.container, err = docker(ctx, append(args, s.image)...); err != nil {
		return nil, err
	}
	if err := b.copyFiles(ctx, s); err != nil {
		return nil, errors.Join(err, b.remove(context.WithoutCancel(ctx), name))
	}
	return s, nil
}

// copyFiles puts the bed's key and the registry's certificate on a new server.
func (b *Bed) copyFiles(ctx context.Context, s *Server) error {
	key, err := os.ReadFile(b.KeyFile + ".pub")
	if err != nil {
		return err
	}
	ca, err := os.ReadFile(b.Registry.CAFile)
	if err != nil {
		return err
	}
	deploy := 1000 // the first user that useradd makes
	files := []file{
		{name: "root/.ssh/authorized_keys", content: key, mode: 0o600},
		{name: "home/deploy/.ssh/authorized_keys", content: key, mode: 0o600, owner: deploy},
		// Docker reads certs.d itself: no daemon.json is needed.
		{name: "etc/docker/certs.d/" + b.Registry.Address + "/ca.crt", content: ca, mode: 0o644},
	}
	if daemon := s.Kind.daemonJSON(); daemon != "" {
		files = append(files, file{name: "etc/docker/daemon.json", content: []byte(daemon), mode: 0o644})
	}
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for _, f := range files {
		header := &tar.Header{Name: f.name, Size: int64(len(f.content)), Mode: f.mode, Uid: f.owner, Gid: f.owner}
		if err := w.WriteHeader(header); err != nil {
			return err
		}
		if _, err := w.Write(f.content); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	_, err = run(ctx, &archive, "docker", "cp", "-", s.container+":/")
	return err
}

// readyScript waits for the end of the boot: sshd listens and, where there is
// one, the Docker daemon answers. It prints the host key.
const readyScript = `
until state=$(systemctl is-system-running --wait 2>/dev/null); [ "$state" = running ] || [ "$state" = degraded ]; do sleep 0.1; done
if command -v dockerd >/dev/null && systemctl -q is-enabled docker.service 2>/dev/null; then
  until docker version >/dev/null 2>&1; do sleep 0.1; done
fi
cut -d ' ' -f 1,2 /etc/ssh/ssh_host_ed25519_key.pub`

func (s *Server) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, readyTimeout, fmt.Errorf("server %s did not boot within %s", s.Name, readyTimeout))
	defer cancel()
	key, err := s.Run(ctx, readyScript)
	if err != nil {
		return fmt.Errorf("boot of server %s: %w", s.Name, err)
	}
	s.HostKey = key
	return writeFile(s.hostKeyFile(), []byte(key), 0o600)
}

// ownerIsDead says whether the process that the server belongs to has ended.
func (s *Server) ownerIsDead() bool {
	return s.owner != 0 && errors.Is(syscall.Kill(s.owner, 0), syscall.ESRCH)
}
