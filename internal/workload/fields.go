package workload

import (
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/secret"
)

// A View is a container with what tells whose the things are that it shows.
type View struct {
	Container docker.Container
	// Image is the container's, nil if it is gone from the server.
	Image    *docker.Image
	Defaults docker.Defaults
	// SecretNames are those of its secrets that are files.
	SecretNames []string
	// Volumes are the mounts that somebody asked for, as docker takes them.
	Volumes []string
	// AssetPath is where a volume with a role's assets is mounted, and how.
	AssetPath string
	// OwnEnv and OwnLabel say that a variable or a label is one that its noun,
	// or Kamal, gives to every container.
	OwnEnv, OwnLabel func(name string) bool
	// OwnHostname: its noun gives every container a hostname.
	OwnHostname bool
}

// A Field is one thing that a container is, and the attribute that says so.
type Field struct {
	// Name is the attribute's.
	Name string
	// API are the fields of Docker's API that show it.
	API []string
	// Same says that two specs have the same, whatever its spelling.
	Same func(a, b Spec) bool
	take func(to *Spec, from Spec)
	// read leaves out what docker, the daemon and the image add by themselves
	// unless prior has it, and keeps prior's spelling where it means the same.
	read func(to *Spec, v View, prior Spec)
}

// Fields is all that a container is.
var Fields = []Field{
	{"image", api("Config.Image"),
		func(a, b Spec) bool { return docker.SameRef(a.Image, b.Image) },
		func(to *Spec, from Spec) { to.Image = from.Image },
		func(to *Spec, v View, prior Spec) {
			if to.Image = v.Container.Config.Image; docker.SameRef(prior.Image, to.Image) {
				to.Image = prior.Image
			}
		}},
	{"command", api("Config.Cmd"),
		func(a, b Spec) bool { return slices.Equal(a.Command, b.Command) },
		func(to *Spec, from Spec) { to.Command = from.Command },
		func(to *Spec, v View, prior Spec) {
			to.Command = docker.CommandOf(v.Container, v.Image, prior.Command)
		}},
	{"env", api("Config.Env"),
		func(a, b Spec) bool { return maps.Equal(a.Env, b.Env) },
		func(to *Spec, from Spec) { to.Env = from.Env },
		func(to *Spec, v View, prior Spec) {
			env := v.Container.Env()
			to.Env = docker.UsersOwn(env, v.Image, (*docker.Image).Env, prior.Env, func(name string) bool {
				_, hidden := prior.Secrets[name]
				return hidden || v.OwnEnv(name) || secret.IsFileVariable(name, env[name], v.SecretNames)
			})
			for name, value := range to.Env {
				if docker.IsProxyVariable(name) && prior.Env[name] != value {
					to.Env[name] = docker.HidePassword(value)
				}
			}
		}},
	{"labels", api("Config.Labels"),
		func(a, b Spec) bool { return maps.Equal(a.Labels, b.Labels) },
		func(to *Spec, from Spec) { to.Labels = from.Labels },
		func(to *Spec, v View, prior Spec) {
			to.Labels = docker.UsersOwn(v.Container.Labels(), v.Image, (*docker.Image).Labels, prior.Labels, v.OwnLabel)
		}},
	{"secrets_as_files", api("HostConfig.Binds"),
		func(a, b Spec) bool { return slices.Equal(sorted(a.AsFiles), sorted(b.AsFiles)) },
		func(to *Spec, from Spec) { to.AsFiles = from.AsFiles },
		func(to *Spec, v View, prior Spec) { to.AsFiles = inOrder(v.SecretNames, prior.AsFiles) }},
	{"ports", api("HostConfig.PortBindings"),
		func(a, b Spec) bool { return slices.Equal(normalPorts(a.Ports), normalPorts(b.Ports)) },
		func(to *Spec, from Spec) { to.Ports = from.Ports },
		func(to *Spec, v View, prior Spec) {
			to.Ports = prior.Ports
			if ports := portsOf(v.Container); !slices.Equal(ports, normalPorts(prior.Ports)) {
				to.Ports = shortPorts(ports)
			}
		}},
	{"volumes", api("HostConfig.Binds", "HostConfig.Mounts"),
		func(a, b Spec) bool { return slices.Equal(sorted(a.Volumes), sorted(b.Volumes)) },
		func(to *Spec, from Spec) { to.Volumes = from.Volumes },
		func(to *Spec, v View, prior Spec) { to.Volumes = inOrder(v.Volumes, prior.Volumes) }},
	{"logging", api("HostConfig.LogConfig"),
		func(a, b Spec) bool { return a.LogDriver == b.LogDriver && maps.Equal(a.LogOptions, b.LogOptions) },
		func(to *Spec, from Spec) { to.LogDriver, to.LogOptions = from.LogDriver, from.LogOptions },
		func(to *Spec, v View, prior Spec) {
			to.LogDriver = v.Container.HostConfig.LogConfig.Type
			to.LogOptions = maps.Clone(v.Container.HostConfig.LogConfig.Config)
			for _, name := range v.Defaults.LogOptions {
				if _, wanted := prior.LogOptions[name]; !wanted {
					delete(to.LogOptions, name)
				}
			}
		}},
	{"memory", api("HostConfig.Memory"),
		func(a, b Spec) bool { return a.Memory == b.Memory },
		func(to *Spec, from Spec) { to.Memory = from.Memory },
		func(to *Spec, v View, _ Spec) { to.Memory = v.Container.HostConfig.Memory }},
	{"cpus", api("HostConfig.NanoCPUs"),
		func(a, b Spec) bool { return a.CPUs == b.CPUs },
		func(to *Spec, from Spec) { to.CPUs = from.CPUs },
		func(to *Spec, v View, _ Spec) { to.CPUs = float64(v.Container.HostConfig.NanoCPUs) / 1e9 }},
	{"options", api(optionFields()...),
		func(a, b Spec) bool { return a.Options.Equal(b.Options) },
		func(to *Spec, from Spec) { to.Options = from.Options },
		func(to *Spec, v View, prior Spec) {
			to.Options = docker.OptionsOf(v.Container, v.Image, v.Defaults, prior.Options)
		}},
	{"network", api("HostConfig.NetworkMode"),
		func(a, b Spec) bool { return a.Network == b.Network },
		func(to *Spec, from Spec) { to.Network = from.Network },
		func(to *Spec, v View, prior Spec) { to.Network = networkOf(v.Container, prior.Network) }},
	{"asset_path", api("HostConfig.Binds"),
		func(a, b Spec) bool { return normalMount(a.AssetPath) == normalMount(b.AssetPath) },
		func(to *Spec, from Spec) { to.AssetPath = from.AssetPath },
		func(to *Spec, v View, prior Spec) {
			if to.AssetPath = normalMount(v.AssetPath); to.AssetPath == normalMount(prior.AssetPath) {
				to.AssetPath = prior.AssetPath
			}
		}},
}

