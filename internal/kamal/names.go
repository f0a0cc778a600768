// Package kamal holds Kamal's conventions on a server: names, labels, paths,
// the deploy lock, the audit log; and beside them the provider's own marks.
// Its facts come from Kamal 2.12 as it was read and run.
package kamal

import (
	"regexp"
	"strings"
)

// Network is the docker network that Kamal's containers share.
const Network = "kamal"

// NamePattern is what a service, role or destination may be called: it becomes
// a part of container names, label values and paths.
var NamePattern = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_-]*$`)

// The labels by which Kamal finds an app's containers. The destination label
// must exist on every container, empty where there is no destination: without
// it Kamal does not see the container at all.
const (
	LabelService     = "service"
	LabelRole        = "role"
	LabelDestination = "destination"
)

// LabelRun is the provider's own label: the run that started the container, by
// which a run tells its own from one that somebody else gave the same name.
const LabelRun = "kamal-terraform.run"

// ReservedLabels can't be set by users.
var ReservedLabels = []string{LabelService, LabelRole, LabelDestination, LabelRun}

// A Role is one role of an app, in one destination if it has any.
type Role struct {
	Service, Role, Destination string
}

// App is Kamal's name for the app and its destination: SVC[-DEST]. Lock, audit
// log and files are per App.
func (r Role) App() string {
	if r.Destination == "" {
		return r.Service
	}
	return r.Service + "-" + r.Destination
}

// Prefix is SVC-ROLE[-DEST]: the start of the container names and the name of
// the role's service at kamal-proxy.
func (r Role) Prefix() string {
	p := r.Service + "-" + r.Role
	if r.Destination != "" {
		p += "-" + r.Destination
	}
	return p
}

// ContainerName is SVC-ROLE[-DEST]-VERSION.
func (r Role) ContainerName(version string) string { return r.Prefix() + "-" + version }

// Labels are those by which Kamal finds the role's containers.
func (r Role) Labels() map[string]string {
	return map[string]string{LabelService: r.Service, LabelRole: r.Role, LabelDestination: r.Destination}
}

// Owns says whether the container of that name and labels is one of the
// role's: the name keeps asset and exec containers out.
func (r Role) Owns(name string, labels map[string]string) bool {
	for k, want := range r.Labels() {
		if v, ok := labels[k]; !ok || v != want {
			return false
		}
	}
	return strings.HasPrefix(name, r.Prefix()+"-")
}

// Version is the version in a container's name, as Kamal reads it, without
// what a replaced container's name has at its end.
func (r Role) Version(containerName string) string {
	v := strings.TrimPrefix(containerName, r.Prefix()+"-")
	v, _, _ = strings.Cut(v, "_replaced_")
	return v
}

// LatestTag is the tag that marks the image in use: latest[-DEST].
func (r Role) LatestTag() string {
	if r.Destination == "" {
		return "latest"
	}
	return "latest-" + r.Destination
}

// Hostname is the --hostname of a container of the role on a server: the
// first 51 characters of the server's address, a dash and 12 random hex digits.
func Hostname(address, random12 string) string {
	if len(address) > 51 {
		address = address[:51]
	}
	address = strings.TrimRight(address, ".")
	return strings.Map(func(c rune) rune {
		if c == ':' || c == '[' || c == ']' || c == '%' {
			return '-'
		}
		return c
	}, address) + "-" + random12
}
