package testbed

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// basePackages is what every root file system has from debootstrap.
const basePackages = "openssh-server,iptables,iproute2,ca-certificates,procps,sudo,curl,systemd-sysv,dbus"

const imagePrefix = "kamal-testbed-"

// rootfsImage and machineImage name an image after the hash of all that went
// into it, so that a changed recipe makes another image.
func rootfsImage(suite string) string {
	return imagePrefix + "rootfs-" + suite + ":" + hash(suite, basePackages)
}

// machineImage builds the programs that go into the image, unless they are there.
func machineImage(ctx context.Context, name string) (string, error) {
	m := machines[name]
	parts := []string{rootfsImage(m.suite), m.recipe}
	parts = append(append(parts, m.packages...), m.units...)
	for _, t := range m.tools {
		program, err := tool(ctx, t, io.Discard)
		if err != nil {
			return "", err
		}
		parts = append(parts, filepath.Base(program))
	}
	return imagePrefix + name + ":" + hash(append(parts, m.changes...)...), nil
}

func hash(parts ...string) string {
	sum := sha256.New()
	for _, part := range parts {
		fmt.Fprintf(sum, "%d:%s", len(part), part)
	}
	return hex.EncodeToString(sum.Sum(nil))[:12]
}

// labelBuild marks the containers in which images are made. An image inherits
// its container's labels, and so do the servers made of it: theirs has another
// value, or the next build would remove them as leftovers.
const (
	labelBuild = "kamal-testbed.build=yes"
	labelBuilt = "kamal-testbed.build=done"
)

// buildDir is where root file systems are made; the name can't be a bed's.
func buildDir() string { return filepath.Join(cacheDir(), ".build") }

func buildLock() string { return filepath.Join(cacheDir(), ".build.lock") }

// ensureMachine makes the image of a kind of server, unless it is there. Who
// starts a server calls it first, without the bed's lock: it may take minutes,
// and says so through logf, once on a machine.
func (b *Bed) ensureMachine(ctx context.Context, kind Kind) error {
	return ensureMachines(ctx, b.logf, kind.machine())
}

// ensureMachines makes the images that are missing. Several callers may want the
// same ones at the same time, also from several processes: one builds.
func ensureMachines(ctx context.Context, logf func(string, ...any), names ...string) error {
	for _, name := range names {
		if err := buildTools(ctx, logf, machines[name].tools...); err != nil {
			return err
		}
	}
	missing, err := missingMachines(ctx, names)
	if err != nil || len(missing) == 0 {
		return err
	}
	unlock, err := lock(ctx, buildLock())
	if err != nil {
		return err
	}
	defer unlock()
	// Somebody else may have built them while we waited.
	if missing, err = missingMachines(ctx, names); err != nil || len(missing) == 0 {
		return err
	}
	return buildMachines(ctx, logf, missing)
}

// missingMachines are those that have no image: name -> image.
func missingMachines(ctx context.Context, names []string) (map[string]string, error) {
	present, err := presentImages(ctx)
	if err != nil {
		return nil, err
	}
	missing := map[string]string{}
	for _, name := range names {
		image, err := machineImage(ctx, name)
		if err != nil {
			return nil, err
		}
		if !present[image] {
			missing[name] = image
		}
	}
	return missing, nil
}

func presentImages(ctx context.Context) (map[string]bool, error) {
	have, err := docker(ctx, "image", "ls", "--format", "{{.Repository}}:{{.Tag}}", "--filter", "reference="+imagePrefix+"*")
	if err != nil {
		return nil, err
	}
	present := map[string]bool{}
	for _, name := range lines(have) {
		present[name] = true
	}
	return present, nil
}

