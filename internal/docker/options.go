package docker

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
)

// Restart is the restart policy of containers that don't ask for another one: Kamal's.
const Restart = "unless-stopped"

// Unlimited is the MemorySwap of a container that may swap as much as it likes.
const Unlimited = -1

// Options are what docker can set on a container beside the usual; zero values
// are docker's defaults. Each has a line in the table options.
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
	// Devices are "host[:container[:permissions]]".
	Devices []string
	// GPUs is "all", a number, or "device=ID[,ID…]".
	GPUs      string
	PidsLimit int64
	DNS       []string
	// MemoryReservation is in bytes, as MemorySwap: memory and swap together, or Unlimited.
	MemoryReservation, MemorySwap int64
	// StopSignal is as "SIGQUIT" or "QUIT".
	StopSignal string
	// Restart is a restart policy, "" for the constant Restart.
	Restart string
}

// Defaults are what a daemon gives to every container that doesn't ask for
// something else. Where a container has it, nobody can tell who wanted it.
type Defaults struct {
	// LogOptions and Ulimits are names.
	LogOptions, Ulimits []string
	// ShmSize is in bytes, 0 for docker's own 64 MB; Runtime is "" for runc.
	ShmSize int64
	Runtime string
}

// shown is a container whose options are read.
type shown struct {
	host     *container.HostConfig
	config   *container.Config
	image    *Image
	defaults Defaults
	prior    Options
}

// An option is one of Options: how it is set, what shows it, when it is the same.
type option struct {
	// name is the attribute's.
	name string
	// api are the fields of Docker's API that show it.
	api  []string
	argv func(o Options) []string
	// read leaves out what is the image's or a default unless prior has it, and
	// keeps prior's spelling where it means the same.
	read func(o *Options, c shown)
	same func(a, b Options) bool
}

