package docker

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Restart is the restart policy of containers that don't ask for another one: Kamal's.
const Restart = "unless-stopped"

// defaultShm is what docker gives for /dev/shm where nobody asks.
const defaultShm = 64 << 20

// Options are what docker can set on a container beside the usual; zero values
// are docker's defaults.
type Options struct {
	// ShmSize is in bytes.
	ShmSize int64
	// Ulimits are by name, "soft" or "soft:hard".
	Ulimits map[string]string
	User    string
	// Init runs a small init as process 1, which reaps zombies.
	Init     bool
	ReadOnly bool
	// CapAdd and CapDrop are capabilities, with or without CAP_.
	CapAdd, CapDrop []string
	Sysctls         map[string]string
	// Tmpfs are by path, with their mount options.
	Tmpfs map[string]string
	// AddHosts are "name:address".
	AddHosts    []string
	SecurityOpt []string
	// Restart is a restart policy, "" for the constant Restart.
	Restart string
}

// Argv are the options for docker run, but Restart, which Run has a field for.
func (o Options) Argv() []string {
	var a []string
	add := func(flag, value string) { a = append(a, flag, value) }
	if o.ShmSize > 0 {
		add("--shm-size", fmt.Sprint(o.ShmSize))
	}
	for _, name := range slices.Sorted(maps.Keys(o.Ulimits)) {
		add("--ulimit", name+"="+o.Ulimits[name])
	}
	if o.User != "" {
		add("--user", o.User)
	}
	if o.Init {
		a = append(a, "--init")
	}
	if o.ReadOnly {
		a = append(a, "--read-only")
	}
	for _, c := range o.CapAdd {
		add("--cap-add", c)
	}
	for _, c := range o.CapDrop {
		add("--cap-drop", c)
	}
	for _, name := range slices.Sorted(maps.Keys(o.Sysctls)) {
		add("--sysctl", name+"="+o.Sysctls[name])
	}
	for _, path := range slices.Sorted(maps.Keys(o.Tmpfs)) {
		add("--tmpfs", strings.TrimSuffix(path+":"+o.Tmpfs[path], ":"))
	}
	for _, h := range o.AddHosts {
		add("--add-host", h)
	}
	for _, s := range o.SecurityOpt {
		add("--security-opt", s)
	}
	return a
}

// RestartPolicy is the policy for docker run --restart.
func (o Options) RestartPolicy() string {
	if o.Restart == "" {
		return Restart
	}
	return o.Restart
}

// OptionsOf are the options that a container shows. What is the image's own or
// docker's default is left out unless prior has it; what means the same as in
// prior keeps prior's spelling. daemonUlimits are the names of those that the
// daemon gives to every container.
func OptionsOf(c Container, image *Image, daemonUlimits []string, prior Options) Options {
	h := c.HostConfig
	o := Options{
		ShmSize: h.ShmSize, User: c.Config.User, Init: h.Init != nil && *h.Init, ReadOnly: h.ReadonlyRootfs,
		CapAdd: same(capabilities(h.CapAdd), prior.CapAdd, capabilities), CapDrop: same(capabilities(h.CapDrop), prior.CapDrop, capabilities),
		Sysctls: notEmpty(h.Sysctls, prior.Sysctls), Tmpfs: notEmpty(h.Tmpfs, prior.Tmpfs),
		AddHosts: same(h.ExtraHosts, prior.AddHosts, sorted), SecurityOpt: same(h.SecurityOpt, prior.SecurityOpt, sorted),
	}
	if o.ShmSize == defaultShm && prior.ShmSize == 0 {
		o.ShmSize = 0
	}
	if prior.User == "" && image != nil && image.Config != nil && o.User == image.Config.User {
		o.User = ""
	}
	ulimits := map[string]string{}
	for _, u := range h.Ulimits {
		limit := fmt.Sprintf("%d:%d", u.Soft, u.Hard)
		if u.Soft == u.Hard && prior.Ulimits[u.Name] != limit {
			limit = fmt.Sprint(u.Soft)
		}
		if _, wanted := prior.Ulimits[u.Name]; wanted || !slices.Contains(daemonUlimits, u.Name) {
			ulimits[u.Name] = limit
		}
	}
	o.Ulimits = notEmpty(ulimits, prior.Ulimits)
	o.Restart = string(h.RestartPolicy.Name)
	if n := h.RestartPolicy.MaximumRetryCount; n > 0 {
		o.Restart += fmt.Sprintf(":%d", n)
	}
	if o.Restart == prior.RestartPolicy() || o.Restart == "" && prior.Restart == "no" {
		o.Restart = prior.Restart
	} else if o.Restart == "" {
		o.Restart = "no"
	}
	return o
}

// Equal says that two Options make the same container.
func (o Options) Equal(p Options) bool {
	return o.ShmSize == p.ShmSize && maps.Equal(o.Ulimits, p.Ulimits) && o.User == p.User && o.Init == p.Init && o.ReadOnly == p.ReadOnly &&
		slices.Equal(capabilities(o.CapAdd), capabilities(p.CapAdd)) && slices.Equal(capabilities(o.CapDrop), capabilities(p.CapDrop)) &&
		maps.Equal(o.Sysctls, p.Sysctls) && maps.Equal(o.Tmpfs, p.Tmpfs) &&
		slices.Equal(sorted(o.AddHosts), sorted(p.AddHosts)) && slices.Equal(sorted(o.SecurityOpt), sorted(p.SecurityOpt)) &&
		o.RestartPolicy() == p.RestartPolicy()
}

// capabilities are capabilities as people write them, in order. Docker's own
// spelling, with or without CAP_, depends on its version.
func capabilities(list []string) []string {
	var out []string
	for _, c := range list {
		out = append(out, strings.TrimPrefix(strings.ToUpper(c), "CAP_"))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func sorted(list []string) []string { return slices.Sorted(slices.Values(list)) }

// same is list, or prior where both mean the same.
func same(list, prior []string, normal func([]string) []string) []string {
	if slices.Equal(normal(list), normal(prior)) {
		return prior
	}
	return list
}

// notEmpty is m, or prior where both have the same entries: prior may be nil.
func notEmpty(m, prior map[string]string) map[string]string {
	if maps.Equal(m, prior) {
		return prior
	}
	return m
}
