// Package accessory runs one long-lived container with its data on one server,
// named as Kamal names an accessory: it replaces the container for a new one
// on the same data, and puts the old one back when the new one does not get
// ready.
package accessory

import (
	"crypto/sha256"
	"encoding/hex"
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
)

// A Spec is what an accessory should be, as plain values. Nothing changes it.
type Spec struct {
	// Service is the app, Name the accessory's name within it.
	Service, Name string
	Image         string
	// PullAlways asks the registry also where the image is there.
	PullAlways bool
	// Command is nil for the image's own.
	Command []string
	Env     map[string]string
	// Secrets are the secret variables. Where a state is read back, their
	// names are known and their values are not.
	Secrets secret.Set
	// Ports are published as "[bind:]host:container[/protocol]".
	Ports []string
	// Volumes are as docker takes them: "name:/path" or "/host/path:/path".
	Volumes []string
	// Directories are Kamal's: "local:/path[:options]", local below ~/SVC-NAME
	// unless it is absolute. They are made where they are missing.
	Directories []string
	Files       []File
	Labels      map[string]string
	LogDriver   string
	LogOptions  map[string]string
	// Memory and ShmSize are in bytes, CPUs in CPUs; zero is docker's default.
	Memory, ShmSize int64
	CPUs            float64
	// Ulimits are by name, "soft" or "soft:hard".
	Ulimits map[string]string
	Network string
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

// A File is a file that the container sees.
type File struct {
	// Path is where the container sees it.
	Path    string
	Content string
	// Mode is octal, Owner "user[:group]" or "".
	Mode, Owner string
}

// ContainerName is Kamal's SVC-NAME: also the value of the label service, and
// the name of a service at kamal-proxy.
func (s Spec) ContainerName() string { return s.Service + "-" + s.Name }

// EnvFile is where Kamal keeps an accessory's secrets.
func (s Spec) EnvFile() string {
	return kamal.AppDir(s.Service) + "/env/accessories/" + s.Name + ".env"
}

// filesDir holds the accessory's files, below the SSH user's home.
func (s Spec) filesDir() string { return s.ContainerName() + "/files" }

// local is where a file is kept, relative to the SSH user's home. Its content
// is part of the path: the old container goes on seeing the old file, and a
// change of a file shows as another mount.
func (f File) local(s Spec) string {
	return s.filesDir() + "/" + f.sum() + path.Clean("/"+f.Path)
}

// unseenContent begins what stands for the content of a file that is known by
// its sum alone, as after an import.
const unseenContent = "(content not seen, sum "

// sum is the sum of what a file is, in 12 hex digits.
func (f File) sum() string {
	if sum, ok := strings.CutPrefix(f.Content, unseenContent); ok {
		return strings.TrimSuffix(sum, ")")
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%s", f.Mode, f.Owner, f.Content))
	return hex.EncodeToString(sum[:6])
}

func (f File) bind(s Spec, home string) string {
	return home + "/" + f.local(s) + ":" + f.Path
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
		out = append(out, f.bind(s, home))
	}
	return out
}

// Check refuses what docker would refuse once the old container is down: two
// mounts at one place, one port of the server published twice. It looks at
// Volumes, Directories, Files and Ports alone.
func (s Spec) Check() error {
	places, ports := map[string]bool{}, map[string]string{}
	for _, b := range s.binds("") {
		parts := strings.Split(b, ":")
		if len(parts) < 2 {
			continue // refused by its validator
		}
		to := path.Clean(parts[1])
		if places[to] {
			return fmt.Errorf("two of volumes, directories and files are mounted at %s", to)
		}
		places[to] = true
	}
	for _, given := range s.Ports {
		p, err := ParsePort(given)
		if err != nil {
			return err
		}
		key := fmt.Sprintf("%s:%d/%s", p.Bind, p.Host, p.Protocol)
		if other, taken := ports[key]; taken {
			return fmt.Errorf("%q and %q publish the same port of the server", other, given)
		}
		ports[key] = given
	}
	return nil
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
func (s Spec) run(address, home, runID string, carried []string) docker.Run {
	env := map[string]string{"KAMAL_HOST": address}
	maps.Copy(env, s.Env)
	labels := maps.Clone(s.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[kamal.LabelService], labels[kamal.LabelRun] = s.ContainerName(), runID
	var publish []string
	for _, p := range s.Ports {
		port, err := ParsePort(p)
		if err != nil {
			continue // refused at plan
		}
		publish = append(publish, port.String())
	}
	var options []string
	if s.ShmSize > 0 {
		options = append(options, "--shm-size", fmt.Sprint(s.ShmSize))
	}
	for _, name := range slices.Sorted(maps.Keys(s.Ulimits)) {
		options = append(options, "--ulimit", name+"="+s.Ulimits[name])
	}
	return docker.Run{
		Name: s.ContainerName(), Image: s.Image, Network: s.Network, Restart: "unless-stopped",
		Env: env, EnvNames: s.Secrets.EnvNames(), Labels: labels, Publish: publish,
		Volumes: append(s.binds(home), carried...), LogDriver: s.LogDriver, LogOpts: s.LogOptions,
		Memory: s.Memory, CPUs: s.CPUs, Options: options, Command: s.Command,
	}
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
	taken := map[string]bool{}
	for _, b := range s.binds("") {
		if parts := strings.Split(b, ":"); len(parts) > 1 {
			taken[path.Clean(parts[1])] = true
		}
	}
	var out []string
	volumes := anonymous(*old)
	for _, to := range slices.Sorted(maps.Keys(volumes)) {
		if !taken[path.Clean(to)] {
			out = append(out, volumes[to]+":"+to)
		}
	}
	return out
}
