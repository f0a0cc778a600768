package testbed

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"
)

// resetTimeout bounds a reset; what takes longer hangs, and the server is thrown away.
const resetTimeout = 90 * time.Second

// resetRounds is how often a reset mends: what the first round starts again may
// show what the second has to remove.
const resetRounds = 3

// reset makes a server what it was when it was fresh, whatever a test did to it,
// and returns what still differs. It removes what a fresh server hasn't and puts
// back what it had, so that no list of things tests do has to be kept.
func (s *Server) reset(ctx context.Context, fresh *footprint, logf func(string, ...any)) ([]difference, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, resetTimeout, fmt.Errorf("the reset of %s hangs", s.Name))
	defer cancel()
	in, err := s.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer in.leave()
	for round := 0; ; round++ {
		now, err := in.look(ctx)
		if err != nil {
			return nil, err
		}
		m := &mending{inside: in, fresh: fresh, rest: now.differences(fresh), first: round == 0}
		for _, path := range now.touched(fresh) {
			if round == 0 {
				m.touched = append(m.touched, path)
			}
			if strings.HasPrefix(fresh.values["file "+path], "f ") && strings.HasPrefix(now.values["file "+path], "f ") {
				m.doubtful = append(m.doubtful, path)
			}
		}
		if round > 0 && len(m.rest) == 0 && len(m.doubtful) == 0 {
			fresh.stamps = now.stamps
			return nil, in.keepHostKey(ctx)
		}
		if round == resetRounds {
			for _, path := range m.doubtful {
				m.rest = append(m.rest, difference{"file " + path, "as it was", "written to again and again"})
			}
			return m.rest, nil
		}
		if err := m.mend(ctx); err != nil {
			logf("reset of %s: %v", s.Name, err)
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
}

// mending is one round of a reset.
type mending struct {
	*inside
	fresh    *footprint
	rest     []difference
	touched  []string // files that something was done to before the reset
	doubtful []string // those of them that may have another content and don't show it
	first    bool
}

// of are the differences of one kind, without its name.
func (m *mending) of(kind string) []difference {
	var some []difference
	for _, d := range m.rest {
		if name, ok := strings.CutPrefix(d.key, kind+" "); ok {
			some = append(some, difference{name, d.was, d.is})
		}
	}
	return some
}

// touches says whether something was done to a file below one of these directories.
func (m *mending) touches(dirs ...string) bool {
	below := func(path string) bool {
		return slices.ContainsFunc(dirs, func(dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") })
	}
	return slices.ContainsFunc(m.touched, below) ||
		slices.ContainsFunc(m.of("file"), func(d difference) bool { return below(d.key) })
}

// mend does all it can: what did not work shows in the next footprint.
func (m *mending) mend(ctx context.Context) error {
	return errors.Join(
		m.mendObjects(ctx),
		m.stopUnits(ctx),
		m.endProcesses(ctx),
		m.unmount(ctx),
		m.mendFiles(ctx),
		m.startUnits(ctx),
		m.mendNetwork(ctx),
	)
}

// stopUnits stops what a fresh server doesn't run. Killed first: a test's
// service may take its time to stop.
func (m *mending) stopUnits(ctx context.Context) error {
	var units []string
	for _, d := range m.of("unit") {
		if d.was == "" && d.is != "failed" {
			units = append(units, d.key)
		}
	}
	if len(units) == 0 {
		return nil
	}
	_, err := m.run(ctx, "", `systemctl kill --signal=KILL "$@"; systemctl stop "$@"`, units...)
	return err
}

// endProcesses kills what a fresh server doesn't run.
// What Docker's containers leave ends by itself, and had better.
func (m *mending) endProcesses(ctx context.Context) error {
	settled := time.Now().Add(time.Second)
	for {
		extra, err := m.extraProcesses(m.fresh)
		if err != nil {
			return err
		}
		ofDocker := slices.ContainsFunc(extra, func(p process) bool {
			return strings.Contains(p.key, "containerd-shim") || strings.Contains(p.key, "docker-proxy")
		})
		if !ofDocker || time.Now().After(settled) {
			for _, p := range extra {
				if err := m.signal(p, syscall.SIGKILL); err != nil {
					return err
				}
			}
			break
		}
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// unmount takes away mounts and swap files, or their files could not go.
func (m *mending) unmount(ctx context.Context) error {
	var errs []error
	if d := slices.IndexFunc(m.rest, func(d difference) bool { return d.key == "swap" }); d >= 0 {
		_, err := m.run(ctx, "", `swapoff "$@"`, lines(m.rest[d].is)...)
		errs = append(errs, err)
	}
	mounts := m.of("mount")
	slices.Reverse(mounts) // the inner ones first
	for _, d := range mounts {
		if strings.HasPrefix(d.key, "/var/lib/docker/") || strings.HasPrefix(d.key, "/run/docker/") {
			continue // gone with its container, unless that is still there
		}
		for range len(lines(d.is)) - len(lines(d.was)) {
			_, err := m.run(ctx, "", `umount --lazy "$1"`, d.key)
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// startUnits has systemd and its services take up the files that are back. sshd
// is started anew each time: it remembers who failed to log in.
func (m *mending) startUnits(ctx context.Context) error {
	script := "systemctl reset-failed\n"
	if m.touches("/etc/systemd", "/usr/lib/systemd", "/usr/local/lib/systemd", "/run/systemd/system", "/run/systemd/transient", "/run/systemd/system.control", "/etc/init.d") {
		script += "systemctl daemon-reload\n"
	}
	var units []string
	for _, d := range m.of("unit") {
		if d.was != "" {
			units = append(units, d.key)
		}
	}
	if m.first {
		script += "systemctl restart ssh.service\n"
	}
	if m.reconfigured() {
		// Docker takes its socket from systemd, which opens none for a service that runs.
		script += "systemctl stop docker.socket docker.service\nsystemctl start docker.socket docker.service\n"
	}
	script += `if [ $# -gt 0 ]; then systemctl start "$@"; fi` + "\n"
	if m.first {
		// A test that reads the journal means its own.
		script += "journalctl --quiet --rotate\njournalctl --quiet --vacuum-size=1\n"
	}
	_, err := m.run(ctx, "", script, units...)
	return err
}

// reconfigured says whether Docker has to be started anew to be as it was. What a
// test changed and put back itself counts too: Docker may not have heard of that.
func (m *mending) reconfigured() bool {
	if _, has := m.fresh.values["unit docker.service"]; !has {
		return false
	}
	says := slices.ContainsFunc(m.of("docker-info"), func(d difference) bool { return !strings.HasPrefix(d.key, "Containers") })
	lies := slices.ContainsFunc(m.of("mount"), func(d difference) bool {
		return d.key == "/var/lib/docker" || d.key == "/var/lib/containerd"
	})
	return says || lies || m.touches("/etc/docker", "/etc/default/docker", "/etc/systemd/system/docker.service",
		"/etc/systemd/system/docker.service.d", "/etc/systemd/system/docker.socket.d", "/etc/alternatives", "/usr/bin", "/usr/sbin")
}
