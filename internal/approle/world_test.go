package approle

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/kamal"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/proxy"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/secret"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/workload"
)

const repository = "registry.example.com/shop"

// wanted is a role with a port and a little of everything.
func wanted(change ...func(*Spec)) Spec {
	s := Spec{
		Spec: workload.Spec{
			Image: repository + ":v2", Env: map[string]string{"GREETING": "hello world", "EMPTY": ""},
			Secrets: secret.Set{"KEY": "of the house", "TOKEN": "of thanks"}, AsFiles: []string{"TOKEN"},
			Labels: map[string]string{"team": "shop"}, Volumes: []string{"data:/data", "/srv/a:/a:ro"},
			LogDriver: "json-file", LogOptions: map[string]string{"max-size": "10m"}, Memory: 512 << 20,
			CPUs: 1.5,
		},
		Role: kamal.Role{Service: "shop", Role: "web"}, AppPort: 3000,
		Health:        proxy.Health{Path: "/up", Interval: time.Second, Timeout: 5 * time.Second},
		DeployTimeout: 30 * time.Second, DrainTimeout: 30 * time.Second, ReadinessDelay: 7 * time.Second, Retain: 5,
	}
	for _, c := range change {
		c(&s)
	}
	return s
}

func image(tag string) func(*Spec) { return func(s *Spec) { s.Image = repository + ":" + tag } }

// A world is a server as docker and kamal-proxy make it out of what is run on
// it, without either.
type world struct {
	containers []docker.Container
	images     []docker.Image
	// target is what kamal-proxy has for the role; noEntry where it has none.
	target string
	daemon string
	locks  []kamal.LockHolder
	marks  []kamal.Mark
	files  map[string]string // the secret files
	clock  time.Time
	serial int
}

// home is the SSH user's.
const home = "/root"

const (
	noEntry = ""
	thisRun = "the run that is tested"
)

