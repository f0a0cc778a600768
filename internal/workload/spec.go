// Package workload is a container of an app as it should be, its docker run,
// what a running one shows, and in what the two differ: once for roles,
// accessories and tasks.
//
// What a container is stands in the table of fields.go, and its options in the
// one of package docker. A test holds both against Docker's API: whatever a
// docker run can set is in a field, told as a loss (losses.go), or in a list of
// what means nothing.
package workload

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/secret"
)

// A Spec is what a container should be, as plain values. Nothing changes it.
type Spec struct {
	// Image is the reference as configured: by tag or by digest.
	Image string
	// Command is nil for the image's own.
	Command []string
	Env     map[string]string
	// Secrets are the secret variables. Where a state is read back, their
	// names are known and their values are not.
	Secrets secret.Set
	// AsFiles are the names of those Secrets that the container gets as files
	// under secret.MountPoint, and not in its environment.
	AsFiles []string
	// Ports are published as "[bind:]host:container[/protocol]".
	Ports []string
	// Volumes are as docker takes them: "name:/path" or "/host/path:/path".
	Volumes    []string
	Labels     map[string]string
	LogDriver  string
	LogOptions map[string]string
	// Memory is in bytes, CPUs in CPUs; zero is no limit.
	Memory  int64
	CPUs    float64
	Options docker.Options
	Network string
	// AssetPath is the directory of a role's assets, as Kamal writes it: a path
	// in the container, and after a colon options of its mount. "" for none.
	AssetPath string
}

// EnvSecrets are the secrets that go into the environment.
func (s Spec) EnvSecrets() secret.Set {
	env, _ := s.Secrets.Split(s.AsFiles)
	return env
}

// Run is the docker run of a new container. env and labels are all that it
// gets beside its secrets, volumes all that it mounts.
func (s Spec) Run(name string, env, labels map[string]string, volumes []string) docker.Run {
	var publish []string
	for _, p := range s.Ports {
		if port, err := ParsePort(p); err == nil { // else refused at plan
			publish = append(publish, port.String())
		}
	}
	return docker.Run{
		Name: name, Image: s.Image, Network: s.Network, Restart: s.Options.RestartPolicy(),
		Env: env, EnvNames: s.EnvSecrets().EnvNames(), Labels: labels, Publish: publish, Volumes: volumes,
		LogDriver: s.LogDriver, LogOpts: s.LogOptions, Memory: s.Memory, CPUs: s.CPUs, Options: s.Options.Argv(), Command: s.Command,
	}
}

// Check refuses what docker would refuse, or would not do: one port of the
// server published twice, limits of memory that contradict each other. An error
// is a *docker.Refusal.
func (s Spec) Check() error {
	var ports []Port
	for i, given := range s.Ports {
		refuse := func(why string) error {
			return &docker.Refusal{Attribute: "ports", Index: i, Why: why}
		}
		p, err := ParsePort(given)
		if err != nil {
			return refuse(err.Error())
		}
		if other := slices.IndexFunc(ports, p.clashes); other >= 0 {
			return refuse(fmt.Sprintf("%q and %q publish the same port of the server", s.Ports[other], given))
		}
		ports = append(ports, p)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Env)) {
		if docker.IsProxyVariable(name) && strings.Contains(s.Env[name], docker.PasswordNotShown) {
			return &docker.Refusal{Attribute: "env", Index: -1, Why: name + " stands for one with a password, which an import does not tell: give it in secrets, or leave it out"}
		}
	}
	refuse := func(why string) error {
		return &docker.Refusal{Attribute: "options", Index: -1, Why: why}
	}
	switch swap := s.Options.MemorySwap; {
	case swap != 0 && s.Memory == 0:
		return refuse("options.memory_swap is memory and swap together: it needs memory")
	case swap > 0 && swap < s.Memory:
		return refuse("options.memory_swap is memory and swap together, and less than memory here")
	case s.Memory > 0 && s.Options.MemoryReservation > s.Memory:
		return refuse("options.memory_reservation is more than memory")
	}
	return nil
}
