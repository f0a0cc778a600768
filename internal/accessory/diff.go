package accessory

import (
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/kamal"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/secret"
)

// FromContainer is the part of a spec that the container shows. What docker
// and the image add by themselves is left out, unless prior has it too. Lists
// keep prior's spelling and order where they mean the same.
func FromContainer(o Observed, prior Spec) Spec {
	s, c := prior, o.Current
	if c == nil || c.Config == nil || c.HostConfig == nil {
		return s
	}
	s.Image = c.Config.Image
	s.AsFiles = o.Snapshot.SecretNames(*c)
	slices.Sort(s.AsFiles)
	s.Command = docker.CommandOf(*c, o.Image, prior.Command)
	s.Env = docker.UsersOwn(c.Env(), o.Image, (*docker.Image).Env, prior.Env, func(name string) bool {
		_, hidden := prior.Secrets[name]
		return hidden || name == "KAMAL_HOST" || secret.IsFileVariable(name, c.Env()[name], s.AsFiles)
	})
	s.Labels = docker.UsersOwn(c.Labels(), o.Image, (*docker.Image).Labels, prior.Labels, func(k string) bool {
		return k == kamal.LabelService || k == kamal.LabelRun
	})
	if ports := portsOf(*c); !slices.Equal(ports, normalPorts(prior.Ports)) {
		s.Ports = shortPorts(ports)
	}
	s.takeBinds(o, prior)
	s.LogDriver = c.HostConfig.LogConfig.Type
	s.LogOptions = without(c.HostConfig.LogConfig.Config, o.Snapshot.LogDefaults(), prior.LogOptions)
	s.Memory = c.HostConfig.Memory
	s.CPUs = float64(c.HostConfig.NanoCPUs) / 1e9
	s.Options = docker.OptionsOf(*c, o.Image, o.Snapshot.UlimitDefaults(), prior.Options)
	s.Network = string(c.HostConfig.NetworkMode)
	return s
}

// without is m without the names that the daemon adds and prior hasn't got.
func without(m map[string]string, daemon []string, prior map[string]string) map[string]string {
	m = maps.Clone(m)
	for _, k := range daemon {
		if _, wanted := prior[k]; !wanted {
			delete(m, k)
		}
	}
	return m
}

// takeBinds sorts a container's mounts into volumes, directories and files.
func (s *Spec) takeBinds(o Observed, prior Spec) {
	home := o.Snapshot.Facts.Home
	left := sorted(o.Current.HostConfig.Binds) // docker's order is by chance
	secrets := map[string]File{}
	for _, m := range o.Snapshot.SecretMounts(*o.Current) {
		left = slices.DeleteFunc(left, func(bind string) bool { return strings.HasPrefix(bind, home+"/"+m.Path+":") })
		if m.Destination != secret.MountPoint {
			secrets[m.Destination] = secretFile(path.Base(m.Path), m.Destination)
		}
	}
	take := func(bind string) bool {
		i := slices.Index(left, bind)
		if i >= 0 {
			left = slices.Delete(left, i, i+1)
		}
		return i >= 0
	}
	s.Volumes, s.Directories, s.Files = nil, nil, nil
	for _, v := range prior.Volumes {
		if take(v) {
			s.Volumes = append(s.Volumes, v)
		}
	}
	for _, d := range prior.Directories {
		if take(prior.directoryBind(d, home)) {
			s.Directories = append(s.Directories, d)
		}
	}
	for _, f := range prior.Files {
		is, has := secrets[f.Path]
		if has && f.same(is) || !f.Secret && take(f.bind(prior, home)) {
			s.Files = append(s.Files, f)
			delete(secrets, f.Path)
		}
	}
	for _, to := range slices.Sorted(maps.Keys(secrets)) {
		s.Files = append(s.Files, secrets[to])
	}
	own := home + "/" + s.ContainerName() + "/"
	for _, b := range left {
		name, _, _ := strings.Cut(b, ":")
		switch {
		case anonymousName.MatchString(name):
		case strings.HasPrefix(b, home+"/"+s.filesDir()+"/"):
			s.Files = append(s.Files, otherFile(b, home+"/"+s.filesDir()+"/"))
		case strings.HasPrefix(b, own):
			s.Directories = append(s.Directories, b[len(own):])
		default:
			s.Volumes = append(s.Volumes, b)
		}
	}
}

// otherFile is a file of which only the sum of the content is known, from its mount.
func otherFile(bind, dir string) File {
	parts := strings.Split(bind[len(dir):], ":")
	sum, _, _ := strings.Cut(parts[0], "/")
	return File{Path: parts[len(parts)-1], Content: unseenContent + sum + ")", Mode: "0644"}
}

// secretsArrived says that the accessory's container runs with the spec's
// secrets, those of its files too.
func (s Spec) secretsArrived(o Observed) bool {
	values := o.Snapshot.Secrets(*o.Current)
	arrived := func(name, value string) bool {
		v, ok := values[name]
		return ok && v == value
	}
	for name, value := range s.Secrets {
		if !arrived(name, value) {
			return false
		}
	}
	return !slices.ContainsFunc(s.Files, func(f File) bool { return f.Secret && !arrived(f.Path, f.Content) })
}

// Differs names the attributes in which the container is not what spec wants;
// empty means that it fits.
func (s Spec) Differs(o Observed) []string {
	return s.Changes(FromContainer(o, s))
}

func sorted(list []string) []string { return slices.Sorted(slices.Values(list)) }

func byPath(files []File) []File {
	return slices.SortedFunc(slices.Values(files), func(a, b File) int { return strings.Compare(a.Path, b.Path) })
}

// Changes names the attributes in which two specs make different containers,
// whatever their spelling.
func (s Spec) Changes(is Spec) []string {
	var out []string
	differs := func(name string, same bool) {
		if !same {
			out = append(out, name)
		}
	}
	differs("image", docker.SameRef(s.Image, is.Image))
	differs("command", slices.Equal(s.Command, is.Command))
	differs("env", maps.Equal(s.Env, is.Env))
	differs("labels", maps.Equal(s.Labels, is.Labels))
	differs("secrets_as_files", slices.Equal(s.AsFiles, is.AsFiles))
	differs("ports", slices.Equal(normalPorts(s.Ports), normalPorts(is.Ports)))
	differs("volumes", slices.Equal(sorted(s.Volumes), sorted(is.Volumes)))
	differs("directories", slices.Equal(sorted(s.Directories), sorted(is.Directories)))
	differs("files", slices.EqualFunc(byPath(s.Files), byPath(is.Files), File.same))
	differs("logging", s.LogDriver == is.LogDriver && maps.Equal(s.LogOptions, is.LogOptions))
	differs("memory", s.Memory == is.Memory)
	differs("cpus", s.CPUs == is.CPUs)
	differs("options", s.Options.Equal(is.Options))
	differs("network", s.Network == is.Network)
	return out
}
