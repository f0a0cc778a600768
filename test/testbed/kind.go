package testbed

import (
	_ "embed"
	"slices"
)

// Kind is what a server looks like before anybody has touched it.
type Kind string

// The kinds of servers. Engines says which Docker they have.
const (
	Debian12     Kind = "debian12"      // as Debian 12 has it
	Debian13     Kind = "debian13"      // as Debian 13 has it
	Debian13Bare Kind = "debian13-bare" // no Docker; apt can install it
	// The next three are Debian 13 too, so that only Docker differs, and because
	// the systemd of Debian's unstable branch boots on no machine with cgroup v1.
	DebianSid       Kind = "debian-sid"       // Docker's packages of Debian's unstable branch
	Docker29        Kind = "docker29"         // Docker built by directory tools, set up as docker.com's packages are
	Docker29Classic Kind = "docker29-classic" // the same, told to keep to the old image store
)

// Kinds lists all kinds.
func Kinds() []Kind {
	return []Kind{Debian12, Debian13, Debian13Bare, DebianSid, Docker29, Docker29Classic}
}

// valid says whether there is such a kind.
func (k Kind) valid() bool { return slices.Contains(Kinds(), k) }

// machine names the machine that a server of this kind is made of.
func (k Kind) machine() string {
	if k == Docker29Classic {
		return string(Docker29)
	}
	return string(k)
}

// daemonJSON is the server's daemon.json; "" for none, as on most fresh servers.
func (k Kind) daemonJSON() string {
	if k == Docker29Classic {
		return `{"features": {"containerd-snapshotter": false}}` + "\n"
	}
	return ""
}

// machine is how a Docker image is made of a Debian release.
type machine struct {
	suite    string
	recipe   string
	packages []string // NAME, or NAME/sid for that of the unstable branch
	tools    []string // programs of directory tools that go into /usr/bin
	units    []string // systemd's, of the sources of dockerd
	changes  []string // Dockerfile instructions
}

//go:embed recipe/server.sh
var serverRecipe string

//go:embed recipe/sid.sh
var sidRecipe string

//go:embed recipe/docker29.sh
var docker29Recipe string

//go:embed recipe/registry.sh
var registryRecipe string

const registryMachine = "registry"

var (
	serverChanges   = []string{`CMD ["/sbin/testbed-init"]`, "ENV container=docker"}
	registryChanges = []string{`CMD ["docker-registry", "serve", "/etc/docker/registry/config.yml"]`}

	machines = map[string]machine{
		string(Debian12):     {suite: "bookworm", recipe: serverRecipe, packages: []string{"docker.io"}, changes: serverChanges},
		string(Debian13):     {suite: "trixie", recipe: serverRecipe, packages: []string{"docker.io", "docker-cli"}, changes: serverChanges},
		string(Debian13Bare): {suite: "trixie", recipe: serverRecipe, changes: serverChanges},
		string(DebianSid): {suite: "trixie", recipe: sidRecipe + serverRecipe, changes: serverChanges,
			packages: []string{"docker.io/sid", "docker-cli/sid", "containerd/sid", "runc/sid"}},
		// Debian 13's runc is too old: this Docker gives every container a time namespace.
		string(Docker29): {suite: "trixie", recipe: sidRecipe + serverRecipe + docker29Recipe,
			packages: []string{"containerd/sid", "runc/sid", "tini"},
			tools:    []string{"dockerd", "docker-proxy", "docker"},
			units:    []string{"docker.service", "docker.socket"},
			changes:  serverChanges},
		registryMachine: {suite: "bookworm", recipe: registryRecipe, packages: []string{"docker-registry"}, changes: registryChanges},
		servicesMachine: {suite: "bookworm", recipe: servicesRecipe, packages: []string{"postgresql-15", "redis-server"}},
	}
)
