package fleet

import (
	"path"
	"slices"
	"strings"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/secret"
)

// Secrets are the values that may be secret in what a container runs with: its
// environment by name, files under secret.MountPoint by name too, and other
// secret files by the path at which the container sees them.
func (s *Snapshot) Secrets(c docker.Container) map[string]string {
	values := c.Env()
	if values == nil {
		values = map[string]string{}
	}
	for _, m := range s.SecretMounts(c) {
		if content, ok := s.SecretFiles[m.Path]; ok {
			values[m.Destination] = content
			continue
		}
		for file, content := range s.SecretFiles {
			if path.Dir(file) == m.Path {
				values[path.Base(file)] = content
			}
		}
	}
	return values
}

// SecretNames are the names of the files under secret.MountPoint that a
// container sees, in no order.
func (s *Snapshot) SecretNames(c docker.Container) []string {
	var names []string
	for _, m := range s.SecretMounts(c) {
		for file := range s.SecretFiles {
			if m.Destination == secret.MountPoint && path.Dir(file) == m.Path {
				names = append(names, path.Base(file))
			}
		}
	}
	return names
}

// A SecretMount is where a container sees a directory of secret files, or one file.
type SecretMount struct {
	// Path is relative to the SSH user's home; Base is its directory's base name.
	Path, Base  string
	Destination string
}

// SecretMounts are the mounts of a container that show it secret files.
func (s *Snapshot) SecretMounts(c docker.Container) []SecretMount {
	if c.HostConfig == nil {
		return nil
	}
	var out []SecretMount
	for _, bind := range c.HostConfig.Binds {
		parts := strings.Split(bind, ":")
		own, ok := strings.CutPrefix(parts[0], s.Facts.Home+"/")
		if !ok || len(parts) < 2 {
			continue
		}
		if base, ok := secret.InDir(own); ok {
			out = append(out, SecretMount{Path: own, Base: base, Destination: parts[1]})
		}
	}
	return out
}

// SecretDirs are the base names of the directories of secret files that belong
// to containers of owner, in no order. See secret.NewMount.
func (s *Snapshot) SecretDirs(app, owner string) []string {
	var dirs []string
	for file := range s.SecretFiles {
		dir := path.Dir(file)
		if base := path.Base(dir); secret.OwnedBy(dir, app, owner) && !slices.Contains(dirs, base) {
			dirs = append(dirs, base)
		}
	}
	return dirs
}
