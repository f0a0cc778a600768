package proxy

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/kamal"
)

const (
	webID  = "0123456789ab"
	newID  = "ba9876543210"
	appDir = "/home/kamal-proxy/.apps-config/shop/tls/web"
)

// shopRoute is a route at Kamal's defaults.
func shopRoute(change ...func(*Route)) Route {
	r := Route{
		Service: "shop-web", App: "shop", AppPort: 3000, Health: Health{Path: "/up", Interval: time.Second, Timeout: 5 * time.Second},
		DeployTimeout: 30 * time.Second, DrainTimeout: 30 * time.Second,
		Hosts: []string{"shop.example.com"}, PathPrefixes: []string{"/"}, StripPathPrefix: true, ForwardHeaders: true, ResponseTimeout: 30 * time.Second,
		Buffering:         Buffering{Requests: true, Responses: true, Memory: 1 << 20},
		LogRequestHeaders: []string{"Cache-Control", "Last-Modified", "User-Agent"},
	}
	for _, f := range change {
		f(&r)
	}
	return r
}

// deployed is the entry that a route has after its deploy to a container.
func deployed(r Route, id string, change ...func(*Entry)) Entry {
	e := r.entry(nil)
	e.TargetOptions.HealthCheck = HealthCheckConfig{Path: r.Health.Path, Interval: r.Health.Interval, Timeout: r.Health.Timeout}
	e.ActiveTargets = []string{id + ":3000"}
	for _, f := range change {
		f(&e)
	}
	return e
}

// onServer is a snapshot with a kamal-proxy that has entries, and containers as "ID NAME role[ exited]".
func onServer(t *testing.T, entries []Entry, containers ...string) *fleet.Snapshot {
	t.Helper()
	state, err := json.Marshal(entries)
	if err != nil {
		t.Fatal(err)
	}
	snap := &fleet.Snapshot{Docker: fleet.Docker{Installed: true, Running: true}, Certificates: map[string]string{}}
	snap.Facts.MachineID = "m1"
	for n, c := range append([]string{"cccccccccccc kamal-proxy -"}, containers...) {
		f := strings.Fields(c)
		in := container.InspectResponse{ID: f[0] + strings.Repeat("0", 52), Name: "/" + f[1],
			Created: time.Date(2026, 1, 1, n, 0, 0, 0, time.UTC).Format(time.RFC3339Nano),
			State:   &container.State{Running: len(f) < 4}, Config: &container.Config{}}
		if f[2] != "-" {
			in.Config.Labels = map[string]string{"service": "shop", "role": f[2], "destination": ""}
		}
		snap.Containers = append(snap.Containers, docker.Container{InspectResponse: in})
	}
	snap.Containers[0].Mounts = []container.MountPoint{{Destination: kamal.ProxyAppsConfigMount}}
	snap.Proxy.Container = snap.Container("kamal-proxy")
	snap.Proxy = snap.Proxy.NewProxyState(string(state))
	return snap
}

const web = webID + " shop-web-v1 web"

