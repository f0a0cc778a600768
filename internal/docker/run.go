package docker

import (
	"maps"
	"slices"
	"strconv"
)

// A Run is a `docker run --detach` or `docker create`, as data.
type Run struct {
	Name, Image string
	Network     string
	Hostname    string
	Restart     string
	// Env goes into the argument list and is visible in `ps`: nothing secret.
	Env map[string]string
	// EnvNames are taken from the environment of the docker client, so that
	// their values are in no argument list.
	EnvNames []string
	Labels   map[string]string
	Volumes  []string
	// Publish holds port mappings as docker takes them: "127.0.0.1:80:80".
	Publish   []string
	Expose    []string
	LogDriver string
	LogOpts   map[string]string
	// Memory is in bytes, CPUs in CPUs; zero is no limit.
	Memory  int64
	CPUs    float64
	Command []string
	Options []string
}

// Argv is the whole `docker run`: the same Run gives the same bytes.
//
// Without --sig-proxy=false the client hands on the signal by which it is ended
// when its run is cut off, also with --detach: until docker has answered, which
// may take a while on a busy server. The container would stop as it starts, and
// by hand, so that docker does not start it again.
func (r Run) Argv() []string { return r.argv("docker", "run", "--detach", "--sig-proxy=false") }

// CreateArgv is the `docker create` that makes the container without starting it.
func (r Run) CreateArgv() []string { return r.argv("docker", "create") }

func (r Run) argv(a ...string) []string {
	add := func(flag, value string) {
		if value != "" {
			a = append(a, flag, value)
		}
	}
	add("--restart", r.Restart)
	add("--name", r.Name)
	add("--network", r.Network)
	add("--hostname", r.Hostname)
	for _, k := range slices.Sorted(maps.Keys(r.Env)) {
		add("--env", k+"="+r.Env[k])
	}
	for _, k := range slices.Sorted(slices.Values(r.EnvNames)) {
		add("--env", k)
	}
	add("--log-driver", r.LogDriver)
	for _, k := range slices.Sorted(maps.Keys(r.LogOpts)) {
		add("--log-opt", k+"="+r.LogOpts[k])
	}
	for _, v := range r.Volumes {
		add("--volume", v)
	}
	for _, p := range r.Publish {
		add("--publish", p)
	}
	for _, p := range r.Expose {
		add("--expose", p)
	}
	for _, k := range slices.Sorted(maps.Keys(r.Labels)) {
		add("--label", k+"="+r.Labels[k])
	}
	if r.Memory > 0 {
		add("--memory", strconv.FormatInt(r.Memory, 10))
	}
	if r.CPUs > 0 {
		add("--cpus", strconv.FormatFloat(r.CPUs, 'f', -1, 64))
	}
	a = append(a, r.Options...)
	a = append(a, r.Image)
	return append(a, r.Command...)
}