// options has every field of Options: a test fails for one that is missing.
var options = []option{
	{"shm_size", api("HostConfig.ShmSize"),
		func(o Options) []string { return size("--shm-size", o.ShmSize) },
		func(o *Options, c shown) {
			if o.ShmSize = c.host.ShmSize; o.ShmSize != c.prior.ShmSize && (o.ShmSize == defaultShm || o.ShmSize == c.defaults.ShmSize) {
				o.ShmSize = 0
			}
		},
		func(a, b Options) bool { return a.ShmSize == b.ShmSize }},
	{"ulimits", api("HostConfig.Ulimits"),
		func(o Options) []string { return pairs("--ulimit", o.Ulimits) },
		readUlimits,
		func(a, b Options) bool { return maps.Equal(a.Ulimits, b.Ulimits) }},
	{"user", api("Config.User"),
		func(o Options) []string { return word("--user", o.User) },
		func(o *Options, c shown) {
			if o.User = c.config.User; c.prior.User == "" && c.image != nil && c.image.Config != nil && o.User == c.image.Config.User {
				o.User = ""
			}
		},
		func(a, b Options) bool { return a.User == b.User }},
	{"init", api("HostConfig.Init"),
		func(o Options) []string { return flag("--init", o.Init) },
		func(o *Options, c shown) { o.Init = c.host.Init != nil && *c.host.Init },
		func(a, b Options) bool { return a.Init == b.Init }},
	{"read_only", api("HostConfig.ReadonlyRootfs"),
		func(o Options) []string { return flag("--read-only", o.ReadOnly) },
		func(o *Options, c shown) { o.ReadOnly = c.host.ReadonlyRootfs },
		func(a, b Options) bool { return a.ReadOnly == b.ReadOnly }},
	{"cap_add", api("HostConfig.CapAdd"),
		func(o Options) []string { return each("--cap-add", o.CapAdd) },
		func(o *Options, c shown) { o.CapAdd = same(capabilities(c.host.CapAdd), c.prior.CapAdd, capabilities) },
		func(a, b Options) bool { return slices.Equal(capabilities(a.CapAdd), capabilities(b.CapAdd)) }},
	{"cap_drop", api("HostConfig.CapDrop"),
		func(o Options) []string { return each("--cap-drop", o.CapDrop) },
		func(o *Options, c shown) {
			o.CapDrop = same(capabilities(c.host.CapDrop), c.prior.CapDrop, capabilities)
		},
		func(a, b Options) bool { return slices.Equal(capabilities(a.CapDrop), capabilities(b.CapDrop)) }},
	{"sysctls", api("HostConfig.Sysctls"),
		func(o Options) []string { return pairs("--sysctl", o.Sysctls) },
		func(o *Options, c shown) { o.Sysctls = notEmpty(c.host.Sysctls, c.prior.Sysctls) },
		func(a, b Options) bool { return maps.Equal(a.Sysctls, b.Sysctls) }},
	{"tmpfs", api("HostConfig.Tmpfs"),
		func(o Options) []string {
			var list []string
			for _, path := range slices.Sorted(maps.Keys(o.Tmpfs)) {
				list = append(list, strings.TrimSuffix(path+":"+o.Tmpfs[path], ":"))
			}
			return each("--tmpfs", list)
		},
		func(o *Options, c shown) { o.Tmpfs = notEmpty(c.host.Tmpfs, c.prior.Tmpfs) },
		func(a, b Options) bool { return maps.Equal(a.Tmpfs, b.Tmpfs) }},
	{"add_hosts", api("HostConfig.ExtraHosts"),
		func(o Options) []string { return each("--add-host", o.AddHosts) },
		func(o *Options, c shown) { o.AddHosts = same(c.host.ExtraHosts, c.prior.AddHosts, sorted) },
		func(a, b Options) bool { return slices.Equal(sorted(a.AddHosts), sorted(b.AddHosts)) }},
	{"security_opt", api("HostConfig.SecurityOpt"),
		func(o Options) []string { return each("--security-opt", o.SecurityOpt) },
		func(o *Options, c shown) { o.SecurityOpt = same(c.host.SecurityOpt, c.prior.SecurityOpt, sorted) },
		func(a, b Options) bool { return slices.Equal(sorted(a.SecurityOpt), sorted(b.SecurityOpt)) }},
	{"devices", api("HostConfig.Devices"),
		func(o Options) []string { return each("--device", o.Devices) },
		func(o *Options, c shown) {
			var list []string
			for _, d := range c.host.Devices {
				list = append(list, shortDevice(d))
			}
			o.Devices = same(list, c.prior.Devices, devices)
		},
		func(a, b Options) bool { return slices.Equal(devices(a.Devices), devices(b.Devices)) }},
	{"gpus", api("HostConfig.DeviceRequests"),
		func(o Options) []string {
			if strings.Contains(o.GPUs, ",") { // its value is a line of CSV
				return word("--gpus", `"`+o.GPUs+`"`)
			}
			return word("--gpus", o.GPUs)
		},
		func(o *Options, c shown) { o.GPUs = gpus(c.host.DeviceRequests) },
		func(a, b Options) bool { return a.GPUs == b.GPUs }},
	{"pids_limit", api("HostConfig.PidsLimit"),
		func(o Options) []string {
			if o.PidsLimit <= 0 {
				return nil
			}
			return word("--pids-limit", strconv.FormatInt(o.PidsLimit, 10))
		},
		func(o *Options, c shown) {
			o.PidsLimit = 0
			if n := c.host.PidsLimit; n != nil && *n > 0 { // -1 and 0 are none
				o.PidsLimit = *n
			}
		},
		func(a, b Options) bool { return a.PidsLimit == b.PidsLimit }},
	{"dns", api("HostConfig.DNS"),
		func(o Options) []string { return each("--dns", o.DNS) },
		func(o *Options, c shown) {
			o.DNS = nil
			for _, a := range c.host.DNS {
				o.DNS = append(o.DNS, a.String())
			}
			if slices.Equal(o.DNS, c.prior.DNS) { // they are asked in this order
				o.DNS = c.prior.DNS
			}
		},
		func(a, b Options) bool { return slices.Equal(a.DNS, b.DNS) }},
	{"memory_reservation", api("HostConfig.MemoryReservation"),
		func(o Options) []string { return size("--memory-reservation", o.MemoryReservation) },
		func(o *Options, c shown) { o.MemoryReservation = c.host.MemoryReservation },
		func(a, b Options) bool { return a.MemoryReservation == b.MemoryReservation }},
	{"memory_swap", api("HostConfig.MemorySwap"),
		func(o Options) []string {
			if o.MemorySwap == Unlimited {
				return word("--memory-swap", "-1")
			}
			return size("--memory-swap", o.MemorySwap)
		},
		func(o *Options, c shown) {
			// Twice the memory is docker's default, unlimited that of a kernel
			// which doesn't count swap: it drops what it can't do.
			o.MemorySwap = c.host.MemorySwap
			if o.MemorySwap == Unlimited && c.host.Memory > 0 {
				o.MemorySwap = c.prior.MemorySwap
			} else if o.MemorySwap != c.prior.MemorySwap && o.MemorySwap == 2*c.host.Memory {
				o.MemorySwap = 0
			}
		},
		func(a, b Options) bool { return a.MemorySwap == b.MemorySwap }},
	{"stop_signal", api("Config.StopSignal"),
		func(o Options) []string { return word("--stop-signal", o.StopSignal) },
		func(o *Options, c shown) {
			o.StopSignal = c.config.StopSignal
			usual := "SIGTERM"
			if c.image != nil && c.image.Config != nil && c.image.Config.StopSignal != "" {
				usual = c.image.Config.StopSignal
			}
			switch {
			case signal(o.StopSignal) == signal(c.prior.StopSignal):
				o.StopSignal = c.prior.StopSignal
			case signal(o.StopSignal) == signal(usual):
				o.StopSignal = ""
			}
		},
		func(a, b Options) bool { return signal(a.StopSignal) == signal(b.StopSignal) }},
	{"restart", api("HostConfig.RestartPolicy"),
		func(Options) []string { return nil }, // Run has a field for it
		func(o *Options, c shown) {
			o.Restart = string(c.host.RestartPolicy.Name)
			if n := c.host.RestartPolicy.MaximumRetryCount; n > 0 {
				o.Restart += fmt.Sprintf(":%d", n)
			}
			if o.Restart == c.prior.RestartPolicy() || o.Restart == "" && c.prior.Restart == "no" {
				o.Restart = c.prior.Restart
			} else if o.Restart == "" {
				o.Restart = "no"
			}
		},
		func(a, b Options) bool { return a.RestartPolicy() == b.RestartPolicy() }},
}

// OptionFields are the fields of Docker's API that Options hold, by the option's name.
func OptionFields() map[string][]string {
	all := map[string][]string{}
	for _, o := range options {
		all[o.name] = o.api
	}
	return all
}

// Argv are the options for docker run, but Restart, which Run has a field for.
func (o Options) Argv() []string {
	var a []string
	for _, option := range options {
		a = append(a, option.argv(o)...)
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
// a default is left out unless prior has it; what means the same as in prior
// keeps prior's spelling.
func OptionsOf(c Container, image *Image, defaults Defaults, prior Options) Options {
	var o Options
	for _, option := range options {
		option.read(&o, shown{c.HostConfig, c.Config, image, defaults, prior})
	}
	return o
}

// Equal says that two Options make the same container.
func (o Options) Equal(p Options) bool {
	return !slices.ContainsFunc(options, func(option option) bool { return !option.same(o, p) })
}