func newWorld() *world {
	return &world{files: map[string]string{}, clock: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
}

func (w *world) id(kind string) string {
	w.serial++
	sum := sha256.Sum256([]byte(fmt.Sprint(kind, w.serial)))
	return hex.EncodeToString(sum[:])
}

// pull gets an image, whose config is the same for all.
func (w *world) pull(ref string) *docker.Image {
	if i := docker.FindImage(ref, w.images); i != nil {
		return i
	}
	r, err := docker.ParseRef(ref)
	if err != nil {
		panic(err)
	}
	var i docker.Image
	parse(&i.InspectResponse, map[string]any{
		"Id": "sha256:" + w.id("image"), "Architecture": "amd64", "Os": "linux",
		"Config": map[string]any{
			"Env": []string{"PATH=/bin", "APP_VERSION=" + r.Tag}, "Cmd": []string{"app", "server"},
			"Labels": map[string]string{"org.opencontainers.image.title": "shop"}, "ExposedPorts": map[string]any{"3000/tcp": struct{}{}},
		},
	})
	if r.Digest != "" {
		i.RepoDigests = []string{r.FamiliarRepository() + "@" + r.Digest}
	} else {
		i.RepoTags = []string{r.FamiliarRepository() + ":" + r.Tag}
		i.RepoDigests = []string{r.FamiliarRepository() + "@sha256:" + w.id("digest")}
	}
	w.images = append(w.images, i)
	return &w.images[len(w.images)-1]
}

func parse(into any, from map[string]any) {
	b, err := json.Marshal(from)
	if err == nil {
		err = json.Unmarshal(b, into)
	}
	if err != nil {
		panic(err)
	}
}

// run does what docker makes of a spec's docker run.
func (w *world) run(spec Spec, change ...func(*docker.Container)) docker.Container {
	return w.runAs(spec, spec.Role.ContainerName(spec.Version()), thisRun, change...)
}

// runAs runs a container of a name, with its secrets.
func (w *world) runAs(spec Spec, name, runID string, change ...func(*docker.Container)) docker.Container {
	mount := spec.mount()
	r := spec.run("10.0.0.1", home, name, "0123456789ab", runID, mount)
	for _, n := range r.EnvNames {
		r.Env[n] = spec.Secrets[n]
	}
	for n, v := range mount.Files {
		w.files[mount.Dir+"/"+n] = v
	}
	return w.dockerRun(r, change...)
}

func (w *world) dockerRun(r docker.Run, change ...func(*docker.Container)) docker.Container {
	for _, c := range w.containers {
		if c.ContainerName() == r.Name {
			panic("docker: the name " + r.Name + " is taken")
		}
	}
	image := w.pull(r.Image)
	env, labels := image.Env(), maps.Clone(image.Config.Labels)
	maps.Copy(env, r.Env)
	maps.Copy(labels, r.Labels)
	var list []string
	for _, k := range slices.Sorted(maps.Keys(env)) {
		list = append(list, k+"="+env[k])
	}
	driver, options := r.LogDriver, maps.Clone(r.LogOpts)
	if driver == "" {
		driver = "json-file"
	}
	// The daemon's options complete those of a container with the daemon's driver.
	if driver == "json-file" {
		for k, v := range w.daemonLogOptions() {
			if _, ok := options[k]; !ok {
				if options == nil {
					options = map[string]string{}
				}
				options[k] = v
			}
		}
	}
	command := r.Command
	if command == nil {
		command = image.Config.Cmd
	}
	w.clock = w.clock.Add(time.Minute)
	c := docker.Container{InspectResponse: container.InspectResponse{
		ID: w.id("container"), Name: "/" + r.Name, Image: image.ID, Created: w.clock.Format(time.RFC3339Nano),
		State:  &container.State{Status: container.StateRunning, Running: true, StartedAt: w.clock.Format(time.RFC3339Nano)},
		Config: &container.Config{Image: r.Image, Env: list, Labels: labels, Cmd: command, Hostname: r.Hostname},
		HostConfig: &container.HostConfig{Binds: slices.Clone(r.Volumes), LogConfig: container.LogConfig{Type: driver, Config: options}, NetworkMode: container.NetworkMode(r.Network),
			RestartPolicy: container.RestartPolicy{Name: container.RestartPolicyMode(r.Restart)},
			Resources:     container.Resources{Memory: r.Memory, NanoCPUs: int64(r.CPUs * 1e9)}},
		NetworkSettings: &container.NetworkSettings{Networks: map[string]*network.EndpointSettings{
			r.Network: {IPAddress: netip.MustParseAddr("172.18.0.2")},
		}},
	}}
	for _, f := range change {
		f(&c)
	}
	w.containers = append(w.containers, c)
	return c
}

func (w *world) daemonLogOptions() map[string]string {
	var d struct {
		Options map[string]string `json:"log-opts"`
	}
	_ = json.Unmarshal([]byte(w.daemon), &d)
	return d.Options
}

func stopped(c *docker.Container) {
	c.State = &container.State{Status: container.StateExited, ExitCode: 137, StartedAt: c.State.StartedAt}
}

func named(name string) func(*docker.Container) {
	return func(c *docker.Container) { c.Name = "/" + name }
}

// serve makes kamal-proxy send the role's traffic to a container.
func (w *world) serve(c docker.Container) { w.target = c.ShortID() + ":3000" }

func (w *world) snapshot() *fleet.Snapshot {
	s := &fleet.Snapshot{
		Server: "10.0.0.1", Containers: slices.Clone(w.containers), Images: slices.Clone(w.images), Marks: w.marks, Locks: w.locks,
		Docker: fleet.Docker{Installed: true, Running: true, Arch: "amd64", DaemonJSON: w.daemon},
		Facts:  fleet.Facts{MachineID: "machine-1", Home: home}, SecretFiles: maps.Clone(w.files),
	}
	if w.target != noEntry {
		s.Proxy.Container = &docker.Container{}
		s.Proxy = s.Proxy.NewProxyState(fmt.Sprintf(`[{"name":"shop-web","active_targets":[%q]}]`, w.target))
	}
	return s
}

// look observes the role.
func (w *world) look(t *testing.T, role kamal.Role, recorded string) Observed {
	t.Helper()
	o, err := Observe(w.snapshot(), role, recorded)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func (w *world) change(id string, f func(*docker.Container)) {
	i := slices.IndexFunc(w.containers, func(c docker.Container) bool { return c.ID == id })
	if i < 0 {
		panic("docker: no such container: " + id)
	}
	f(&w.containers[i])
}

// carryOut has the effects on the server of the steps that follow from a plan.
func (w *world) carryOut(p Plan, want Spec) {
	remove := func(id string) {
		w.containers = slices.DeleteFunc(w.containers, func(c docker.Container) bool { return c.ID == id })
	}
	if p.Swap {
		for _, c := range p.Remove {
			remove(c.ID)
		}
		if p.Rename != nil {
			w.change(p.Rename.ID, named(p.Name+"_replaced_0123456789abcdef"))
		}
		c := w.runAs(want, p.Name, thisRun)
		if w.target != noEntry && want.AppPort > 0 {
			w.serve(c)
		}
	} else if p.Target != nil {
		w.serve(*p.Target)
	}
	for _, c := range p.Old {
		w.change(c.ID, stopped)
	}
	w.locks = nil
	for i := range w.marks {
		w.marks[i].State = kamal.MarkOwned
	}
}
