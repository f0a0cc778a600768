package docker

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
)

// defaultShm is what docker gives for /dev/shm where nobody asks.
const defaultShm = 64 << 20

func api(fields ...string) []string { return fields }

// Arguments for docker run; none for the zero value.

func word(name, value string) []string {
	if value == "" {
		return nil
	}
	return []string{name, value}
}

func size(name string, bytes int64) []string {
	if bytes <= 0 {
		return nil
	}
	return []string{name, strconv.FormatInt(bytes, 10)}
}

func flag(name string, set bool) []string {
	if !set {
		return nil
	}
	return []string{name}
}

func each(name string, values []string) []string {
	var a []string
	for _, v := range values {
		a = append(a, name, v)
	}
	return a
}

func pairs(name string, values map[string]string) []string {
	var a []string
	for _, key := range slices.Sorted(maps.Keys(values)) {
		a = append(a, name, key+"="+values[key])
	}
	return a
}

func readUlimits(o *Options, c shown) {
	ulimits := map[string]string{}
	for _, u := range c.host.Ulimits {
		limit := fmt.Sprintf("%d:%d", u.Soft, u.Hard)
		if u.Soft == u.Hard && c.prior.Ulimits[u.Name] != limit {
			limit = fmt.Sprint(u.Soft)
		}
		if _, wanted := c.prior.Ulimits[u.Name]; wanted || !slices.Contains(c.defaults.Ulimits, u.Name) {
			ulimits[u.Name] = limit
		}
	}
	o.Ulimits = notEmpty(ulimits, c.prior.Ulimits)
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

// signal is a signal's name without SIG; docker keeps what it was given.
func signal(name string) string { return strings.TrimPrefix(strings.ToUpper(name), "SIG") }

// devices are devices with all that goes without saying, in order.
func devices(list []string) []string {
	var out []string
	for _, d := range list {
		parts := strings.Split(d, ":")
		if len(parts) == 1 {
			parts = append(parts, parts[0])
		}
		if len(parts) == 2 && !strings.HasPrefix(parts[1], "/") { // host:permissions
			parts = []string{parts[0], parts[0], parts[1]}
		}
		if len(parts) == 2 {
			parts = append(parts, "rwm")
		}
		out = append(out, strings.Join(parts, ":"))
	}
	slices.Sort(out)
	return out
}

// shortDevice is a device as people write it.
func shortDevice(d container.DeviceMapping) string {
	out := d.PathOnHost
	if d.PathInContainer != d.PathOnHost {
		out += ":" + d.PathInContainer
	}
	if d.CgroupPermissions != "rwm" && d.CgroupPermissions != "" {
		out += ":" + d.CgroupPermissions
	}
	return out
}

// gpus is a request for GPUs as --gpus takes it; "" for any other request.
func gpus(requests []container.DeviceRequest) string {
	if len(requests) != 1 || !OfGPUs(requests[0]) {
		return ""
	}
	switch r := requests[0]; {
	case len(r.DeviceIDs) > 0:
		return "device=" + strings.Join(r.DeviceIDs, ",")
	case r.Count < 0:
		return "all"
	default:
		return strconv.Itoa(r.Count)
	}
}

// OfGPUs says that --gpus, as Options have it, makes this request.
func OfGPUs(r container.DeviceRequest) bool {
	return (r.Driver == "" || r.Driver == "nvidia") && len(r.Options) == 0 &&
		len(r.Capabilities) == 1 && slices.Equal(r.Capabilities[0], []string{"gpu"})
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
