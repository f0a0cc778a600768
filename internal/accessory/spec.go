// Package accessory runs one long-lived container with its data on one server,
// named as Kamal names an accessory: it replaces the container for a new one
// on the same data, and puts the old one back when the new one does not get
// ready.
package accessory

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/kamal"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/proxy"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/secret"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/workload"
)

// A Spec is what an accessory should be, as plain values. Nothing changes it.
type Spec struct {
	// Service is the app, Name the accessory's name within it.
	Service, Name string
	// The container. Its Volumes are those of the attribute.
	workload.Spec
	// PullAlways asks the registry also where the image is there.
	PullAlways bool
	// Directories are Kamal's: "local:/path[:options]", local below ~/SVC-NAME
	// unless it is absolute. They are made where they are missing.
	Directories []string
	Files       []File
	// Ready says when the container is ready.
	Ready Ready
	// AppPort is the port to which a service at kamal-proxy sends requests; 0
	// where there is none. Health is kamal-proxy's check then.
	AppPort int
	Health  proxy.Health
	// StopTimeout is the grace for the old container.
	StopTimeout, DeployTimeout, DrainTimeout time.Duration
	// DeleteData removes, with the accessory, the volumes and directories that
	// it created.
	DeleteData bool
}

// Ready is how a container shows that it is ready: by a command that succeeds
// in it, else a TCP port that takes connections, else docker's health check
// where there is one, else by running for Delay.
type Ready struct {
	Command []string
	Port    int
	Delay   time.Duration
}

// ContainerName is Kamal's SVC-NAME: also the value of the label service, and
// the name of a service at kamal-proxy.
func (s Spec) ContainerName() string { return s.Service + "-" + s.Name }

// EnvFile is where Kamal keeps an accessory's secrets.
func (s Spec) EnvFile() string {
	return kamal.AppDir(s.Service) + "/env/accessories/" + s.Name + ".env"
}

// directoryBind is a directory as docker takes it.
func (s Spec) directoryBind(directory, home string) string {
	if strings.HasPrefix(directory, "/") {
		return directory
	}
	return home + "/" + s.ContainerName() + "/" + directory
}

// binds are all mounts, for a server where the SSH user's home is home.
func (s Spec) binds(home string) []string {
	out := slices.Clone(s.Volumes)
	for _, d := range s.Directories {
		out = append(out, s.directoryBind(d, home))
	}
	for _, f := range s.Files {
		if !f.Secret {
			out = append(out, f.bind(s, home))
		}
	}
	return out
}

// A place is where the container sees one of its mounts, and the attribute that
// says so, as in docker.Refusal.
type place struct {
	to        string
	attribute string
	index     int
}

func (s Spec) places() []place {
	var out []place
	add := func(to, attribute string, index int) {
		out = append(out, place{path.Clean(to), attribute, index})
	}
	for _, list := range []struct {
		attribute string
		binds     []string
	}{{"volumes", s.Volumes}, {"directories", s.Directories}} {
		for i, b := range list.binds {
			if parts := strings.Split(b, ":"); len(parts) > 1 { // else refused by its validator
				add(parts[1], list.attribute, i)
			}
		}
	}
	for i, f := range s.Files {
		add(f.Path, "files", i)
	}
	if len(s.AsFiles) > 0 {
		add(secret.MountPoint, "secrets_as_files", -1)
	}
	for _, to := range slices.Sorted(maps.Keys(s.Options.Tmpfs)) {
		add(to, "options", -1)
	}
	return out
}

// isPlace says that something is mounted at a path of the container.
func (s Spec) isPlace(to string) bool {
	return slices.ContainsFunc(s.places(), func(p place) bool { return p.to == path.Clean(to) })
}

// Check refuses what docker would refuse: two mounts at one place, and what
// workload.Spec.Check does. An error is a *docker.Refusal.
func (s Spec) Check() error {
	seen := map[string]bool{}
	for _, p := range s.places() {
		refuse := func(why string, a ...any) error {
			return &docker.Refusal{Attribute: p.attribute, Index: p.index, Why: fmt.Sprintf(why, a...)}
		}
		switch {
		case p.to == "/":
			return refuse("nothing can be mounted at /")
		case len(s.AsFiles) > 0 && strings.HasPrefix(p.to, secret.MountPoint+"/"):
			return refuse("secrets_as_files is mounted at %s, read-only, so that nothing can be mounted at %s", secret.MountPoint, p.to)
		case seen[p.to]:
			return refuse("two of volumes, directories, files, secrets_as_files and tmpfs are mounted at %s", p.to)
		}
		seen[p.to] = true
	}
	for i, f := range s.Files {
		if why := f.unwritable("SERVER"); why != "" {
			return &docker.Refusal{Attribute: "files", Index: i, Why: why}
		}
	}
	return s.Spec.Check()
}

// madeDirectories are the paths on the server of Directories.
func (s Spec) madeDirectories(home string) []string {
	var out []string
	for _, d := range s.Directories {
		local, _, _ := strings.Cut(s.directoryBind(d, home), ":")
		out = append(out, local)
	}
	return out
}

// namedVolumes are docker's volumes among Volumes.
func (s Spec) namedVolumes() []string {
	var out []string
	for _, v := range s.Volumes {
		if name, _, _ := strings.Cut(v, ":"); !strings.HasPrefix(name, "/") {
			out = append(out, name)
		}
	}
	return out
}

// run is the docker run of a new container. carried are the anonymous volumes
// of the one that it replaces, as binds.
func (s Spec) run(address, home, runID string, m mounts, carried []string) docker.Run {
	env := map[string]string{"KAMAL_HOST": address}
	maps.Copy(env, m.secrets.Env(s.Env))
	labels := maps.Clone(s.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[kamal.LabelService], labels[kamal.LabelRun] = s.ContainerName(), runID
	return s.Run(s.ContainerName(), env, labels, slices.Concat(s.binds(home), m.binds(s, home), carried))
}

// anonymousName is what docker calls a volume that nobody named.
var anonymousName = regexp.MustCompile(`^[0-9a-f]{64}$`)

// anonymous are the volumes that an image wants and nobody named, by where the
// container sees them. They hold data as any other: a replacement takes them
// over, or a database without `volumes` would be empty after it.
func anonymous(c docker.Container) map[string]string {
	out := map[string]string{}
	for _, m := range c.Mounts {
		if m.Type == "volume" && anonymousName.MatchString(m.Name) {
			out[m.Destination] = m.Name
		}
	}
	return out
}

// carried are the anonymous volumes of old that the new container gets, as binds.
func (s Spec) carried(old *docker.Container) []string {
	if old == nil {
		return nil
	}
	var out []string
	volumes := anonymous(*old)
	for _, to := range slices.Sorted(maps.Keys(volumes)) {
		if !s.isPlace(to) {
			out = append(out, volumes[to]+":"+to)
		}
	}
	return out
}
