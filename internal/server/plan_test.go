package server

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
)

const settled = `{"log-opts":{"max-size":"10m","max-file":"3"},"live-restore":true}`

// ready is a server with nothing to do; change makes it another one.
func ready(change func(*fleet.Snapshot)) *fleet.Snapshot {
	s := &fleet.Snapshot{
		Facts: fleet.Facts{Systemd: true, OS: "debian", OSName: "Debian GNU/Linux 13 (trixie)"},
		Docker: fleet.Docker{
			Installed: true, Running: true, Enabled: true, Unit: "loaded", Version: "26.1.5+dfsg1", DaemonJSON: settled,
			Command: []string{"/usr/sbin/dockerd", "-H", "fd://"},
		},
		Network: true,
	}
	if change != nil {
		change(s)
	}
	return s
}

func bare(s *fleet.Snapshot) {
	s.Docker = fleet.Docker{Unit: "not-found"}
	s.Network = false
}

func runs(s *fleet.Snapshot) {
	s.Containers = []docker.Container{{InspectResponse: container.InspectResponse{Name: "/db", State: &container.State{Running: true}}}}
}

func TestPlanSteps(t *testing.T) {
	t.Parallel()
	const (
		root    = "check that we are root"
		wait    = "wait for the package manager"
		write   = "write /etc/docker/daemon.json"
		install = "install Docker from the distribution's packages"
		start   = "start Docker, now and at boot"
		network = "make the network kamal"
	)
	tests := []struct {
		name    string
		is      *fleet.Snapshot
		steps   []string
		warning string
	}{
		{name: "everything is there", is: ready(nil)},
		{name: "fresh server", is: ready(bare), steps: []string{root, wait, write, install, start, network}},
		{name: "a client without a daemon", is: ready(func(s *fleet.Snapshot) { bare(s); s.Docker.Installed = true }),
			steps: []string{root, wait, write, install, start, network}},
		{name: "stopped", is: ready(func(s *fleet.Snapshot) { s.Docker.Running, s.Network = false, true }), steps: []string{root, start}},
		{name: "not started at boot", is: ready(func(s *fleet.Snapshot) { s.Docker.Enabled = false }), steps: []string{root, start}},
		{name: "network gone", is: ready(func(s *fleet.Snapshot) { s.Network = false }), steps: []string{network}},
		{name: "other settings, no container runs", is: ready(func(s *fleet.Snapshot) { s.Docker.DaemonJSON = `{"dns":["10.0.0.2"]}` }),
			steps: []string{root, write, "restart Docker, where no container runs"}},
		{name: "other settings, a container runs", is: ready(func(s *fleet.Snapshot) { s.Docker.DaemonJSON = ""; runs(s) }),
			steps: []string{root, write, "reload Docker's configuration"}, warning: "only when it is restarted"},
		{name: "only live-restore differs", is: ready(func(s *fleet.Snapshot) { s.Docker.DaemonJSON = strings.Replace(settled, "true", "false", 1) }),
			steps: []string{root, write, "reload Docker's configuration"}},
		{name: "only log options differ, a container runs", is: ready(func(s *fleet.Snapshot) { s.Docker.DaemonJSON = `{"live-restore":true}`; runs(s) }),
			steps: []string{root, write}, warning: "only when it is restarted"},
		{name: "logs go elsewhere", is: ready(func(s *fleet.Snapshot) { s.Docker.DaemonJSON = `{"log-driver":"journald","live-restore":true}` }),
			warning: `Docker logs to "journald"`},
		{name: "stopped with other settings", is: ready(func(s *fleet.Snapshot) { s.Docker.Running, s.Docker.DaemonJSON = false, "" }), steps: []string{root, write, start}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p, err := NewPlan(Default, tt.is)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, s := range p.Steps {
				got = append(got, s.Title)
			}
			if !slices.Equal(got, tt.steps) {
				t.Errorf("steps %q\nwant  %q", got, tt.steps)
			}
			if w := strings.Join(p.Warnings, "\n"); !strings.Contains(w, tt.warning) || (tt.warning == "") != (w == "") {
				t.Errorf("warnings %q, want one with %q", w, tt.warning)
			}
			again, err := NewPlan(Default, tt.is)
			if err != nil || !slices.Equal(again.Steps, p.Steps) || again.DaemonJSON != p.DaemonJSON {
				t.Errorf("the same server gives another plan: %v", err)
			}
		})
	}
}

