package proxy

import (
	"cmp"
	"net"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/kamal"
)

// An Instance is a route as one server has it.
type Instance struct {
	// Route is what the entry says; DeployTimeout and DrainTimeout are zero.
	// App is taken from the labels of the container it points at.
	Route Route
	// Target is where the traffic goes: "ID:PORT", several separated by commas.
	Target string
	// Stray says that the traffic doesn't go to one running container.
	Stray bool
	// Own says that it goes to one of the service's own, by its labels.
	Own   bool
	State PauseState
	// Machine is the server's machine-id.
	Machine string
}

// Shown is the target for the state: as "SERVICE:PORT" where it is the service's
// running container, whichever that is now. A deploy of the role moves the
// traffic, and is no change of the route.
func (i *Instance) Shown() string {
	if _, port, ok := strings.Cut(i.Target, ":"); ok && i.Own && !i.Stray {
		return i.Route.Service + ":" + port
	}
	return i.Target
}

// Drift names what isn't as r says.
func (i *Instance) Drift(r Route) []string {
	drift := Diff(r, i.Route)
	if i.State == Paused && r.Maintenance == nil {
		drift = append(drift, "maintenance")
	}
	// In maintenance nothing goes to the target, and an app that is down is a reason for it.
	if i.Stray && r.Maintenance == nil {
		drift = append(drift, "target")
	}
	return drift
}

// ObserveRoute finds a service's route in a snapshot, nil if kamal-proxy has
// none or isn't there.
func ObserveRoute(service string, snap *fleet.Snapshot) (*Instance, error) {
	if snap.Proxy.Container == nil {
		return nil, nil
	}
	entries, err := ParseState(snap.Proxy.State)
	if err != nil {
		return nil, err
	}
	e := Find(entries, service)
	if e == nil {
		return nil, nil
	}
	return e.instance(snap), nil
}

func (e *Entry) instance(snap *fleet.Snapshot) *Instance {
	o, to := e.Options, e.TargetOptions
	i := &Instance{Target: strings.Join(e.ActiveTargets, ","), State: e.PauseController.State, Machine: snap.Facts.MachineID}
	i.Route = Route{
		Service: e.Name, AppPort: e.port(), Health: to.HealthCheck.Health(),
		PathPrefixes: o.PathPrefixes, StripPathPrefix: o.StripPrefix, CanonicalHost: o.CanonicalHost,
		ForwardHeaders: to.ForwardHeaders, ResponseTimeout: to.ResponseTimeout,
		Buffering: Buffering{
			Requests: to.BufferRequests, Responses: to.BufferResponses, Memory: to.MaxMemoryBufferSize,
			MaxRequestBody: to.MaxRequestBodySize, MaxResponseBody: to.MaxResponseBodySize,
		},
		LogRequestHeaders: to.LogRequestHeaders, LogResponseHeaders: to.LogResponseHeaders,
	}
	if len(o.Hosts) > 1 || o.Hosts[0] != "" {
		i.Route.Hosts = o.Hosts
	}
	if e.Root() && o.TLSEnabled {
		i.Route.TLS = &TLS{
			ACME: o.TLSCertificatePath == "", Staging: o.ACMEDirectory == ACMEStaging, Redirect: o.TLSRedirect,
			Certificate: snap.Certificates[hostPath(o.TLSCertificatePath)],
		}
	}
	if i.State == Stopped {
		i.Route.Maintenance = &Maintenance{Message: e.PauseController.StopMessage}
	}
	c := e.container(snap)
	i.Stray = c == nil || !c.Running()
	if c != nil {
		r, ok := roleOf(*c)
		if ok {
			i.Route.App = r.App()
		}
		i.Own = ok && r.Prefix() == e.Name || c.Labels()[kamal.LabelService] == e.Name
	}
	return i
}

// container is the one container that the traffic goes to, nil if it is gone or not one.
func (e *Entry) container(snap *fleet.Snapshot) *docker.Container {
	if len(e.ActiveTargets) != 1 {
		return nil
	}
	id, _, _ := strings.Cut(e.ActiveTargets[0], ":")
	return snap.Container(id)
}

// port is the target's; kamal-proxy's default is 80.
func (e *Entry) port() int {
	if len(e.ActiveTargets) == 0 {
		return 0
	}
	if _, p, err := net.SplitHostPort(e.ActiveTargets[0]); err == nil {
		n, _ := strconv.Atoi(p)
		return n
	}
	return 80
}

// roleOf is the role that a container belongs to by its labels.
func roleOf(c docker.Container) (kamal.Role, bool) {
	l := c.Labels()
	r := kamal.Role{Service: l[kamal.LabelService], Role: l[kamal.LabelRole], Destination: l[kamal.LabelDestination]}
	return r, r.Service != "" && r.Role != "" && r.Owns(c.ContainerName(), l)
}

// serves says whether a container is one of a service: a role's by labels and
// name, or an accessory's by its name.
func serves(c docker.Container, service string) bool {
	if c.ContainerName() == service {
		return true
	}
	r, ok := roleOf(c)
	return ok && r.Prefix() == service
}

