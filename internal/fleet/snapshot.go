package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/docker/go-units"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/kamal"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

// A Snapshot is what is on a server, as one remote call saw it. It is shared:
// nobody changes it.
type Snapshot struct {
	Server string
	// At is when the answer came, by our clock.
	At    time.Time
	Facts Facts
	// Docker says whether docker is there and runs.
	Docker Docker
	// Containers and Images are all of them, also those that aren't ours.
	// Both are empty while docker doesn't run: look at Docker first.
	Containers []docker.Container
	Images     []docker.Image
	// Network says that the network "kamal" exists.
	Network bool
	Proxy   Proxy
	Marks   []kamal.Mark
	// Locks are the deploy locks that runs of the provider hold or left.
	Locks []kamal.LockHolder
	// EnvNames are the names of the variables in Kamal's env files, which hold
	// secrets, by path relative to the SSH user's home.
	EnvNames map[string][]string
	// MountedFiles are by their path on the server, without secret ones.
	MountedFiles map[string]MountedFile
	// SecretFiles are the contents of the files of secret.Mounts, by path
	// relative to the SSH user's home.
	SecretFiles map[string]string
	// Certificates are the contents (PEM, public) of the certificate files under
	// kamal.ProxyAppsConfigDir, by path relative to the SSH user's home.
	Certificates map[string]string
	// Firewall is what there is of the packet filter and of kamal_firewall, as
	// firewallScript printed it: package firewall parses it.
	Firewall string
}

// Docker says what there is of docker on a server.
type Docker struct {
	// Installed: there is a docker command. Running: its daemon answers.
	Installed, Running bool
	// Version is the daemon's, "20.10.24+dfsg1"; "" where it doesn't run.
	Version string
	// Arch is the daemon's architecture in Go's words: amd64, arm64.
	Arch string
	// LoggingDriver is the daemon's default log driver.
	LoggingDriver string
	// Failure is what docker said when the daemon didn't answer.
	Failure string
	// Enabled: systemd starts it at boot. DaemonJSON is the content of
	// /etc/docker/daemon.json, "" where there is none.
	Enabled    bool
	DaemonJSON string
	// Unit is systemd's LoadState of docker.service: loaded, masked,
	// not-found; "" where there is no systemd.
	Unit string
	// Command is dockerd's command line, as it runs or as its unit would start it.
	Command []string
	// Elsewhere is the daemon that the SSH user's own docker goes to, and in
	// brackets what says so; "" where it goes to the server's, as we do.
	Elsewhere string
	// Swarm: the daemon is in swarm mode.
	Swarm bool
}

// A MountedFile is a file below the SSH user's home that a container mounts.
type MountedFile struct {
	// Sum is the SHA-256 of its content in hex, Mode its mode in octal.
	Sum, Mode string
}

// Proxy says what there is of kamal-proxy on a server.
type Proxy struct {
	// Container is kamal-proxy's, nil where there is none.
	Container *docker.Container
	// State is the proxy's state file: a JSON array, also "[]" and "null" for
	// no service; "" where there is no container.
	State string
	// Sum is the SHA-256 of State in hex. Scripts compare it before they
	// change a route, so that nobody's change in between is overwritten.
	Sum string
}

// Facts are what is known of a machine. Sizes are in bytes.
type Facts struct {
	// MachineID is the machine's identity, whatever it is called.
	MachineID string
	OS        string // os-release's ID: debian, ubuntu …
	OSVersion string // os-release's VERSION_ID
	OSName    string // os-release's PRETTY_NAME
	Kernel    string
	Machine   string // uname -m
	Arch      string // in Go's words: amd64, arm64 …
	CPUs      int64
	Memory    int64
	Available int64
	Swap      int64
	SwapFree  int64
	DiskFree  int64 // where docker keeps its data; the least, if that is on several disks
	BootID    string
	Home      string // the SSH user's
	User      string // the SSH user
	Systemd   bool   // systemd is the machine's init
	// Clock is the server's time when it was asked.
	Clock time.Time
	// Swaps are what the kernel swaps to, by file.
	Swaps []Swap
}

// A Swap is a file or a partition that the kernel swaps to. Size is that of the
// file in bytes. AtBoot: /etc/fstab has it.
type Swap struct {
	File   string
	Size   int64
	AtBoot bool
}

