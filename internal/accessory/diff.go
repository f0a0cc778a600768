package accessory

import (
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/kamal"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/secret"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/workload"
)

// view is the accessory's container as package workload reads it. Its mounts
// are sorted by takeBinds.
func (o Observed) view() workload.View {
	v := workload.View{Image: o.Image, Defaults: o.Snapshot.Defaults(),
		OwnEnv:   func(name string) bool { return name == "KAMAL_HOST" },
		OwnLabel: func(name string) bool { return name == kamal.LabelService || name == kamal.LabelRun }}
	if o.Current != nil {
		v.Container, v.SecretNames = *o.Current, o.Snapshot.SecretNames(*o.Current)
	}
	return v
}

// FromContainer is the part of a spec that the container shows. Lists keep
// prior's spelling and order where they mean the same.
func FromContainer(o Observed, prior Spec) Spec {
	s, c := prior, o.Current
	if c == nil || c.Config == nil || c.HostConfig == nil {
		return s
	}
	s.Spec = workload.FromContainer(o.view(), prior.Spec)
	s.takeBinds(o, prior)
	return s
}

// Losses are sentences on what somebody gave the container that no attribute
// holds: the next one will not have it.
func (o Observed) Losses() []string { return workload.Losses(o.view()) }

// takeBinds sorts a container's mounts into volumes, directories and files.
func (s *Spec) takeBinds(o Observed, prior Spec) {
	home := o.Snapshot.Facts.Home
	left := sorted(workload.Binds(*o.Current)) // docker's order is by chance
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
		if has && f.same(is) || !f.Secret && (take(f.bind(prior, home)) || take(o.mountOf(f, left))) {
			s.Files = append(s.Files, f)
			delete(secrets, f.Path)
		}
	}
	more := slices.Collect(maps.Values(secrets))
	own := home + "/" + s.ContainerName() + "/"
	for _, b := range left {
		name, _, _ := strings.Cut(b, ":")
		switch {
		case anonymousName.MatchString(name):
		case strings.HasPrefix(b, home+"/"+s.filesDir()+"/"):
			more = append(more, o.otherFile(b, home+"/"+s.filesDir()+"/"))
		case o.isFile(b):
			more = append(more, o.kamalsFile(b))
		case strings.HasPrefix(b, own):
			s.Directories = append(s.Directories, b[len(own):])
		default:
			s.Volumes = append(s.Volumes, b)
		}
	}
	s.Files = append(s.Files, byPath(more)...)
}

// otherFile is a file of this provider's of which only the sum is known, from
// its mount.
func (o Observed) otherFile(bind, dir string) File {
	parts := strings.Split(bind, ":")
	sum, _, _ := strings.Cut(parts[0][len(dir):], "/")
	return File{Path: parts[1], Mode: "0644", Seen: Seen{Own: sum, Local: o.tilde(parts[0])}}
}

// isFile says that a mount is of a file as Kamal has them: below the home, at
// its own place, with no options. With options it stays what docker has.
func (o Observed) isFile(bind string) bool {
	parts := strings.Split(bind, ":")
	_, is := o.Snapshot.MountedFiles[parts[0]]
	return is && len(parts) == 2
}

// kamalsFile is a file that Kamal made, by what can be seen of it.
func (o Observed) kamalsFile(bind string) File {
	local, to, _ := strings.Cut(bind, ":")
	seen := o.Snapshot.MountedFiles[local]
	mode := seen.Mode
	if len(mode) == 3 {
		mode = "0" + mode
	}
	return File{Path: to, Mode: mode, Seen: Seen{Content: seen.Sum, Local: o.tilde(local)}}
}

// mountOf is the mount among binds by which Kamal shows the container this
// file, "" if there is none with its content.
func (o Observed) mountOf(f File, binds []string) string {
	for _, b := range binds {
		if o.isFile(b) && f.same(o.kamalsFile(b)) {
			return b
		}
	}
	return ""
}

// tilde is a path on the server for people.
func (o Observed) tilde(local string) string {
	if rest, ok := strings.CutPrefix(local, o.Snapshot.Facts.Home+"/"); ok {
		return "~/" + rest
	}
	return local
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
	out := s.Spec.Changes(is.Spec)
	if !slices.Equal(sorted(s.Directories), sorted(is.Directories)) {
		out = append(out, "directories")
	}
	if !slices.EqualFunc(byPath(s.Files), byPath(is.Files), File.same) {
		out = append(out, "files")
	}
	return out
}
