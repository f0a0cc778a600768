package proxy

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/network"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/kamal"
)

// A ContainerState is the container of kamal-proxy as it was found.
type ContainerState struct {
	// ID is the container's id, "" where there is none. The rest is zero then.
	ID string
	// Spec is what it runs with. Its LogMaxSize is "" where its logs don't go
	// to files, or are not rotated.
	Spec ContainerSpec
	// Rotatable: its log driver knows how to rotate.
	Rotatable bool
	// Running: it answers, as far as docker can tell.
	Running bool
	// Faults are the ways in which it differs from what Kamal boots and no
	// attribute tells, in words, in a fixed order.
	Faults []string
}

// ObserveContainer finds kamal-proxy's container in a snapshot.
func ObserveContainer(snap *fleet.Snapshot) ContainerState {
	c := snap.Proxy.Container
	if c == nil || c.Config == nil || c.HostConfig == nil {
		return ContainerState{}
	}
	o := ContainerState{ID: c.ID, Running: c.Running() && !c.State.Paused && !c.State.Restarting}
	if ref, err := docker.ParseRef(c.Config.Image); err == nil {
		o.Spec.Image, o.Spec.Version = ref.Repository, ref.Tag
	}
	o.Rotatable = docker.LogsToFiles(c.HostConfig.LogConfig.Type)
	if o.Rotatable {
		o.Spec.LogMaxSize = c.HostConfig.LogConfig.Config["max-size"]
	}
	o.readPorts(c.HostConfig.PortBindings)
	o.readCommand(c.Config.Cmd)
	o.readWiring(c, snap.Facts.Home)
	o.readProxies(c, snap.Image(c.Image))
	return o
}

func (o *ContainerState) fault(format string, a ...any) {
	o.Faults = append(o.Faults, fmt.Sprintf(format, a...))
}

func (o *ContainerState) readPorts(bindings network.PortMap) {
	o.Spec.HTTPPort, o.Spec.BindAddresses = o.readPort(bindings, insideHTTP)
	var also []netip.Addr
	o.Spec.HTTPSPort, also = o.readPort(bindings, insideHTTPS)
	if !SameAddresses(o.Spec.BindAddresses, also) {
		o.fault("ports 80 and 443 are published on different addresses")
	}
	var others []string
	for p := range bindings {
		if p.Proto() != network.TCP || p.Num() != insideHTTP && p.Num() != insideHTTPS {
			others = append(others, p.String())
		}
	}
	slices.Sort(others)
	for _, p := range others {
		o.fault("it publishes %s", p)
	}
}

// readPort gives the host's port for one of the container's, 0 where it is not
// published, and the addresses.
func (o *ContainerState) readPort(bindings network.PortMap, inside uint16) (port int, on []netip.Addr) {
	p, _ := network.PortFrom(inside, network.TCP)
	ports := map[string]bool{}
	for _, b := range bindings[p] {
		ports[b.HostPort] = true
		port, _ = strconv.Atoi(b.HostPort)
		if b.HostIP.IsValid() {
			on = append(on, b.HostIP)
		}
	}
	if len(ports) > 1 {
		o.fault("port %d is published more than once", inside)
	}
	if len(bindings[p]) > len(on) { // one of them is on all addresses
		on = nil
	}
	return port, on
}

// readCommand reads `kamal-proxy run …`, the image's command too.
func (o *ContainerState) readCommand(cmd []string) {
	if len(cmd) < 2 || cmd[0] != "kamal-proxy" || cmd[1] != "run" {
		o.fault("its command is %q", strings.Join(cmd, " "))
		return
	}
	args := cmd[2:]
	for i := 0; i < len(args); i++ {
		name, value, given := strings.Cut(args[i], "=")
		switch name {
		case "--debug":
			o.Spec.Debug = !given || value == "true"
		case "--metrics-port", "--http-port", "--https-port":
			if !given && i+1 < len(args) {
				i++
				value = args[i]
			}
			n, _ := strconv.Atoi(value)
			switch {
			case name == "--metrics-port":
				o.Spec.MetricsPort = n
			case name == "--http-port" && n != insideHTTP, name == "--https-port" && n != insideHTTPS:
				o.fault("it listens on another port: %s=%d", name, n)
			}
		default:
			o.fault("its command has %s", args[i])
		}
	}
}

func (o *ContainerState) readWiring(c *docker.Container, home string) {
	if p := string(c.HostConfig.RestartPolicy.Name); p != restart {
		o.fault("its restart policy is %q", p)
	}
	if c.NetworkSettings == nil || c.NetworkSettings.Networks[kamal.Network] == nil {
		o.fault("it is not in the network %s", kamal.Network)
	}
	volume, dir := "", ""
	for _, m := range c.Mounts {
		switch m.Destination {
		case configMount:
			volume = m.Name
		case kamal.ProxyAppsConfigMount:
			dir = m.Source
		}
	}
	if volume != configVolume {
		o.fault("its volume is %q, not %s", volume, configVolume)
	}
	if dir != appsConfig(home) {
		o.fault("its directory for certificates and error pages is %q, not %s", dir, appsConfig(home))
	}
}

// readProxies finds the proxies that docker's client gave the container by the
// configuration of whoever ran it: kamal-proxy would ask them whether an app is
// healthy. What they are is not told: there may be a password in it.
func (o *ContainerState) readProxies(c *docker.Container, image *docker.Image) {
	var given map[string]string
	if image != nil {
		given = image.Env()
	}
	var names []string
	for name, value := range c.Env() {
		if was, has := given[name]; docker.IsProxyVariable(name) && !(has && was == value) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	if len(names) > 0 {
		o.fault("it has %s in its environment, so that it looks for the apps behind another proxy", strings.Join(names, ", "))
	}
}

// SameAddresses compares without regard to order.
func SameAddresses(a, b []netip.Addr) bool {
	sorted := func(list []netip.Addr) []netip.Addr {
		return slices.Compact(slices.SortedFunc(slices.Values(list), netip.Addr.Compare))
	}
	return slices.Equal(sorted(a), sorted(b))
}

// Same says whether two specs mean the same; rotate says whether log sizes count.
func (s ContainerSpec) Same(t ContainerSpec, rotate bool) bool {
	return docker.SameRef(s.Ref(), t.Ref()) && s.HTTPPort == t.HTTPPort && s.HTTPSPort == t.HTTPSPort &&
		SameAddresses(s.BindAddresses, t.BindAddresses) && s.MetricsPort == t.MetricsPort && s.Debug == t.Debug &&
		(!rotate || docker.SameLogSize(s.LogMaxSize, t.LogMaxSize))
}