func api(fields ...string) []string { return fields }

func optionFields() []string {
	return slices.Concat(slices.Collect(maps.Values(docker.OptionFields()))...)
}

// FromContainer is the spec that the container shows. Where docker told nothing
// of it, it is prior.
func FromContainer(v View, prior Spec) Spec {
	s := prior
	if v.Container.Config == nil || v.Container.HostConfig == nil {
		return s
	}
	for _, f := range Fields {
		f.read(&s, v, prior)
	}
	return s
}

// Changes names the attributes in which two specs make different containers,
// whatever their spelling.
func (s Spec) Changes(is Spec) []string {
	var out []string
	for _, f := range Fields {
		if !f.Same(s, is) {
			out = append(out, f.Name)
		}
	}
	return out
}

// Agreed is what all specs have alike; where they disagree, or where there are
// none, prior.
func Agreed(prior Spec, specs []Spec) Spec {
	out := prior
	for _, f := range Fields {
		same := !slices.ContainsFunc(specs, func(s Spec) bool { return !f.Same(s, specs[0]) })
		if same && len(specs) > 0 {
			f.take(&out, specs[0])
		}
	}
	return out
}

// networkOf is the network that a container is in: the wanted one where it is in
// that too, "" where it was disconnected from its own.
func networkOf(c docker.Container, wanted string) string {
	mode := string(c.HostConfig.NetworkMode)
	if c.NetworkSettings == nil || mode == "host" || mode == "none" || c.HostConfig.NetworkMode.IsContainer() {
		return mode
	}
	in := func(name string) bool { _, has := c.NetworkSettings.Networks[name]; return has }
	switch {
	case wanted != "" && in(wanted):
		return wanted
	case mode == "default" || mode == "bridge":
		return mode
	case in(mode):
		return mode
	}
	return ""
}

// Binds are a container's mounts of volumes and directories as docker run takes
// them, those of --mount that say no more than that among them.
func Binds(c docker.Container) []string {
	if c.HostConfig == nil {
		return nil
	}
	out := slices.Clone(c.HostConfig.Binds)
	for _, m := range c.HostConfig.Mounts {
		if bind, ok := asBind(m); ok {
			out = append(out, bind)
		}
	}
	return out
}

// normalMount is a path of a container, with options of its mount or without,
// in one spelling.
func normalMount(s string) string {
	if dir, options, has := strings.Cut(s, ":"); has {
		return path.Clean(dir) + ":" + options
	} else if dir != "" {
		return path.Clean(dir)
	}
	return ""
}

func sorted(list []string) []string { return slices.Sorted(slices.Values(list)) }

// inOrder is list in order, or prior where it has the same elements: Docker's
// own order of mounts is by chance.
func inOrder(list, prior []string) []string {
	if slices.Equal(sorted(list), sorted(prior)) {
		return prior
	}
	return sorted(list)
}
