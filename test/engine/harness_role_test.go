package engine

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/approle"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/kamal"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/proxy"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/workload"
)

// healthcheck is the resource's default.
var healthcheck = proxy.Health{Path: "/up", Interval: time.Second, Timeout: 5 * time.Second}

// A role is an app's role, with what a state knows of it.
type role struct {
	e    *engine
	spec approle.Spec
	// servers are those configured, has those of the state.
	servers, has []string
	recorded     map[string]string
	instances    map[string]approle.Instance
}

// role is shop's web with a port, on all servers, at the resource's defaults
// but for a shorter deploy timeout.
func (e *engine) role(change ...func(*approle.Spec)) *role {
	r := &role{e: e, recorded: map[string]string{}, spec: approle.Spec{
		Spec: workload.Spec{
			LogDriver: "json-file", LogOptions: map[string]string{"max-size": "10m"},
		},
		Role: kamal.Role{Service: "shop", Role: "web"}, AppPort: 3000, Health: healthcheck, ReadinessDelay: 7 * time.Second,
		DeployTimeout: 8 * time.Second, DrainTimeout: 30 * time.Second, Retain: 5,
	}}
	for _, s := range e.servers {
		r.servers = append(r.servers, s.Address)
	}
	for _, c := range change {
		c(&r.spec)
	}
	return r
}

// in is the role for a subtest, which fails in its place.
func (r *role) in(name string, test func(r *role)) {
	r.e.Helper()
	r.e.in(name, func(e *engine) {
		sub := *r
		sub.e = e
		test(&sub)
		sub.e = r.e
		*r = sub
	})
}

// apply is one apply in a new run. It keeps what a state keeps.
func (r *role) apply(ctx context.Context, image string) (approle.Report, error) {
	return r.applyIn(ctx, r.e.newRun(), image)
}

// applyIn is one apply in a run.
func (r *role) applyIn(ctx context.Context, run *run, image string) (approle.Report, error) {
	if image != "" {
		r.spec.Image = r.e.image(image)
	}
	create := len(r.has) == 0
	d := approle.Deployment{Spec: r.spec, Servers: r.servers, Recorded: r.recorded, Create: create,
		ImportID: strings.ReplaceAll(r.spec.Role.Prefix(), "-", "/") + "@" + strings.Join(r.servers, ",")}
	if !create {
		d.Joining, d.Leaving = without(r.servers, r.has), without(r.has, r.servers)
	}
	report, err := approle.Deploy(ctx, run.fleet, d)
	for _, w := range report.Warnings {
		r.e.Logf("warning: %s: %s", w.Summary, w.Detail)
	}
	if err != nil && create && len(report.Instances) == 0 {
		return report, err
	}
	if err == nil {
		r.has = slices.Clone(r.servers)
	} else if create {
		r.has = slices.Sorted(maps.Keys(report.Instances))
	} else {
		for _, s := range report.Began {
			if !slices.Contains(r.has, s) {
				r.has = append(r.has, s)
			}
		}
	}
	was := r.instances
	r.instances = report.Instances
	for _, s := range report.Unseen {
		if in, ok := was[s]; ok {
			r.instances[s] = in
		}
	}
	r.recorded = map[string]string{}
	for server, in := range r.instances {
		r.recorded[server] = in.Container
	}
	return report, err
}

// start applies in the background, in a run that a test can kill.
func (r *role) start(ctx context.Context, image string) (*run, *under) {
	r.e.Helper()
	run := r.e.newRun()
	return run, r.e.start(func() error {
		_, err := r.applyIn(ctx, run, image)
		return err
	})
}

// with changes what is wanted.
func (r *role) with(change func(*approle.Spec)) *role {
	change(&r.spec)
	return r
}

// container is the id of the role's container in the state, on the engine's server.
func (r *role) container() string { return r.recorded[r.e.s.Address] }

// deploy applies and then wants nothing left to do.
func (r *role) deploy(image string) approle.Report {
	r.e.Helper()
	report, err := r.apply(r.e.ctx(), image)
	r.e.must(err)
	applied := r.e.run
	r.wantConverged()
	r.e.run = applied // its calls are those of the deploy
	return report
}

// fails wants an apply to fail and to tell the texts; it returns what it told.
func (r *role) fails(image string, texts ...string) string {
	r.e.Helper()
	before := r.spec.Image
	_, err := r.apply(r.e.ctx(), image)
	told := r.e.wantFailure(err, texts...)
	r.spec.Image = before
	return told
}

// observe is what a new run sees of the role on a server.
func (r *role) observe(server string) approle.Observed {
	r.e.Helper()
	o, err := approle.Observe(r.e.snapshot(server), r.spec.Role, r.recorded[server])
	if err != nil {
		r.e.Fatal(r.e.told(err))
	}
	return o
}

// left says what a plan on a server would show: the steps and, of what no step
// tells, the drift.
func (r *role) left(server string) []string {
	r.e.Helper()
	o := r.observe(server)
	plan := approle.Build(r.spec, o)
	left := plan.Why
	differs := r.spec.Differs(o)
	for _, d := range differs {
		left = append(left, d+" differs")
	}
	if in, ok := o.Instance(r.spec, differs); ok {
		left = append(left, in.Drift...)
		if r.recorded[server] != "" && in.Container != r.recorded[server] {
			left = append(left, "another container")
		}
		if !in.Running {
			left = append(left, "not running")
		}
	}
	return left
}

// wantConverged wants a plan with nothing to do, on all servers.
func (r *role) wantConverged() {
	r.e.Helper()
	for _, s := range r.servers {
		if left := r.left(s); len(left) > 0 {
			r.e.Fatalf("on %s the plan is not empty: %q", s, left)
		}
	}
}

// wantLeft wants a plan on the engine's server to be not empty and to tell a text.
func (r *role) wantLeft(text string) {
	r.e.Helper()
	if left := r.left(r.e.s.Address); !says(strings.Join(left, "\n"), text) {
		r.e.Errorf("the plan tells %q, not %q", left, text)
	}
}

// mustRemove destroys the role; it returns the warnings.
func (r *role) mustRemove() string {
	r.e.Helper()
	warnings, err := r.remove()
	r.e.must(err)
	return warnings
}

// remove destroys the role; it returns the warnings.
func (r *role) remove() (string, error) {
	r.e.Helper()
	warnings, err := approle.Remove(r.e.ctx(), r.e.newRun().fleet, approle.Deployment{Spec: r.spec, Servers: r.has, Recorded: r.recorded})
	if err == nil {
		r.has, r.recorded, r.instances = nil, map[string]string{}, nil
	}
	return warned(warnings), err
}