func TestPlanRouteDoesWhatIsMissingAndNothingElse(t *testing.T) {
	t.Parallel()
	const cli = "docker exec kamal-proxy kamal-proxy "
	maintenance := func(r *Route) { r.Maintenance = &Maintenance{"Back soon"} }
	www := func(r *Route) { r.Hosts = []string{"www.example.com"} }
	own := func(r *Route) { r.TLS = &TLS{Certificate: "CERT", PrivateKey: "KEY", Redirect: true} }
	stopped := func(e *Entry) { e.PauseController = PauseController{State: Stopped, StopMessage: "Back soon"} }
	tests := map[string]struct {
		route Route
		was   string
		have  []Entry
		on    []string
		want  []string // what the lines begin with
		title string
	}{
		"nothing to do":              {route: shopRoute(), have: []Entry{deployed(shopRoute(), webID)}, on: []string{web}},
		"nothing but other timeouts": {route: shopRoute(func(r *Route) { r.DrainTimeout = time.Second }), have: []Entry{deployed(shopRoute(), webID)}, on: []string{web}},
		"the TLS of another entry": {
			route: shopRoute(func(r *Route) { r.PathPrefixes = []string{"/api"} }), on: []string{web},
			have: []Entry{deployed(shopRoute(func(r *Route) { r.PathPrefixes = []string{"/api"} }), webID, func(e *Entry) { e.Options.TLSEnabled, e.Options.TLSRedirect = true, false })},
		},
		"a new route": {route: shopRoute(), on: []string{web}, want: []string{cli + "deploy shop-web --target=" + webID + ":3000"},
			title: "route shop.example.com to shop-web, container shop-web-v1"},
		"a new route in maintenance": {route: shopRoute(maintenance), on: []string{web}, want: []string{cli + "deploy shop-web", cli + "stop shop-web --drain-timeout=30s"}},
		"other hosts": {route: shopRoute(www), have: []Entry{deployed(shopRoute(), webID)}, on: []string{web, newID + " shop-web-v2 web"},
			want: []string{cli + "deploy shop-web --target=" + webID + ":3000"}, title: "change shop-web at kamal-proxy: hosts"},
		"the target's container is gone": {route: shopRoute(), have: []Entry{deployed(shopRoute(), "111111111111")}, on: []string{newID + " shop-web-v2 web", "222222222222 shop-web-v3 web exited"},
			want: []string{cli + "deploy shop-web --target=" + newID}, title: "change shop-web at kamal-proxy: target"},
		"an accessory": {route: shopRoute(func(r *Route) { r.Service = "shop-search" }), on: []string{newID + " shop-search -"}, want: []string{cli + "deploy shop-search --target=" + newID}},
		"maintenance":  {route: shopRoute(maintenance), have: []Entry{deployed(shopRoute(), webID)}, want: []string{cli + "stop shop-web"}, title: "change shop-web at kamal-proxy: maintenance"},
		"another message": {route: shopRoute(func(r *Route) { r.Maintenance = &Maintenance{"Soon"} }), have: []Entry{deployed(shopRoute(), webID, stopped)}, on: []string{web},
			want: []string{cli + "stop shop-web --drain-timeout=30s --message=Soon"}},
		"the end of maintenance": {route: shopRoute(), have: []Entry{deployed(shopRoute(), webID, stopped)}, on: []string{web}, want: []string{cli + "resume shop-web"}},
		"the end of a pause": {route: shopRoute(), have: []Entry{deployed(shopRoute(), webID, func(e *Entry) { e.PauseController.State = Paused })}, on: []string{web},
			want: []string{cli + "resume shop-web"}, title: "change shop-web at kamal-proxy: maintenance"},
		"other hosts in maintenance": {route: shopRoute(www, maintenance), have: []Entry{deployed(shopRoute(), webID, stopped)}, on: []string{web}, want: []string{cli + "deploy shop-web"}},
		"a certificate": {route: shopRoute(own), have: []Entry{deployed(shopRoute(), webID)}, on: []string{web},
			want: []string{"certdir=.kamal/proxy/apps-config/shop/tls/web certinside=" + appDir, "givecertificate ||", cli + "deploy shop-web", "keepcertificate"}},
		"no certificate any more": {route: shopRoute(), have: []Entry{deployed(shopRoute(own), webID)}, on: []string{web},
			want: []string{cli + "deploy shop-web", "rm -f .kamal/proxy/apps-config/shop/tls/web/cert.pem"}},
		"another service and host": {route: shopRoute(www), was: "shop-old", have: []Entry{deployed(shopRoute(func(r *Route) { r.Service = "shop-old" }), newID)}, on: []string{web},
			want: []string{cli + "deploy shop-web", cli + "remove shop-old"}},
		"another service on the same host": {route: shopRoute(), was: "shop-old", have: []Entry{deployed(shopRoute(func(r *Route) { r.Service = "shop-old" }), newID)}, on: []string{web},
			want: []string{cli + "deploy shop-web --target=" + webID + ":3000", cli + "remove shop-old", cli + "deploy shop-web --target=" + webID + ":3000"}},
		"the rest of a move": {route: shopRoute(), was: "shop-old", have: []Entry{deployed(shopRoute(), webID), deployed(shopRoute(www, func(r *Route) { r.Service = "shop-old" }), newID)}, on: []string{web},
			want: []string{cli + "remove shop-old"}, title: "remove shop-old at kamal-proxy"},
	}
	for name, test := range tests {
		step, err := planRoute(test.route, test.was, onServer(t, test.have, test.on...))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var lines []string
		if step != nil {
			lines = step.lines
		}
		if !slices.EqualFunc(lines, test.want, strings.HasPrefix) {
			t.Errorf("%s: the step is %q, want %q", name, lines, test.want)
		}
		if test.title != "" && step != nil && step.title != test.title {
			t.Errorf("%s: titled %q, want %q", name, step.title, test.title)
		}
	}
}

