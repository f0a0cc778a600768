// Package docker speaks docker's command line: it builds argument lists and
// parses docker's JSON into Docker's own API types. It runs nothing.
package docker

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/image"
)

// A Container is what `docker inspect` tells about one container.
type Container struct {
	container.InspectResponse
}

// An Image is what `docker image inspect` tells about one image.
type Image struct {
	image.InspectResponse
}

// ParseContainers parses the JSON array that `docker inspect` prints. Empty
// input is an empty list: `docker inspect` is not run without ids.
func ParseContainers(data []byte) ([]Container, error) {
	var list []container.InspectResponse
	if err := parseList(data, &list); err != nil {
		return nil, fmt.Errorf("docker inspect: %w", err)
	}
	out := make([]Container, len(list))
	for i := range list {
		out[i] = Container{list[i]}
	}
	return out, nil
}

// ParseImages parses the JSON array that `docker image inspect` prints.
func ParseImages(data []byte) ([]Image, error) {
	var list []image.InspectResponse
	if err := parseList(data, &list); err != nil {
		return nil, fmt.Errorf("docker image inspect: %w", err)
	}
	out := make([]Image, len(list))
	for i := range list {
		out[i] = Image{list[i]}
	}
	return out, nil
}

func parseList(data []byte, list any) error {
	if len(strings.TrimSpace(string(data))) == 0 {
		return nil
	}
	return json.Unmarshal(data, list)
}

// ShortID is the 12 hex digits that docker prints and that kamal-proxy gets as
// a target (Kamal does the same; Docker's DNS resolves it, and goes on doing
// so after a restart or a rename).
func ShortID(id string) string {
	id = strings.TrimPrefix(id, "sha256:")
	if len(id) > 12 {
		return id[:12]
	}
	return id
}

// ShortID is the container's id as kamal-proxy gets it.
func (c Container) ShortID() string { return ShortID(c.ID) }

// ContainerName is the name without docker's leading slash.
func (c Container) ContainerName() string { return strings.TrimPrefix(c.Name, "/") }

// Running says whether the container runs now (a restarting or paused one counts, as in docker).
func (c Container) Running() bool { return c.State != nil && c.State.Running }

// Status is docker's word for the state: created, running, restarting, exited, dead …
func (c Container) Status() string {
	if c.State == nil {
		return "unknown"
	}
	return string(c.State.Status)
}

// CreatedAt is the time of `docker run`; zero if docker's answer has none.
func (c Container) CreatedAt() time.Time {
	t, _ := time.Parse(time.RFC3339Nano, c.Created)
	return t
}

// StartedAt is when the container was last started; zero if it never was.
func (c Container) StartedAt() time.Time {
	if c.State == nil {
		return time.Time{}
	}
	t, _ := time.Parse(time.RFC3339Nano, c.State.StartedAt) // the year 1 where it never was
	return t
}

// Labels are the container's labels, those of its image included.
func (c Container) Labels() map[string]string {
	if c.Config == nil {
		return nil
	}
	return c.Config.Labels
}

// Env is the container's environment by name, that of its image included.
func (c Container) Env() map[string]string {
	if c.Config == nil {
		return nil
	}
	return envMap(c.Config.Env)
}

// Address is the container's IPv4 address in a network, or "".
func (c Container) Address(network string) string {
	if c.NetworkSettings == nil {
		return ""
	}
	ep := c.NetworkSettings.Networks[network]
	if ep == nil || !ep.IPAddress.IsValid() {
		return ""
	}
	return ep.IPAddress.String()
}

// Env is the environment that the image sets; none for nil.
func (i *Image) Env() map[string]string {
	if i == nil || i.Config == nil {
		return nil
	}
	return envMap(i.Config.Env)
}

// Labels are the image's labels; none for nil.
func (i *Image) Labels() map[string]string {
	if i == nil || i.Config == nil {
		return nil
	}
	return i.Config.Labels
}

// Digest is the image's digest in the registry, as "sha256:…": the one of
// repository where it was pulled from there, else any, else "".
func (i Image) Digest(repository string) string {
	other := ""
	for _, d := range i.RepoDigests {
		repo, sum, ok := strings.Cut(d, "@")
		if !ok {
			continue
		}
		if repo == repository {
			return sum
		}
		other = sum
	}
	return other
}

func envMap(list []string) map[string]string {
	m := make(map[string]string, len(list))
	for _, kv := range list {
		k, v, _ := strings.Cut(kv, "=")
		m[k] = v
	}
	return m
}
