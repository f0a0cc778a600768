package engine

import (
	"context"
	"strings"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/proxy"
	"github.com/kamal-terraform/terraform-provider-kamal/test/byhand"
	"github.com/kamal-terraform/terraform-provider-kamal/test/testbed"
)

// The versions of kamal-proxy in the testbed's registry.
const (
	oldProxy = "v0.9.2"
	newProxy = "v0.9.3"
)

// A kamalProxy is kamal-proxy's container on a server, with what a state knows of it.
type kamalProxy struct {
	e      *engine
	server string
	spec   proxy.ContainerSpec
	// container is the one in the state, "" where there is none.
	container string
}

// kamalProxy is kamal-proxy on the first server, at the resource's defaults.
func (e *engine) kamalProxy() *kamalProxy {
	spec := proxy.DefaultContainer
	spec.Image = strings.TrimSuffix(e.bed.Image("basecamp/kamal-proxy:"+oldProxy), ":"+oldProxy)
	return &kamalProxy{e: e, server: e.s.Address, spec: spec}
}

// applyIn is one apply in a run.
func (p *kamalProxy) applyIn(ctx context.Context, r *run) error {
	snap, err := proxy.Ensure(ctx, r.fleet, r.fleet.Server(p.server), p.spec, p.container == "")
	if err == nil {
		p.container = proxy.ObserveContainer(snap).ID
	}
	return err
}

// deploy applies a change and then wants nothing left to do.
func (p *kamalProxy) deploy(change ...func(*proxy.ContainerSpec)) {
	p.e.Helper()
	for _, c := range change {
		c(&p.spec)
	}
	applied := p.e.newRun()
	p.e.must(p.applyIn(p.e.ctx(), applied))
	p.wantConverged()
	p.e.run = applied // its calls are those of the apply
}

// fails wants a change to fail and to tell the texts, and takes it back.
func (p *kamalProxy) fails(change func(*proxy.ContainerSpec), texts ...string) string {
	p.e.Helper()
	before := p.spec
	change(&p.spec)
	err := p.applyIn(p.e.ctx(), p.e.newRun())
	p.spec = before
	return p.e.wantFailure(err, texts...)
}

// observe is what a new run sees of it.
func (p *kamalProxy) observe() proxy.ContainerState {
	p.e.Helper()
	return proxy.ObserveContainer(p.e.snapshot(p.server))
}

// wantConverged wants a plan with nothing to do, for the container of the state.
func (p *kamalProxy) wantConverged() {
	p.e.Helper()
	have := p.observe()
	if action := proxy.PlanContainer(p.spec, have); action != proxy.Keep || have.ID != p.container {
		p.e.Fatalf("the plan is not empty: %s, container %s, in the state %s\n%+v", action, have.ID, p.container, have)
	}
}

// adopt imports what is there.
func (p *kamalProxy) adopt() {
	p.e.Helper()
	p.container = p.observe().ID
	p.wantConverged()
}

// remove destroys it; it returns the services that went with it.
func (p *kamalProxy) remove() ([]string, error) {
	served, err := proxy.Remove(p.e.ctx(), p.e.newRun().fleet.Server(p.server))
	if err == nil {
		p.container = ""
	}
	return served, err
}

// proxyVersion is a change of the version.
func proxyVersion(v string) func(*proxy.ContainerSpec) {
	return func(s *proxy.ContainerSpec) { s.Version = v }
}

// proxyAsItIs changes nothing.
func proxyAsItIs(*proxy.ContainerSpec) {}

// proxyID tells one run of kamal-proxy's container from another.
func (e *engine) proxyID() string { return byhand.ProxyID(e, e.s) }

// brokenProxy builds an image of kamal-proxy on the server that ends at once.
func (e *engine) brokenProxy(tag string) {
	e.Helper()
	e.s.SSH(e, "printf 'FROM "+e.bed.Image("basecamp/kamal-proxy:"+oldProxy)+"\\nCMD [\"kamal-proxy\",\"nonsense\"]\\n' | docker build -t "+
		e.bed.Image("basecamp/kamal-proxy:"+tag)+" - >/dev/null 2>&1")
}

// holdProxy takes the lock under which runs change kamal-proxy, as another run
// does that has begun to. What by-hand commands do it does not stop.
func (e *engine) holdProxy(s *testbed.Server) (release func()) {
	e.Helper()
	s.SSH(e, `mkdir -p .kamal/terraform; touch .kamal/terraform/proxy.flock
		systemd-run -q --unit=holds-proxy flock /root/.kamal/terraform/proxy.flock sleep infinity
		n=0; while flock -n .kamal/terraform/proxy.flock true; do n=$((n+1)); [ $n -lt 300 ] || exit 1; sleep 0.1; done`)
	let := func() { s.SSH(e, "systemctl stop holds-proxy 2>/dev/null || :") }
	e.Cleanup(let)
	return let
}

// waitsForProxy waits until a run stands before the lock of kamal-proxy.
func (e *engine) waitsForProxy(s *testbed.Server) {
	e.Helper()
	eventually(e, 2*time.Minute, "a run waits for the lock of kamal-proxy", func() bool {
		_, err := s.Run(e.Context(), "pgrep -fx 'flock 9'")
		return err == nil
	})
}

// containers are all containers of a server, stopped ones too, in alphabetical order.
func (e *engine) containers(s *testbed.Server) string {
	e.Helper()
	return strings.Join(strings.Fields(s.SSH(e, "docker ps --all --format '{{.Names}}' | sort")), " ")
}
