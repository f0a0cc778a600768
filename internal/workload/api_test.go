package workload

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
)

// meaningless are the fields of Docker's API that say nothing about what a
// container was asked to be, with the reason.
var meaningless = map[string]string{
	"HostConfig.ContainerIDFile":    "where the client wrote the id",
	"HostConfig.ConsoleSize":        "a terminal's",
	"HostConfig.CgroupnsMode":       "the daemon's default shows too: private on cgroup v2, host on v1",
	"HostConfig.Cgroup":             "set by no option of docker run",
	"HostConfig.Isolation":          "of Windows",
	"HostConfig.CPUCount":           "of Windows",
	"HostConfig.CPUPercent":         "of Windows",
	"HostConfig.IOMaximumIOps":      "of Windows",
	"HostConfig.IOMaximumBandwidth": "of Windows",
	"HostConfig.MaskedPaths":        "docker's own list, or what --privileged and --security-opt make of it",
	"HostConfig.ReadonlyPaths":      "docker's own list, or what --privileged and --security-opt make of it",
	"Config.AttachStdin":            "the client's",
	"Config.AttachStdout":           "the client's",
	"Config.AttachStderr":           "the client's",
	"Config.StdinOnce":              "the client's",
	"Config.ExposedPorts":           "says what listens, and opens nothing; a published port is in PortBindings",
	"Config.ArgsEscaped":            "of Windows",
	"Config.Volumes":                "the places of the image's anonymous volumes, which mounts show",
	"Config.NetworkDisabled":        "set by no option of docker run: --network none is in NetworkMode",
	"Config.OnBuild":                "the image's",
	"Config.Shell":                  "the image's",

	"EndpointSettings.NetworkID":           "what runs",
	"EndpointSettings.EndpointID":          "what runs",
	"EndpointSettings.Gateway":             "what runs",
	"EndpointSettings.IPAddress":           "what runs; one that was asked for is in IPAMConfig",
	"EndpointSettings.MacAddress":          "what runs and what was asked for look the same",
	"EndpointSettings.IPPrefixLen":         "what runs",
	"EndpointSettings.IPv6Gateway":         "what runs",
	"EndpointSettings.GlobalIPv6Address":   "what runs; one that was asked for is in IPAMConfig",
	"EndpointSettings.GlobalIPv6PrefixLen": "what runs",
	"EndpointSettings.DNSNames":            "made of name, id and aliases",
	"EndpointSettings.DriverOpts":          "of a network's driver: the bridge's has none but for names and addresses of interfaces",
	"EndpointSettings.GwPriority":          "which of several networks is the way out: told with the networks themselves",
}

// apiFields are the names of a struct's fields, those of embedded ones among them.
func apiFields(prefix string, t reflect.Type) []string {
	var names []string
	for i := range t.NumField() {
		if f := t.Field(i); f.Anonymous {
			names = append(names, apiFields(prefix, f.Type)...)
		} else {
			names = append(names, prefix+"."+f.Name)
		}
	}
	return names
}

// Whatever docker run can set is managed, told, or means nothing: a new version
// of Docker's API with a new field fails here.
func TestWhateverDockerRunCanSetIsManagedOrToldOrMeansNothing(t *testing.T) {
	t.Parallel()
	known := map[string]string{}
	claim := func(by string, fields []string) {
		for _, f := range fields {
			known[f] += by + ", "
		}
	}
	for _, f := range Fields {
		claim("the field "+f.Name, f.API)
	}
	for _, l := range losses {
		claim("a loss", l.api)
	}
	for f := range meaningless {
		if known[f] != "" {
			t.Errorf("%s is meaningless and %s", f, known[f])
		}
		claim("meaningless", []string{f})
	}
	all := slices.Concat(apiFields("HostConfig", reflect.TypeFor[container.HostConfig]()), apiFields("Config", reflect.TypeFor[container.Config]()),
		apiFields("EndpointSettings", reflect.TypeFor[network.EndpointSettings]()), []string{"NetworkSettings.Networks"})
	for _, f := range all {
		if known[f] == "" {
			t.Errorf("%s is neither in a field, nor told as a loss, nor meaningless", f)
		}
	}
	for _, f := range slices.Sorted(maps.Keys(known)) {
		if !slices.Contains(all, f) {
			t.Errorf("%s (%s) is not in Docker's API", f, strings.TrimSuffix(known[f], ", "))
		}
	}
}