// buildMachines builds images: name -> image. The caller holds the build lock.
func buildMachines(ctx context.Context, logf func(string, ...any), missing map[string]string) error {
	// The lock is ours: what is there was left over by a build that was killed.
	leftovers, err := docker(ctx, "ps", "--all", "--quiet", "--filter", "label="+labelBuild)
	if err != nil {
		return err
	}
	if ids := lines(leftovers); len(ids) > 0 {
		if _, err := docker(ctx, append([]string{"rm", "--force", "--volumes"}, ids...)...); err != nil {
			return err
		}
	}
	present, err := presentImages(ctx)
	if err != nil {
		return err
	}
	suites := map[string][]string{} // suite -> its missing machines
	for name := range missing {
		suites[machines[name].suite] = append(suites[machines[name].suite], name)
	}
	// The releases are built side by side: they wait for the network.
	failures := make(chan error, len(suites))
	for suite, names := range suites {
		go func() {
			if !present[rootfsImage(suite)] {
				logf("debootstrap %s: about a minute, once", suite)
				if err := buildRootfs(ctx, suite); err != nil {
					failures <- fmt.Errorf("root file system of %s: %w", suite, err)
					return
				}
			}
			for _, name := range names {
				start := time.Now()
				logf("building %s, once", missing[name])
				if err := buildMachine(ctx, name, missing[name]); err != nil {
					failures <- fmt.Errorf("image %s: %w", name, err)
					return
				}
				logf("%s took %s", missing[name], time.Since(start).Round(time.Second))
			}
			failures <- nil
		}()
	}
	for range suites {
		err = errors.Join(err, <-failures)
	}
	return err
}

func buildRootfs(ctx context.Context, suite string) (err error) {
	dir := filepath.Join(buildDir(), suite)
	if err := removeTree(ctx, dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, removeTree(context.WithoutCancel(ctx), dir)) }()
	// debootstrap reports failures on stdout.
	if out, err := run(ctx, nil, "debootstrap", "--variant=minbase", "--include="+basePackages, suite, dir); err != nil {
		all := lines(out)
		return fmt.Errorf("%w\n%s", err, strings.Join(all[max(0, len(all)-5):], "\n"))
	}
	for _, pattern := range []string{"var/lib/apt/lists/*", "var/cache/apt/archives/*.deb"} {
		leftovers, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return err
		}
		for _, path := range leftovers {
			if err := os.RemoveAll(path); err != nil {
				return err
			}
		}
	}
	return importTree(ctx, dir, rootfsImage(suite))
}

// removeTree removes a root file system. A debootstrap that was killed may have
// left the kernel's file systems mounted in it: those must not be descended into.
func removeTree(ctx context.Context, dir string) error {
	for _, mount := range []string{"proc", "sys"} {
		_, _ = run(ctx, nil, "umount", "--recursive", filepath.Join(dir, mount)) // fails if it isn't mounted, as is usual
	}
	_, err := run(ctx, nil, "rm", "-rf", "--one-file-system", dir)
	return err
}

// importTree pipes a directory into `docker import`.
func importTree(ctx context.Context, dir, image string) error {
	tar := exec.CommandContext(ctx, "tar", "-C", dir, "-c", ".")
	pipe, err := tar.StdoutPipe()
	if err != nil {
		return err
	}
	if err := tar.Start(); err != nil {
		return err
	}
	_, err = run(ctx, pipe, "docker", "import", "-", image)
	return errors.Join(err, tar.Wait())
}

func buildMachine(ctx context.Context, name, image string) (err error) {
	m := machines[name]
	args := append([]string{"create", "--label", labelBuild, rootfsImage(m.suite), "sh", "-c", m.recipe, "recipe"}, m.packages...)
	container, err := docker(ctx, args...)
	if err != nil {
		return err
	}
	defer func() {
		_, removed := docker(context.WithoutCancel(ctx), "rm", "--force", "--volumes", container)
		err = errors.Join(err, removed)
	}()
	if err := copyPrograms(ctx, m, container); err != nil {
		return err
	}
	if _, err := docker(ctx, "start", "--attach", container); err != nil {
		return err
	}
	commit := []string{"commit", "--change", "LABEL " + labelBuilt}
	for _, change := range m.changes {
		commit = append(commit, "--change", change)
	}
	_, err = docker(ctx, append(commit, container, image)...)
	return err
}
