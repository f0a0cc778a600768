package testbed

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Kind is what a server looks like before anybody has touched it.
type Kind string

// The kinds of servers.
const (
	Debian12     Kind = "debian12"      // Docker 20.10 from Debian
	Debian13     Kind = "debian13"      // Docker 26 from Debian
	Debian13Bare Kind = "debian13-bare" // no Docker; apt can install it
)

// Kinds lists all kinds.
func Kinds() []Kind { return []Kind{Debian12, Debian13, Debian13Bare} }

// machine is how a Docker image is made of a Debian release.
type machine struct {
	suite    string
	recipe   string
	packages []string
	changes  []string // Dockerfile instructions
}

//go:embed recipe/server.sh
var serverRecipe string

//go:embed recipe/registry.sh
var registryRecipe string

const registryMachine = "registry"

var (
	serverChanges   = []string{`CMD ["/sbin/testbed-init"]`, "ENV container=docker"}
	registryChanges = []string{`CMD ["docker-registry", "serve", "/etc/docker/registry/config.yml"]`}

	machines = map[string]machine{
		string(Debian12):     {"bookworm", serverRecipe, []string{"docker.io"}, serverChanges},
		string(Debian13):     {"trixie", serverRecipe, []string{"docker.io", "docker-cli"}, serverChanges},
		string(Debian13Bare): {"trixie", serverRecipe, nil, serverChanges},
		registryMachine:      {"bookworm", registryRecipe, []string{"docker-registry"}, registryChanges},
		servicesMachine:      {"bookworm", servicesRecipe, []string{"postgresql-15", "redis-server"}, nil},
	}
)

// basePackages is what every root file system has from debootstrap.
const basePackages = "openssh-server,iptables,iproute2,ca-certificates,procps,sudo,curl,systemd-sysv,dbus"

const imagePrefix = "kamal-testbed-"

// rootfsImage and machineImage name an image after the hash of all that went
// into it, so that a changed recipe makes another image.
func rootfsImage(suite string) string {
	return imagePrefix + "rootfs-" + suite + ":" + hash(suite, basePackages)
}

func machineImage(name string) string {
	m := machines[name]
	parts := []string{rootfsImage(m.suite), m.recipe}
	parts = append(parts, m.packages...)
	return imagePrefix + name + ":" + hash(append(parts, m.changes...)...)
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

// buildMachines makes the images that are missing. The first time takes a
// minute or two, most of it debootstrap over the network.
func buildMachines(ctx context.Context, logf func(string, ...any)) error {
	unlock, err := lock(ctx, buildLock())
	if err != nil {
		return err
	}
	defer unlock()

	have, err := docker(ctx, "image", "ls", "--format", "{{.Repository}}:{{.Tag}}", "--filter", "reference="+imagePrefix+"*")
	if err != nil {
		return err
	}
	present := map[string]bool{}
	for _, name := range lines(have) {
		present[name] = true
	}

	suites := map[string][]string{} // suite -> missing machines
	for name, m := range machines {
		if !present[machineImage(name)] {
			suites[m.suite] = append(suites[m.suite], name)
		}
	}
	if len(suites) == 0 {
		return nil
	}
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
	// The two releases are built side by side: they wait for the network.
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
				logf("building %s", machineImage(name))
				if err := buildMachine(ctx, name); err != nil {
					failures <- fmt.Errorf("image %s: %w", name, err)
					return
				}
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

func buildMachine(ctx context.Context, name string) (err error) {
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
	if _, err := docker(ctx, "start", "--attach", container); err != nil {
		return err
	}
	commit := []string{"commit", "--change", "LABEL " + labelBuilt}
	for _, change := range m.changes {
		commit = append(commit, "--change", change)
	}
	_, err = docker(ctx, append(commit, container, machineImage(name))...)
	return err
}
