package proxy

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/mod/semver"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/kamal"
)

// What Kamal boots kamal-proxy with.
const (
	// MinVersion is the oldest version that Kamal 2.12 works with, and its default.
	MinVersion   = "v0.9.2"
	DefaultImage = "basecamp/kamal-proxy"

	configVolume = "kamal-proxy-config"
	configMount  = "/home/kamal-proxy/.config/kamal-proxy"
	restart      = "unless-stopped"
)

// The ports that kamal-proxy listens on inside its container. Kamal only ever
// changes those of the host.
const (
	insideHTTP  = 80
	insideHTTPS = 443
)

// A ContainerSpec is what the container of kamal-proxy shall be like.
type ContainerSpec struct {
	// Image is a repository without a tag, Version the tag.
	Image, Version      string
	HTTPPort, HTTPSPort int
	// BindAddresses are the host's addresses to publish the ports on; none is all.
	BindAddresses []netip.Addr
	// MetricsPort is where metrics are served inside the network kamal; 0 is nowhere.
	MetricsPort int
	// LogMaxSize is the size at which the log is rotated: "10m".
	LogMaxSize string
	Debug      bool
}

// DefaultContainer is kamal-proxy as Kamal boots it when nothing else is said.
var DefaultContainer = ContainerSpec{Image: DefaultImage, Version: MinVersion, HTTPPort: 80, HTTPSPort: 443, LogMaxSize: "10m"}

// Ref is the image to run.
func (s ContainerSpec) Ref() string { return s.Image + ":" + s.Version }

// CheckVersion says why Kamal would not work with a version: it reads the tag
// as a version number and compares it with MinVersion.
func CheckVersion(tag string) error {
	v := "v" + strings.TrimPrefix(tag, "v")
	if !semver.IsValid(v) || strings.Contains(v, "+") || semver.Canonical(v) != v {
		return fmt.Errorf("%q is no version of kamal-proxy as Kamal reads it: write a full version, as in %s (no latest, no edge, no digest)", tag, MinVersion)
	}
	if semver.Compare(v, MinVersion) < 0 {
		return fmt.Errorf("kamal-proxy %s is too old: Kamal needs %s or newer", tag, MinVersion)
	}
	return nil
}

// run is the container as docker makes it. home is the SSH user's, absolute:
// Kamal has its shell expand $PWD to it.
func (s ContainerSpec) run(name, home string, rotate bool) docker.Run {
	r := docker.Run{
		Name: name, Image: s.Ref(), Network: kamal.Network, Restart: restart,
		Volumes: []string{
			configVolume + ":" + configMount,
			appsConfig(home) + ":" + kamal.ProxyAppsConfigMount,
		},
		Publish: s.publish(),
		Command: s.command(),
	}
	if rotate {
		r.LogOpts = map[string]string{"max-size": s.LogMaxSize}
	}
	if s.MetricsPort != 0 {
		r.Expose = []string{strconv.Itoa(s.MetricsPort)}
	}
	return r
}

// appsConfig is the directory with certificates and error pages.
func appsConfig(home string) string {
	return strings.TrimSuffix(home, "/") + "/" + kamal.ProxyAppsConfigDir
}

func (s ContainerSpec) publish() []string {
	var out []string
	for _, p := range []struct{ host, inside int }{{s.HTTPPort, insideHTTP}, {s.HTTPSPort, insideHTTPS}} {
		if len(s.BindAddresses) == 0 {
			out = append(out, fmt.Sprintf("%d:%d", p.host, p.inside))
		}
		for _, a := range s.BindAddresses {
			out = append(out, netip.AddrPortFrom(a, uint16(p.host)).String()+":"+strconv.Itoa(p.inside))
		}
	}
	return out
}

// command is empty where the image's own does.
func (s ContainerSpec) command() []string {
	var flags []string
	if s.MetricsPort != 0 {
		flags = append(flags, "--metrics-port", strconv.Itoa(s.MetricsPort))
	}
	if s.Debug {
		flags = append(flags, "--debug")
	}
	if len(flags) == 0 {
		return nil
	}
	return append([]string{"kamal-proxy", "run"}, flags...)
}