func TestPlanRouteRefuses(t *testing.T) {
	t.Parallel()
	other := deployed(shopRoute(func(r *Route) { r.Service, r.Hosts = "other", []string{"www.example.com", "shop.example.com"} }), newID)
	catchAll := deployed(shopRoute(func(r *Route) { r.Service, r.Hosts = "other", nil }), newID)
	tests := map[string]struct {
		route  Route
		have   []Entry
		on     []string
		change func(*fleet.Snapshot)
		want   string
	}{
		"a host of another":       {route: shopRoute(), have: []Entry{other}, on: []string{web}, want: "shop.example.com is held by the service other"},
		"any host of another":     {route: shopRoute(func(r *Route) { r.Hosts = nil }), have: []Entry{catchAll}, on: []string{web}, want: "any host is held by the service other"},
		"another path":            {route: shopRoute(func(r *Route) { r.PathPrefixes = []string{"/api/"} }), have: []Entry{other}, on: []string{web}},
		"a named host beside any": {route: shopRoute(), have: []Entry{catchAll}, on: []string{web}},
		"no container":            {route: shopRoute(), on: []string{webID + " shop-web-v1 web exited", newID + " shop-job-v1 job"}, want: "no container of shop-web runs there"},
		"an exec container":       {route: shopRoute(), on: []string{webID + " shop-web-exec-v1 -"}, want: "no container of shop-web runs there"},
		"no kamal-proxy":          {route: shopRoute(), on: []string{web}, change: func(s *fleet.Snapshot) { s.Proxy.Container = nil }, want: "there is no kamal-proxy"},
		"a stopped one":           {route: shopRoute(), on: []string{web}, change: func(s *fleet.Snapshot) { s.Proxy.Container.State.Running = false }, want: "kamal-proxy does not run"},
		"no docker":               {route: shopRoute(), on: []string{web}, change: func(s *fleet.Snapshot) { s.Docker.Running = false }, want: "docker does not answer"},
		"no place for a certificate": {route: shopRoute(func(r *Route) { r.TLS = &TLS{Certificate: "CERT", PrivateKey: "KEY"} }), on: []string{web},
			change: func(s *fleet.Snapshot) { s.Proxy.Container.Mounts = nil }, want: "does not mount /home/kamal-proxy/.apps-config"},
		"options it doesn't know": {route: shopRoute(func(r *Route) { r.ResponseTimeout = time.Second }), on: []string{web},
			have: []Entry{deployed(shopRoute(), webID, func(e *Entry) { e.ActiveReaders = []string{"x:1"} })}, want: "read targets (x:1)"},
	}
	for name, test := range tests {
		snap := onServer(t, test.have, test.on...)
		if test.change != nil {
			test.change(snap)
		}
		_, err := planRoute(test.route, "", snap)
		var r *refusal
		switch {
		case test.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case test.want != "" && (!errors.As(err, &r) || !strings.Contains(r.cause, test.want) || r.next == ""):
			t.Errorf("%s: want %q, got %v", name, test.want, err)
		}
	}

	snap := onServer(t, []Entry{other}, web)
	snap.Marks = []kamal.Mark{{Kind: MarkKind, Name: "other", State: kamal.MarkOwned}}
	var r *refusal
	if _, err := planRoute(shopRoute(), "", snap); !errors.As(err, &r) || !r.held {
		t.Errorf("a host that another route of ours has is not waited for: %v", err)
	}
}

func TestPlanRemovalLeavesWhatOthersNeed(t *testing.T) {
	t.Parallel()
	own := func(r *Route) { r.TLS = &TLS{Certificate: "CERT"} }
	e := deployed(shopRoute(own), webID)
	shared := deployed(shopRoute(func(r *Route) { r.Service = "other" }), newID, func(e *Entry) {
		e.Options.TLSEnabled, e.Options.TLSCertificatePath, e.Options.TLSPrivateKeyPath = true, appDir+"/cert.pem", appDir+"/key.pem"
	})
	tests := map[string]struct {
		have []Entry
		want []string
	}{
		"its own":                {[]Entry{e}, []string{"remove shop-web at kamal-proxy", "remove its certificate", "remove the mark of route shop-web"}},
		"a shared certificate":   {[]Entry{e, shared}, []string{"remove shop-web at kamal-proxy", "remove the mark of route shop-web"}},
		"gone already":           {nil, []string{"remove its certificate", "remove the mark of route shop-web"}},
		"gone, but one needs it": {[]Entry{shared}, []string{"remove the mark of route shop-web"}},
	}
	for name, test := range tests {
		snap := onServer(t, test.have, web)
		snap.Certificates[kamal.ProxyAppsConfigDir+"/shop/tls/web/cert.pem"] = "CERT"
		snap.Marks = []kamal.Mark{{Kind: MarkKind, Name: "shop-web"}}
		steps, err := planRemoval(shopRoute(), "shop-web", snap)
		if err != nil {
			t.Fatal(err)
		}
		var titles []string
		for _, s := range steps {
			titles = append(titles, s.Title)
		}
		if !slices.Equal(titles, test.want) {
			t.Errorf("%s: %q, want %q", name, titles, test.want)
		}
	}
}

func TestCertificatesAreKeptWhereKamalKeepsThem(t *testing.T) {
	t.Parallel()
	tests := []struct{ service, app, want string }{
		{"shop-web", "shop", "shop/tls/web"},
		{"shop-web-staging", "shop-staging", "shop-staging/tls/web"},
		{"my-shop-web-staging", "my-shop-staging", "my-shop-staging/tls/web"},
		{"shop-search", "", "shop-search/tls/shop-search"},
		{"shop-search", "other", "other/tls/shop-search"},
	}
	for _, test := range tests {
		got := Route{Service: test.service, App: test.app}.certificateDir(nil)
		if want := kamal.ProxyAppsConfigDir + "/" + test.want; got != want {
			t.Errorf("%s of %q: %s, want %s", test.service, test.app, got, want)
		}
	}
}
