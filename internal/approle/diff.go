package approle

import (
	"maps"
	"slices"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/kamal"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/secret"
)

// FromContainer is the part of a spec that the role's container shows. What
// docker and the image add by themselves is left out, unless prior has it too:
// a variable that the image sets to the same value is still the user's. Lists
// keep prior's order where they mean the same.
func FromContainer(o Observed, prior Spec) Spec {
	s := prior
	if o.Current == nil || o.Current.Config == nil || o.Current.HostConfig == nil {
		return s
	}
	c, image := *o.Current, o.Image
	s.AsFiles = sameSet(o.Snapshot.SecretNames(c), prior.AsFiles)
	if !docker.SameRef(prior.Image, c.Config.Image) {
		s.Image = c.Config.Image
	}
	s.Command = docker.CommandOf(c, image, prior.Command)
	s.Env = docker.UsersOwn(c.Env(), image, (*docker.Image).Env, prior.Env, func(name string) bool {
		_, hidden := prior.Secrets[name]
		return hidden || isKamalEnv(name) || secret.IsFileVariable(name, c.Env()[name], s.AsFiles)
	})
	s.Labels = docker.UsersOwn(c.Labels(), image, (*docker.Image).Labels, prior.Labels, func(k string) bool {
		return slices.Contains(kamal.ReservedLabels, k)
	})
	s.Volumes = volumesOf(c, prior.Volumes)
	s.LogDriver = c.HostConfig.LogConfig.Type
	s.LogOptions = maps.Clone(c.HostConfig.LogConfig.Config)
	for _, k := range o.LogDefaults {
		if _, wanted := prior.LogOptions[k]; !wanted {
			delete(s.LogOptions, k)
		}
	}
	s.Memory = c.HostConfig.Memory
	s.CPUs = float64(c.HostConfig.NanoCPUs) / 1e9
	return s
}

// secretsArrived says that the role's container runs with the spec's secrets.
func (s Spec) secretsArrived(o Observed) bool {
	values := o.Snapshot.Secrets(*o.Current)
	for name, value := range s.Secrets {
		if v, ok := values[name]; !ok || v != value {
			return false
		}
	}
	return true
}

// Differs names the attributes in which a container is not what spec wants;
// empty means that it fits. Names are the ones of the resource.
func (s Spec) Differs(o Observed) []string {
	c := *o.Current
	is := FromContainer(o, s)
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
	differs("volumes", slices.Equal(s.Volumes, is.Volumes))
	differs("logging", s.LogDriver == is.LogDriver && maps.Equal(s.LogOptions, is.LogOptions))
	differs("memory", s.Memory == is.Memory)
	differs("cpus", s.CPUs == is.CPUs)
	differs("network", c.NetworkSettings != nil && c.NetworkSettings.Networks[kamal.Network] != nil)
	return out
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
	differs("image", s.Image == is.Image)
	differs("command", slices.Equal(s.Command, is.Command))
	differs("env", maps.Equal(s.Env, is.Env))
	differs("labels", maps.Equal(s.Labels, is.Labels))
	differs("secrets_as_files", slices.Equal(s.AsFiles, is.AsFiles))
	differs("volumes", slices.Equal(sameSet(s.Volumes, is.Volumes), is.Volumes))
	differs("logging", s.LogDriver == is.LogDriver && maps.Equal(s.LogOptions, is.LogOptions))
	differs("memory", s.Memory == is.Memory)
	differs("cpus", s.CPUs == is.CPUs)
	return out
}

func volumesOf(c docker.Container, prior []string) []string {
	var out []string
	for _, b := range c.HostConfig.Binds {
		if !assetVolume(b) || slices.Contains(prior, b) {
			out = append(out, b)
		}
	}
	return sameSet(out, prior)
}

// sameSet is list in order, or prior where it has the same elements: Docker's
// own order of mounts is by chance.
func sameSet(list, prior []string) []string {
	sorted := slices.Sorted(slices.Values(list))
	if slices.Equal(sorted, slices.Sorted(slices.Values(prior))) {
		return prior
	}
	return sorted
}

// Agreed is what all containers show alike; where they disagree, or where
// there are none, prior.
func Agreed(prior Spec, specs []Spec) Spec {
	out := prior
	agree := func(same func(a, b Spec) bool, take func(Spec)) {
		for _, s := range specs {
			if !same(s, specs[0]) {
				return
			}
		}
		if len(specs) > 0 {
			take(specs[0])
		}
	}
	agree(func(a, b Spec) bool { return a.Image == b.Image }, func(s Spec) { out.Image = s.Image })
	agree(func(a, b Spec) bool { return slices.Equal(a.Command, b.Command) }, func(s Spec) { out.Command = s.Command })
	agree(func(a, b Spec) bool { return maps.Equal(a.Env, b.Env) }, func(s Spec) { out.Env = s.Env })
	agree(func(a, b Spec) bool { return maps.Equal(a.Labels, b.Labels) }, func(s Spec) { out.Labels = s.Labels })
	agree(func(a, b Spec) bool { return slices.Equal(a.AsFiles, b.AsFiles) }, func(s Spec) { out.AsFiles = s.AsFiles })
	agree(func(a, b Spec) bool { return slices.Equal(a.Volumes, b.Volumes) }, func(s Spec) { out.Volumes = s.Volumes })
	agree(func(a, b Spec) bool { return a.LogDriver == b.LogDriver && maps.Equal(a.LogOptions, b.LogOptions) },
		func(s Spec) { out.LogDriver, out.LogOptions = s.LogDriver, s.LogOptions })
	agree(func(a, b Spec) bool { return a.Memory == b.Memory }, func(s Spec) { out.Memory = s.Memory })
	agree(func(a, b Spec) bool { return a.CPUs == b.CPUs }, func(s Spec) { out.CPUs = s.CPUs })
	return out
}
