package workload

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/kamal"
)

// lossPrefix begins a sentence on what no attribute holds.
const lossPrefix = "a swap would lose: "

// IsLoss says that a sentence of drift tells a loss: what somebody gave a
// container that no attribute holds. By itself it is no reason to swap it.
func IsLoss(sentence string) bool { return strings.HasPrefix(sentence, lossPrefix) }

// A loss is something that docker run can set on a container and no attribute
// holds: the next container will not have it.
type loss struct {
	// api are the fields of Docker's API that show it.
	api []string
	// say is the option of docker run that made it, "" where there is none.
	say func(c seen) string
}

// seen is a container whose losses are told.
type seen struct {
	host     *container.HostConfig
	config   *container.Config
	image    *docker.Image // nil where it is not known
	networks map[string]*network.EndpointSettings
	View
}

// losses are all that Docker's API shows and no Field holds, but what is in meaningless.
var losses = []loss{
	{api("HostConfig.Privileged"), func(c seen) string { return set("--privileged", c.host.Privileged) }},
	{api("HostConfig.PidMode"), func(c seen) string { return text("--pid", string(c.host.PidMode)) }},
	{api("HostConfig.IpcMode"), func(c seen) string {
		if m := c.host.IpcMode; m == "private" || m == "shareable" {
			return ""
		}
		return text("--ipc", string(c.host.IpcMode))
	}},
	{api("HostConfig.UTSMode"), func(c seen) string { return text("--uts", string(c.host.UTSMode)) }},
	{api("HostConfig.UsernsMode"), func(c seen) string { return text("--userns", string(c.host.UsernsMode)) }},
	{api("HostConfig.CgroupParent"), func(c seen) string { return text("--cgroup-parent", c.host.CgroupParent) }},
	{api("HostConfig.GroupAdd"), func(c seen) string { return list("--group-add", c.host.GroupAdd) }},
	{api("HostConfig.CPUShares"), func(c seen) string { return number("--cpu-shares", c.host.CPUShares) }},
	{api("HostConfig.CPUPeriod"), func(c seen) string { return number("--cpu-period", c.host.CPUPeriod) }},
	{api("HostConfig.CPUQuota"), func(c seen) string { return number("--cpu-quota", c.host.CPUQuota) }},
	{api("HostConfig.CPURealtimePeriod"), func(c seen) string { return number("--cpu-rt-period", c.host.CPURealtimePeriod) }},
	{api("HostConfig.CPURealtimeRuntime"), func(c seen) string { return number("--cpu-rt-runtime", c.host.CPURealtimeRuntime) }},
	{api("HostConfig.CpusetCpus"), func(c seen) string { return text("--cpuset-cpus", c.host.CpusetCpus) }},
	{api("HostConfig.CpusetMems"), func(c seen) string { return text("--cpuset-mems", c.host.CpusetMems) }},
	{api("HostConfig.BlkioWeight"), func(c seen) string { return number("--blkio-weight", int64(c.host.BlkioWeight)) }},
	{api("HostConfig.BlkioWeightDevice"), func(c seen) string { return set("--blkio-weight-device", len(c.host.BlkioWeightDevice) > 0) }},
	{api("HostConfig.BlkioDeviceReadBps"), func(c seen) string { return set("--device-read-bps", len(c.host.BlkioDeviceReadBps) > 0) }},
	{api("HostConfig.BlkioDeviceWriteBps"), func(c seen) string { return set("--device-write-bps", len(c.host.BlkioDeviceWriteBps) > 0) }},
	{api("HostConfig.BlkioDeviceReadIOps"), func(c seen) string { return set("--device-read-iops", len(c.host.BlkioDeviceReadIOps) > 0) }},
	{api("HostConfig.BlkioDeviceWriteIOps"), func(c seen) string { return set("--device-write-iops", len(c.host.BlkioDeviceWriteIOps) > 0) }},
	{api("HostConfig.DeviceCgroupRules"), func(c seen) string { return list("--device-cgroup-rule", c.host.DeviceCgroupRules) }},
	{api("HostConfig.DeviceRequests"), func(c seen) string {
		other := len(c.host.DeviceRequests) > 1 || slices.ContainsFunc(c.host.DeviceRequests, func(r container.DeviceRequest) bool { return !docker.OfGPUs(r) })
		return set("its requests for devices", other)
	}},
	{api("HostConfig.MemorySwappiness"), func(c seen) string {
		if n := c.host.MemorySwappiness; n != nil && *n >= 0 { // -1 is what no one asked for
			return "--memory-swappiness " + strconv.FormatInt(*n, 10)
		}
		return ""
	}},
	{api("HostConfig.OomKillDisable"), func(c seen) string {
		return set("--oom-kill-disable", c.host.OomKillDisable != nil && *c.host.OomKillDisable)
	}},
	{api("HostConfig.OomScoreAdj"), func(c seen) string { return number("--oom-score-adj", int64(c.host.OomScoreAdj)) }},
	{api("HostConfig.AutoRemove"), func(c seen) string { return set("--rm", c.host.AutoRemove) }},
	{api("HostConfig.VolumeDriver"), func(c seen) string { return text("--volume-driver", c.host.VolumeDriver) }},
	{api("HostConfig.VolumesFrom"), func(c seen) string { return list("--volumes-from", c.host.VolumesFrom) }},
	{api("HostConfig.Mounts"), func(c seen) string {
		var all []string
		for _, m := range c.host.Mounts {
			if _, ok := asBind(m); !ok {
				all = append(all, fmt.Sprintf("type=%s,target=%s", m.Type, m.Target))
			}
		}
		return list("--mount", all)
	}},
	{api("HostConfig.Links"), func(c seen) string { return list("--link", c.host.Links) }},
	{api("HostConfig.DNSOptions"), func(c seen) string { return list("--dns-option", c.host.DNSOptions) }},
	{api("HostConfig.DNSSearch"), func(c seen) string { return list("--dns-search", c.host.DNSSearch) }},
	{api("HostConfig.PublishAllPorts"), func(c seen) string { return set("--publish-all", c.host.PublishAllPorts) }},
	{api("HostConfig.StorageOpt"), func(c seen) string { return table("--storage-opt", c.host.StorageOpt) }},
	{api("HostConfig.Annotations"), func(c seen) string { return table("--annotation", c.host.Annotations) }},
	{api("HostConfig.Runtime"), func(c seen) string {
		if slices.Contains([]string{"runc", "io.containerd.runc.v2", "io.containerd.runtime.v1.linux", c.Defaults.Runtime}, c.host.Runtime) {
			return ""
		}
		return text("--runtime", c.host.Runtime)
	}},
	{api("Config.Hostname"), func(c seen) string {
		if c.OwnHostname || c.config.Hostname == c.Container.ShortID() || c.host.NetworkMode == "host" || c.host.UTSMode == "host" {
			return ""
		}
		return text("--hostname", c.config.Hostname)
	}},
	{api("Config.Domainname"), func(c seen) string { return text("--domainname", c.config.Domainname) }},
	{api("Config.Tty"), func(c seen) string { return set("--tty", c.config.Tty) }},
	{api("Config.OpenStdin"), func(c seen) string { return set("--interactive", c.config.OpenStdin) }},
	{api("Config.WorkingDir"), func(c seen) string {
		if c.image == nil || c.image.Config == nil || c.config.WorkingDir == c.image.Config.WorkingDir {
			return ""
		}
		return text("--workdir", c.config.WorkingDir)
	}},
	{api("Config.Entrypoint"), func(c seen) string {
		if c.image == nil || c.image.Config == nil || slices.Equal(c.config.Entrypoint, c.image.Config.Entrypoint) {
			return ""
		}
		return "--entrypoint '" + strings.Join(c.config.Entrypoint, " ") + "'"
	}},
	{api("Config.Healthcheck"), func(c seen) string {
		var is, given []string
		if c.config.Healthcheck != nil {
			is = c.config.Healthcheck.Test
		}
		if c.image == nil || c.image.Config == nil {
			return ""
		}
		if c.image.Config.Healthcheck != nil {
			given = c.image.Config.Healthcheck.Test
		}
		return set("--health-cmd", !slices.Equal(is, given))
	}},
	{api("Config.StopTimeout"), func(c seen) string {
		if c.config.StopTimeout == nil {
			return ""
		}
		return "--stop-timeout " + strconv.Itoa(*c.config.StopTimeout)
	}},
	{api("NetworkSettings.Networks"), func(c seen) string {
		var others []string
		for _, name := range slices.Sorted(maps.Keys(c.networks)) {
			if mode := string(c.host.NetworkMode); name != mode && (name != "bridge" || mode != "default") && name != kamal.Network {
				others = append(others, name)
			}
		}
		return list("--network", others)
	}},
	{api("EndpointSettings.Aliases"), func(c seen) string {
		var all []string
		for _, e := range c.networks {
			for _, alias := range e.Aliases {
				if alias != c.Container.ShortID() && alias != c.Container.ContainerName() && alias != c.config.Hostname && !slices.Contains(all, alias) {
					all = append(all, alias)
				}
			}
		}
		return list("--network-alias", sorted(all))
	}},
	{api("EndpointSettings.IPAMConfig"), func(c seen) string {
		var all []string
		for _, e := range c.networks {
			if e.IPAMConfig != nil && e.IPAMConfig.IPv4Address.IsValid() {
				all = append(all, e.IPAMConfig.IPv4Address.String())
			}
		}
		return list("--ip", sorted(all))
	}},
	{api("EndpointSettings.Links"), func(c seen) string {
		var all []string
		for _, e := range c.networks {
			all = append(all, e.Links...)
		}
		return list("--link", sorted(all))
	}},
}

