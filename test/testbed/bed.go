// Package testbed runs real servers on one machine: containers with systemd as
// PID 1, sshd and a Docker daemon of their own, and a registry with log-in that
// holds kamal-proxy, small apps, Postgres and Redis. It serves tests (Open) and people
// (cmd/testbed). It needs root on Debian 12 or 13; prepare.sh installs the rest.
package testbed

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// Options chooses a bed.
type Options struct {
	Name string               // default: the environment's TESTBED, else "kamal"
	Logf func(string, ...any) // progress; default: none
}

// Bed is a set of servers and a registry on a network of their own. Beds of
// different names don't see each other.
type Bed struct {
	Name           string
	Dir            string // files of the bed, readable by their owner only
	KeyFile        string // private key that root and deploy accept on every server
	KnownHostsFile string // the host keys of all servers that exist now
	Registry       Registry

	subnet  netip.Prefix // of the bed's Docker network
	subnet6 netip.Prefix // invalid if this machine has no IPv6
	logf    func(string, ...any)
}

// standing are the servers that `up` starts and that stay until `down`.
var standing = []struct {
	name string
	kind Kind
}{{"web-1", Debian12}, {"web-2", Debian13}, {"bare", Debian13Bare}}

var validName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,30}$`)

// Docker labels by which the bed finds what is its own.
const (
	labelBed     = "kamal-testbed"         // name of the bed
	labelServer  = "kamal-testbed.server"  // name of the server
	labelKind    = "kamal-testbed.kind"    // its Kind
	labelAddress = "kamal-testbed.address" // its address, for life
	labelOwner   = "kamal-testbed.owner"   // process that may use it; without: all may
	labelPool    = "kamal-testbed.pool"    // it is lent to one test after another
)

func cacheDir() string {
	dir, err := os.UserCacheDir()
	if err != nil {
		dir = os.TempDir()
	}
	return filepath.Join(dir, "terraform-provider-kamal", "testbed")
}

func newBed(options Options) (*Bed, error) {
	b := &Bed{Name: options.Name, logf: options.Logf}
	if b.Name == "" {
		b.Name = os.Getenv("TESTBED")
	}
	if b.Name == "" {
		b.Name = "kamal"
	}
	if !validName.MatchString(b.Name) {
		return nil, fmt.Errorf("testbed name %q: want %s", b.Name, validName)
	}
	if b.logf == nil {
		b.logf = func(string, ...any) {}
	}
	b.Dir = filepath.Join(cacheDir(), b.Name)
	b.KeyFile = filepath.Join(b.Dir, "key")
	b.KnownHostsFile = filepath.Join(b.Dir, "known_hosts")
	return b, nil
}

// object is the Docker name of something of this bed. Names of beds and servers
// have no dot, so that no two beds can mean the same object.
func (b *Bed) object(name string) string { return "testbed." + b.Name + "." + name }

func (b *Bed) lock(ctx context.Context) (func(), error) {
	return lock(ctx, b.lockFile())
}

// lockFile is beside the bed's directory, which comes and goes.
func (b *Bed) lockFile() string { return filepath.Join(cacheDir(), b.Name+".lock") }

// Open is Up for a test; it fails the test if the bed can't come up.
func Open(t testing.TB) *Bed {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	b, err := Up(ctx, Options{Logf: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Up brings the bed up: what is missing is built and started, what runs is left
// alone. The first time on a machine takes some minutes, then seconds.
func Up(ctx context.Context, options Options) (*Bed, error) {
	b, err := newBed(options)
	if err != nil {
		return nil, err
	}
	if err := prepare(ctx); err != nil {
		return nil, err
	}
	// What Up itself starts; a server of another kind has its image made when it is first asked for.
	machines := []string{registryMachine, servicesMachine}
	for _, s := range standing {
		machines = append(machines, s.kind.machine())
	}
	if err := ensureMachines(ctx, b.logf, machines...); err != nil {
		return nil, err
	}
	unlock, err := b.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := b.ensureKey(); err != nil {
		return nil, err
	}
	if err := b.ensureNetwork(ctx); err != nil {
		return nil, err
	}
	if err := b.ensureRegistry(ctx); err != nil {
		return nil, fmt.Errorf("registry: %w", err)
	}
	if err := b.ensureStanding(ctx); err != nil {
		return nil, err
	}
	return b, nil
}

// prepare runs prepare.sh, which is quick when nothing is missing.
func prepare(ctx context.Context) error {
	root, err := moduleRoot(ctx)
	if err != nil {
		return err
	}
	_, err = run(ctx, nil, filepath.Join(root, "test", "testbed", "prepare.sh"))
	return err
}

// moduleRoot is the directory of the provider's go.mod.
func moduleRoot(ctx context.Context) (string, error) {
	file, err := run(ctx, nil, "go", "env", "GOMOD")
	if err != nil {
		return "", err
	}
	root := filepath.Dir(file)
	if _, err := os.Stat(filepath.Join(root, "test", "testbed", "prepare.sh")); err != nil {
		return "", fmt.Errorf("run this inside the provider's module: %w", err)
	}
	return root, nil
}

// ensureStanding starts the standing servers, and removes the servers of tests
// that died before they could.
func (b *Bed) ensureStanding(ctx context.Context) error {
	servers, err := b.servers(ctx)
	if err != nil {
		return err
	}
	byName := map[string]*Server{}
	for _, s := range servers {
		if s.ownerIsDead() {
			b.logf("removing %s, left over by a test that was killed", s.Name)
			if err := b.remove(ctx, s.Name); err != nil {
				return err
			}
			continue
		}
		byName[s.Name] = s
	}

	var starting []*Server
	for _, want := range standing {
		s := byName[want.name]
		image, err := machineImage(ctx, want.kind.machine())
		if err != nil {
			return err
		}
		switch {
		case s != nil && s.image != image:
			b.logf("%s was made by another recipe: making it anew", want.name)
			if err := b.remove(ctx, want.name); err != nil {
				return err
			}
			s = nil
		case s != nil && s.state == "running" && s.HostKey != "":
			continue
		case s != nil && s.state == "paused":
			if _, err := docker(ctx, "unpause", s.container); err != nil {
				return err
			}
		}
		if s == nil {
			if s, err = b.create(ctx, want.name, want.kind, 0); err != nil {
				return err
			}
		}
		if _, err := docker(ctx, "start", s.container); err != nil {
			return err
		}
		starting = append(starting, s)
	}

	failures := make(chan error, len(starting))
	for _, s := range starting {
		go func() { failures <- s.waitReady(ctx) }()
	}
	for range starting {
		err = errors.Join(err, <-failures)
	}
	if err != nil {
		return err
	}
	return b.writeKnownHosts(ctx)
}

// Down removes the bed's containers, volumes, network and files. Images stay
// cached for the next one.
func Down(ctx context.Context, options Options) error {
	b, err := newBed(options)
	if err != nil {
		return err
	}
	unlock, err := b.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	containers, err := docker(ctx, "ps", "--all", "--quiet", "--filter", "label="+labelBed+"="+b.Name)
	if err != nil {
		return err
	}
	if ids := lines(containers); len(ids) > 0 {
		if _, err := docker(ctx, append([]string{"rm", "--force", "--volumes"}, ids...)...); err != nil {
			return err
		}
	}
	networks, err := docker(ctx, "network", "ls", "--quiet", "--filter", "label="+labelBed+"="+b.Name)
	if err != nil {
		return err
	}
	if ids := lines(networks); len(ids) > 0 {
		if _, err := docker(ctx, append([]string{"network", "rm"}, ids...)...); err != nil {
			return err
		}
	}
	return errors.Join(os.RemoveAll(b.Dir), os.Remove(b.lockFile()))
}

// RemoveImages removes the cached images that no bed uses any more.
func RemoveImages(ctx context.Context) error {
	unlock, err := lock(ctx, buildLock())
	if err != nil {
		return err
	}
	defer unlock()
	images, err := docker(ctx, "image", "ls", "--format", "{{.Repository}}:{{.Tag}}", "--filter", "reference="+imagePrefix+"*")
	if err != nil {
		return err
	}
	used, err := docker(ctx, "ps", "--all", "--format", "{{.Image}}", "--filter", "label="+labelBed)
	if err != nil {
		return err
	}
	for _, image := range lines(images) {
		if strings.Contains("\n"+used+"\n", "\n"+image+"\n") {
			continue
		}
		if _, err := docker(ctx, "image", "rm", image); err != nil {
			return err
		}
	}
	return nil
}
