// Package approle rolls out one role of an app over its servers: it swaps the
// role's container on each for a new one with no failed request, and leaves
// the old version serving when something goes wrong.
package approle

import (
	"path"
	"slices"
	"strings"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/kamal"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/proxy"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/secret"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/workload"
)

// A Spec is what a role should be, as plain values. Nothing changes it.
type Spec struct {
	Role kamal.Role
	// The containers. Their network is Kamal's, whatever it says.
	workload.Spec
	// PullAlways asks the registry also where the image is there.
	PullAlways bool
	// AppPort is the port the app listens on; 0 for a role without one.
	AppPort int
	Health  proxy.Health
	// ReadinessDelay is how long a role without a port and without a Docker
	// health check has to run to be ready.
	ReadinessDelay time.Duration
	// Verify is a command that runs in the new container before traffic moves.
	Verify []string
	// StopTimeout is the grace for the old container; zero is Docker's for
	// roles with a port (the proxy has drained them) and DrainTimeout else.
	StopTimeout   time.Duration
	DeployTimeout time.Duration
	DrainTimeout  time.Duration
	Boot          Boot
	// Retain is how many old containers are kept on each server.
	Retain int
}

// Boot is the order in which things happen.
type Boot struct {
	// StopFirst stops the old container before the new one starts.
	StopFirst bool
	// Limit is how many servers are taken at a time; Percent the same as a
	// part of them. Both zero: all.
	Limit, Percent int
	// Wait is the time between two groups of servers.
	Wait time.Duration
	// Halt leaves servers on the new version when a later one fails. Without
	// it they are put back.
	Halt bool
}

// groups cuts servers into those that are taken at a time.
func (b Boot) groups(servers []string) [][]string {
	n := len(servers)
	size := n
	if b.Limit > 0 {
		size = b.Limit
	} else if b.Percent > 0 {
		size = n * b.Percent / 100
	}
	size = max(size, 1)
	var out [][]string
	for len(servers) > 0 {
		k := min(size, len(servers))
		out = append(out, servers[:k])
		servers = servers[k:]
	}
	return out
}

// Version is what Kamal calls the version of an image reference: its tag, else
// the first 12 digits of its digest.
func Version(image string) string {
	ref, err := docker.ParseRef(image)
	switch {
	case err != nil:
		return ""
	case ref.Tag != "":
		return ref.Tag
	default:
		return docker.ShortID(ref.Digest)
	}
}

// Version is the version that the spec deploys.
func (s Spec) Version() string { return Version(s.Image) }

// stopGrace is the grace that docker stop gets, in whole seconds; 0 is Docker's own.
func (s Spec) stopGrace() int {
	d := s.StopTimeout
	if d == 0 && s.AppPort == 0 {
		d = s.DrainTimeout
	}
	return int(d.Round(time.Second) / time.Second)
}

// Check refuses what docker would refuse, or what could never be swapped. An
// error is a *docker.Refusal.
func (s Spec) Check() error {
	if len(s.Ports) > 0 && !s.Boot.StopFirst {
		return &docker.Refusal{Attribute: "ports", Index: -1,
			Why: "two containers can't have one port of the server, so that the new one can't start while the old one serves: " +
				`with ports, boot.order must be "stop_first". kamal-proxy needs no published port`}
	}
	if s.AssetPath != "" {
		target, _, _ := strings.Cut(s.AssetPath, ":")
		for i, v := range s.Volumes {
			if parts := strings.Split(v, ":"); len(parts) > 1 && path.Clean(parts[1]) == path.Clean(target) {
				return &docker.Refusal{Attribute: "volumes", Index: i, Why: "asset_path mounts a volume at " + target + " already"}
			}
		}
	}
	return s.Spec.Check()
}

// kamalEnv is what Kamal tells a container about itself.
func (s Spec) kamalEnv(address, name string) map[string]string {
	env := map[string]string{
		"KAMAL_CONTAINER_NAME": name,
		"KAMAL_VERSION":        s.Version(),
		"KAMAL_HOST":           address,
	}
	if s.Role.Destination != "" {
		env["KAMAL_DESTINATION"] = s.Role.Destination
	}
	return env
}

// isKamalEnv says that a variable is Kamal's, not the user's.
func isKamalEnv(name string) bool {
	switch name {
	case "KAMAL_CONTAINER_NAME", "KAMAL_VERSION", "KAMAL_HOST", "KAMAL_DESTINATION":
		return true
	}
	return false
}

// container is what the containers are.
func (s Spec) container() workload.Spec {
	w := s.Spec
	w.Network = kamal.Network
	return w
}

// mount is a new place for the secrets that are handed over as files.
func (s Spec) mount() secret.Mount {
	_, files := s.Secrets.Split(s.AsFiles)
	return secret.NewMount(s.Role.App(), s.mountOwner(), files)
}

func (s Spec) mountOwner() string { return "role-" + s.Role.Role }

// run is the docker run of a new container on a server, started by the run runID.
func (s Spec) run(address, home, name, random, runID string, mount secret.Mount) docker.Run {
	env := s.kamalEnv(address, name)
	for k, v := range mount.Env(s.Env) {
		env[k] = v
	}
	volumes := slices.Clone(s.Volumes)
	if !mount.Empty() {
		volumes = append(volumes, mount.Bind(home))
	}
	if s.AssetPath != "" {
		volumes = append(volumes, s.assetsBind(home))
	}
	labels := map[string]string{kamal.LabelRun: runID}
	for k, v := range s.Labels {
		labels[k] = v
	}
	for k, v := range s.Role.Labels() {
		labels[k] = v
	}
	run := s.container().Run(name, env, labels, volumes)
	run.Hostname = kamal.Hostname(address, random)
	return run
}

// ownVolume says that a volume is of Kamal's directories: assets, or secrets as files.
func ownVolume(bind string) bool { return strings.Contains(bind, "/"+kamal.Dir+"/apps/") }