// newest is the newest running container of a service, nil if none runs.
func newest(snap *fleet.Snapshot, service string) *docker.Container {
	var best *docker.Container
	for i := range snap.Containers {
		c := &snap.Containers[i]
		if c.Running() && serves(*c, service) && (best == nil || c.CreatedAt().After(best.CreatedAt())) {
			best = c
		}
	}
	return best
}

// entry is the entry that the route wants. What a route doesn't know of is
// kept from the one that is there.
func (r Route) entry(prev *Entry) Entry {
	e := Entry{Name: r.Service}
	e.Options.WriterAffinityTimeout = time.Second
	if prev != nil {
		e = *prev
	}
	o, to := &e.Options, &e.TargetOptions
	o.Hosts, o.PathPrefixes, o.StripPrefix, o.CanonicalHost = r.Hosts, r.PathPrefixes, r.StripPathPrefix, r.CanonicalHost
	o.normalize()
	o.TLSEnabled, o.TLSRedirect = r.TLS != nil, true
	o.TLSCertificatePath, o.TLSPrivateKeyPath = "", ""
	// A directory other than Let's Encrypt's two is refused: entry.Unknown has it.
	o.ACMEDirectory = ""
	if r.TLS != nil {
		o.TLSRedirect = r.TLS.Redirect
		if r.TLS.Staging {
			o.ACMEDirectory = ACMEStaging
		}
		if !r.TLS.ACME {
			dir := containerPath(r.certificateDir(prev))
			o.TLSCertificatePath, o.TLSPrivateKeyPath = dir+"/cert.pem", dir+"/key.pem"
		}
	}
	to.ResponseTimeout = r.ResponseTimeout
	to.BufferRequests, to.BufferResponses = r.Buffering.Requests, r.Buffering.Responses
	to.MaxMemoryBufferSize = r.Buffering.Memory
	to.MaxRequestBodySize, to.MaxResponseBodySize = r.Buffering.MaxRequestBody, r.Buffering.MaxResponseBody
	to.LogRequestHeaders, to.LogResponseHeaders = r.LogRequestHeaders, r.LogResponseHeaders
	to.ForwardHeaders = r.ForwardHeaders
	return e
}

// target is what a deploy of the route to a container sends.
func (r Route) target(c docker.Container) Target {
	return Target{
		Address: c.ShortID() + ":" + strconv.Itoa(r.AppPort), Health: r.Health,
		DeployTimeout: r.DeployTimeout, DrainTimeout: r.DrainTimeout,
	}
}

// certificateDir is where the route's certificate is kept, relative to the SSH
// user's home: where the entry has it if that is one of Kamal's places, else
// Kamal's place for the role, apps-config/APP/tls/ROLE; for a service that is no
// app's, apps-config/SERVICE/tls/SERVICE.
func (r Route) certificateDir(prev *Entry) string {
	if prev != nil && prev.Name == r.Service {
		if dir := entryCertificateDir(prev); dir != "" {
			return dir
		}
	}
	return kamal.ProxyAppsConfigDir + "/" + cmp.Or(r.App, r.Service) + "/tls/" + roleIn(r.Service, r.App)
}

// entryCertificateDir is where the entry's own certificate is, relative to the
// SSH user's home, "" if it has none or has it elsewhere than Kamal does.
func entryCertificateDir(e *Entry) string {
	cert, key := hostPath(e.Options.TLSCertificatePath), hostPath(e.Options.TLSPrivateKeyPath)
	dir := path.Dir(cert)
	ok, _ := path.Match(kamal.ProxyAppsConfigDir+"/*/tls/*", dir)
	if !ok || cert != dir+"/cert.pem" || key != dir+"/key.pem" {
		return ""
	}
	return dir
}

// roleIn is ROLE, where service is SVC-ROLE[-DEST] and app SVC[-DEST]. The
// names may hold dashes themselves, so a destination is taken to be as short
// as possible. Where app doesn't fit it is the whole service.
func roleIn(service, app string) string {
	for split := len(app); split > 0; split = strings.LastIndex(app[:split], "-") {
		prefix, suffix := app[:split]+"-", app[split:]
		role, ok := strings.CutPrefix(service, prefix)
		if !ok {
			continue
		}
		if role, ok = strings.CutSuffix(role, suffix); ok && role != "" {
			return role
		}
	}
	return service
}

// containerPath is a path under Kamal's apps-config as kamal-proxy sees it.
func containerPath(p string) string {
	return kamal.ProxyAppsConfigMount + strings.TrimPrefix(p, kamal.ProxyAppsConfigDir)
}

// hostPath is the reverse of containerPath, "" for a path elsewhere.
func hostPath(p string) string {
	rest, ok := strings.CutPrefix(path.Clean(p), kamal.ProxyAppsConfigMount+"/")
	if !ok {
		return ""
	}
	return kamal.ProxyAppsConfigDir + "/" + rest
}