// Defaults are what the daemon gives to every container, as daemon.json says.
func (s *Snapshot) Defaults() docker.Defaults {
	var daemon struct {
		LogOpts map[string]json.RawMessage `json:"log-opts"`
		Ulimits map[string]json.RawMessage `json:"default-ulimits"`
		ShmSize string                     `json:"default-shm-size"`
		Runtime string                     `json:"default-runtime"`
	}
	// A daemon.json that doesn't parse is kamal_server's to tell; docker runs with the one it read before.
	_ = json.Unmarshal([]byte(s.Docker.DaemonJSON), &daemon)
	d := docker.Defaults{LogOptions: slices.Sorted(maps.Keys(daemon.LogOpts)), Ulimits: slices.Sorted(maps.Keys(daemon.Ulimits)), Runtime: daemon.Runtime}
	if n, err := units.RAMInBytes(daemon.ShmSize); err == nil {
		d.ShmSize = n
	}
	return d
}

// Image finds an image by id ("sha256:…"), nil if it isn't there.
func (s *Snapshot) Image(id string) *docker.Image {
	for i := range s.Images {
		if s.Images[i].ID == id {
			return &s.Images[i]
		}
	}
	return nil
}

// Container finds a container by its id or its name, nil if it isn't there.
func (s *Snapshot) Container(idOrName string) *docker.Container {
	for i := range s.Containers {
		if c := &s.Containers[i]; c.ID == idOrName || c.ShortID() == idOrName || c.ContainerName() == idOrName {
			return c
		}
	}
	return nil
}

// Mark finds a mark, nil if it isn't there.
func (s *Snapshot) Mark(kind, name string) *kamal.Mark {
	for i := range s.Marks {
		if s.Marks[i].Kind == kind && s.Marks[i].Name == name {
			return &s.Marks[i]
		}
	}
	return nil
}

// taking is a snapshot under way, for those who wait for it.
type taking struct {
	done chan struct{}
	err  error
}

// Snapshot returns what is on the server. All who ask between two changes get
// the same one, from one remote call. All who wait for a call that fails get
// its error, or each of many resources would wait anew for a server that does
// not answer.
func (s *Server) Snapshot(ctx context.Context) (*Snapshot, error) {
	for {
		s.mu.Lock()
		if snap := s.snapshot; snap != nil {
			s.mu.Unlock()
			return snap, nil
		}
		if t := s.taking; t != nil {
			s.mu.Unlock()
			select {
			case <-t.done:
				if t.err != nil {
					return nil, t.err
				}
				continue // the snapshot, unless something has changed since
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		}
		t := &taking{done: make(chan struct{})}
		s.taking = t
		s.mu.Unlock()

		_, snap, err := s.Observe(ctx, sshexec.Call{Title: "look at the server"})
		if ctx.Err() == nil {
			t.err = err // else it was this caller's end, not the server's fault
		}

		s.mu.Lock()
		s.taking = nil
		s.mu.Unlock()
		close(t.done)
		return snap, err
	}
}

// Seen is the snapshot that Snapshot would return without asking the server,
// nil where it would have to ask.
func (s *Server) Seen() *Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.snapshot
}

// Observe looks at the server now, after the steps of call, in the same remote
// call. A failed step of call ends it: then there is no snapshot, and the
// Result tells what happened. The Result holds the steps of call only.
//
// An error is one of the transport's, or says that an answer made no sense.
func (s *Server) Observe(ctx context.Context, call sshexec.Call) (*sshexec.Result, *Snapshot, error) {
	n := len(call.Steps)
	if n > 0 {
		s.Changed()
		defer s.Changed()
	}
	s.mu.Lock()
	generation := s.generation
	s.mu.Unlock()

	call.Prelude = kamal.RunPrelude + StatePrelude + FirewallPrelude + call.Prelude
	call.Steps = append(append([]sshexec.Step(nil), call.Steps...), observeSteps()...)
	res, err := s.send(ctx, call)
	if err != nil {
		return nil, nil, err
	}
	steps := res.Steps[n:]
	res.Steps = res.Steps[:n]
	if !steps[0].Ran {
		return res, nil, nil
	}
	snap, err := parseSnapshot(s.Name, steps)
	if err != nil {
		return res, nil, fmt.Errorf("what %s answered makes no sense: %w", s.Name, err)
	}
	snap.At = time.Now()
	s.mu.Lock()
	if n == 0 && s.generation == generation {
		s.snapshot = snap
	}
	s.mu.Unlock()
	return res, snap, nil
}
