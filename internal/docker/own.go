package docker

import (
	"slices"
	"strings"
)

// What a container shows is partly its image's and partly the user's: these
// functions tell them apart, so that what docker and the image add by
// themselves is no drift.

// UsersOwn are the entries of have (variables or labels) that the user set:
// those of prior, and those that the image doesn't have like that; of tells
// what an image has. Where the image is gone from the server (nil) nobody can
// tell what is its, and those of prior are all.
func UsersOwn(have map[string]string, image *Image, of func(*Image) map[string]string, prior map[string]string, reserved func(string) bool) map[string]string {
	out := map[string]string{}
	for k, v := range have {
		own := false
		if _, wanted := prior[k]; wanted {
			own = true
		} else if image != nil && !reserved(k) {
			given, inherited := of(image)[k]
			own = !inherited || given != v
		}
		if own {
			out[k] = v
		}
	}
	if len(out) == 0 && prior == nil {
		return nil
	}
	return out
}

// CommandOf is the container's command, nil where it is the image's own. Where
// the image is gone from the server nobody can tell, and prior counts.
func CommandOf(c Container, image *Image, prior []string) []string {
	cmd := c.Config.Cmd
	if image == nil || image.Config == nil {
		if len(prior) == 0 {
			return prior
		}
		return cmd
	}
	if prior == nil && slices.Equal(cmd, image.Config.Cmd) {
		return nil
	}
	return cmd
}

// SameRef says whether two image references mean the same.
func SameRef(a, b string) bool {
	if a == b {
		return true
	}
	x, errX := ParseRef(a)
	y, errY := ParseRef(b)
	return errX == nil && errY == nil && x.FamiliarRepository() == y.FamiliarRepository() && x.Tag == y.Tag && x.Digest == y.Digest
}

// FindImage is the image that a reference names, nil if it isn't among images.
func FindImage(ref string, images []Image) *Image {
	r, err := ParseRef(ref)
	if err != nil {
		return nil
	}
	name := r.FamiliarRepository()
	for i, image := range images {
		if r.Digest != "" && slices.Contains(image.RepoDigests, name+"@"+r.Digest) ||
			r.Digest == "" && slices.Contains(image.RepoTags, name+":"+r.Tag) {
			return &images[i]
		}
	}
	return nil
}

// DigestOf is the image's digest in the registry that ref names, or its id
// where it has none.
func (i Image) DigestOf(ref string) string {
	repository := ""
	if r, err := ParseRef(ref); err == nil {
		repository = r.FamiliarRepository()
	}
	if d := i.Digest(repository); d != "" {
		return d
	}
	return i.ID
}

// Problem says why an image, called ref, cannot run with a command (nil: its
// own) on a server of that architecture, in words for people; "" where it can.
func (i Image) Problem(ref string, command []string, arch string) string {
	if i.Architecture != "" && arch != "" && i.Architecture != arch {
		return "the image " + ref + " is built for " + i.Os + "/" + i.Architecture + ", the server is " + arch +
			". Build it for the server, as in: docker build --platform linux/" + arch
	}
	if len(command) > 0 || i.Config == nil {
		return ""
	}
	words := append(slices.Clone(i.Config.Entrypoint), i.Config.Cmd...)
	if len(words) == 0 {
		return "the image " + ref + " has neither a CMD nor an ENTRYPOINT, so there is nothing to run. Give a command, or a CMD in the Dockerfile"
	}
	last := words[len(words)-1]
	if shell := last[strings.LastIndex(last, "/")+1:]; slices.Contains([]string{"irb", "bash", "sh", "ash", "python3", "python", "node"}, shell) && (len(words) == 1 || len(i.Config.Entrypoint) > 0 && len(i.Config.Cmd) == 1) {
		return "the command of the image " + ref + " is " + strings.Join(words, " ") +
			", which is the base image's: it ends at once where there is no terminal. Give a command, or a CMD in the Dockerfile"
	}
	return ""
}