func TestPlanOfSwapAndScript(t *testing.T) {
	t.Parallel()
	swaps := func(size int64, boot bool) func(*fleet.Snapshot) {
		return func(s *fleet.Snapshot) {
			s.Facts.DiskFree = 100 << 30
			s.Facts.Swaps = []fleet.Swap{{File: "/other", Size: 1 << 30, AtBoot: true}, {File: "/swapfile", Size: size, AtBoot: boot}}
		}
	}
	wanted := Spec{Docker: Default.Docker, Swap: &Swap{File: "/swapfile", Size: 2 << 30}}
	gone := Spec{Docker: Default.Docker, NoSwap: "/swapfile"}
	moved := Spec{Docker: Default.Docker, Swap: &Swap{File: "/swap2", Size: 2 << 30}, NoSwap: "/swapfile"}
	script := Spec{Docker: Docker{Install: true, Script: "#!/bin/sh\nget docker\n", LogMaxSize: "10m", LogMaxFile: 3, LiveRestore: true}}
	const root, swapOn, swapOff = "check that we are root", "make the swap file /swapfile", "remove the swap file /swapfile"
	for name, tt := range map[string]struct {
		want  Spec
		is    *fleet.Snapshot
		steps []string
	}{
		"none":                {wanted, ready(func(s *fleet.Snapshot) { s.Facts.DiskFree = 100 << 30 }), []string{root, swapOn}},
		"as wanted":           {wanted, ready(swaps(2<<30, true)), nil},
		"another size":        {wanted, ready(swaps(1<<30, true)), []string{root, swapOn}},
		"not after a reboot":  {wanted, ready(swaps(2<<30, false)), []string{root, swapOn}},
		"nobody's business":   {Default, ready(swaps(2<<30, true)), nil},
		"shall go":            {gone, ready(swaps(2<<30, true)), []string{root, swapOff}},
		"is gone":             {gone, ready(nil), nil},
		"at another place":    {moved, ready(swaps(2<<30, true)), []string{root, "make the swap file /swap2", swapOff}},
		"Docker by a script":  {script, ready(func(s *fleet.Snapshot) { bare(s); s.Facts.OS = "fedora" }), []string{root, "wait for the package manager", "write /etc/docker/daemon.json", runScript, "start Docker, now and at boot", "make the network kamal"}},
		"Docker is there":     {script, ready(nil), nil},
		"a key needs restart": {Spec{Docker: Docker{LogMaxSize: "10m", LogMaxFile: 3, LiveRestore: true, Keys: map[string]json.RawMessage{"bip": json.RawMessage(`"10.9.0.1/24"`)}}}, ready(nil), []string{root, "write /etc/docker/daemon.json", "restart Docker, where no container runs"}},
		"a mirror does not":   {Spec{Docker: Docker{LogMaxSize: "10m", LogMaxFile: 3, LiveRestore: true, Mirrors: []string{"https://m"}}}, ready(nil), []string{root, "write /etc/docker/daemon.json", "reload Docker's configuration"}},
	} {
		p, err := NewPlan(tt.want, tt.is)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var got []string
		for _, s := range p.Steps {
			got = append(got, s.Title)
		}
		if !slices.Equal(got, tt.steps) || (p.Script != "") != slices.Contains(got, runScript) {
			t.Errorf("%s: steps %q, want %q; script %q", name, got, tt.steps, p.Script)
		}
	}
}