// Losses are sentences on what somebody gave the container that no attribute
// holds.
func Losses(v View) []string {
	c := seen{host: v.Container.HostConfig, config: v.Container.Config, image: v.Image, View: v}
	if c.host == nil || c.config == nil {
		return nil
	}
	if v.Container.NetworkSettings != nil {
		c.networks = v.Container.NetworkSettings.Networks
	}
	var out []string
	for _, l := range losses {
		if option := l.say(c); option != "" {
			out = append(out, lossPrefix+option)
		}
	}
	return out
}

// asBind is a mount as docker run --volume takes it; false for one that says more.
func asBind(m mount.Mount) (string, bool) {
	simple := m.Consistency == "" && m.ImageOptions == nil && m.TmpfsOptions == nil && m.ClusterOptions == nil
	switch m.Type {
	case mount.TypeBind:
		simple = simple && (m.BindOptions == nil || *m.BindOptions == mount.BindOptions{} || *m.BindOptions == mount.BindOptions{CreateMountpoint: true})
	case mount.TypeVolume:
		v := m.VolumeOptions
		simple = simple && m.Source != "" && (v == nil || !v.NoCopy && v.Subpath == "" && v.DriverConfig == nil)
	default:
		return "", false
	}
	bind := m.Source + ":" + m.Target
	if m.ReadOnly {
		bind += ":ro"
	}
	return bind, simple
}

func set(option string, is bool) string {
	if !is {
		return ""
	}
	return option
}

func text(option, value string) string {
	if value == "" {
		return ""
	}
	return option + " " + value
}

func number(option string, n int64) string {
	if n == 0 {
		return ""
	}
	return option + " " + strconv.FormatInt(n, 10)
}

func list(option string, values []string) string {
	return text(option, strings.Join(values, " "+option+" "))
}

func table(option string, values map[string]string) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(values)) {
		all = append(all, name+"="+values[name])
	}
	return list(option, all)
}