func TestPlanTurnsTheUserlandProxyOffOnlyWhereItInstallsDocker(t *testing.T) {
	t.Parallel()
	fresh, err := NewPlan(Default, ready(bare))
	if err != nil {
		t.Fatal(err)
	}
	used, err := NewPlan(Default, ready(func(s *fleet.Snapshot) { s.Docker.DaemonJSON = "" }))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(fresh.DaemonJSON, `"userland-proxy": false`) || strings.Contains(used.DaemonJSON, "userland-proxy") {
		t.Errorf("fresh server: %s\nserver in use: %s", fresh.DaemonJSON, used.DaemonJSON)
	}
}

func TestPreflightSaysWhatIsInTheWay(t *testing.T) {
	t.Parallel()
	without := Spec{Docker: Docker{LogMaxSize: "10m", LogMaxFile: 3}}
	tests := []struct {
		name string
		want Spec
		is   *fleet.Snapshot
		says string
	}{
		{"no systemd", Default, ready(func(s *fleet.Snapshot) { s.Facts.Systemd = false }), "systemd does not run there (Debian"},
		{"other system", Default, ready(func(s *fleet.Snapshot) { bare(s); s.Facts.OS, s.Facts.OSName = "fedora", "Fedora Linux 42" }), "Fedora Linux 42"},
		{"install = false", without, ready(bare), "docker.install is false"},
		{"too old", Default, ready(func(s *fleet.Snapshot) { s.Docker.Version = "19.03.15" }), "Docker 19.03.15 is too old"},
		{"masked", Default, ready(func(s *fleet.Snapshot) { s.Docker.Running, s.Docker.Unit = false, "masked" }), "masked"},
		{"a snap", Default, ready(func(s *fleet.Snapshot) { s.Docker.Unit = "not-found" }), "no docker.service"},
		{"swarm", Default, ready(func(s *fleet.Snapshot) { s.Docker.Swarm = true }), "swarm mode"},
		{"the clock is wrong", Default, ready(func(s *fleet.Snapshot) {
			s.Network, s.At, s.Facts.Clock = false, time.Unix(1764115200, 0), time.Unix(1764115200-3600, 0)
		}), "2025-11-25 23:00:00 and this machine's 2025-11-26 00:00:00: 1h0m0s apart"},
		{"the disk is full", Default, ready(func(s *fleet.Snapshot) { s.Network, s.Facts.DiskFree = false, 100<<20 }), "100 MiB are free where Docker keeps its data, and 512 MiB are needed"},
		{"no room for Docker", Default, ready(func(s *fleet.Snapshot) { bare(s); s.Facts.DiskFree = 900 << 20 }), "1024 MiB are needed"},
		{"no room for swap", Spec{Docker: Default.Docker, Swap: &Swap{File: "/swapfile", Size: 2 << 30}}, ready(func(s *fleet.Snapshot) { s.Facts.DiskFree = 2 << 30 }), "too little for a swap file of 2048 MiB"},
		{"swap to a partition", Spec{Docker: Default.Docker, Swap: &Swap{File: "/dev/sda2", Size: 2 << 30}},
			ready(func(s *fleet.Snapshot) {
				s.Facts.Swaps = []fleet.Swap{{File: "/dev/sda2", Size: 1 << 30, AtBoot: true}}
			}), "/dev/sda2 is a partition"},
		{"malformed file", Default, ready(func(s *fleet.Snapshot) { s.Docker.DaemonJSON = "{" }), "malformed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := NewPlan(tt.want, tt.is)
			var p *PreflightError
			if !errors.As(err, &p) || !strings.Contains(p.Why, tt.says) || p.Next == "" {
				t.Errorf("got %#v, want a PreflightError that says %q and what to do", err, tt.says)
			}
		})
	}
	for _, version := range []string{"20.10.24+dfsg1", "26.1.5", "100.0", "dev"} {
		if _, err := NewPlan(Default, ready(func(s *fleet.Snapshot) { s.Docker.Version = version })); err != nil {
			t.Errorf("Docker %s: %v", version, err)
		}
	}
}
