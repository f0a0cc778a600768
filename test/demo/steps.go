package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/test/load"
	"github.com/kamal-terraform/terraform-provider-kamal/test/testbed"
)

const (
	host  = "shop.example.com"
	hosts = `hosts=["shop.example.com", "www.shop.example.com"]`
)

// A demo is a run of the demo and what came of it.
type demo struct {
	console *console
	servers []*testbed.Server
	load    *load.Load
	rows    []row
	deploys int
}

// A row of the table is what happened from the beginning of one step to that of
// the next.
type row struct {
	step    string
	seconds float64 // of the apply
	load.Result
}

// A step is one apply under load.
type step struct {
	title    string
	vars     []string
	before   string // the version that serves before the step
	after    string // and behind it
	fails    bool
	expected func(ctx context.Context) error // what else must hold after it; may be nil
}

func (d *demo) run(ctx context.Context) error {
	v1 := []string{"-var", "release=v1"}
	say("As a user: init, plan, apply")
	if err := d.console.must(ctx, "init", "-input=false", "-no-color"); err != nil {
		return err
	}
	if err := d.console.must(ctx, append([]string{"plan", "-input=false", "-no-color", "-out=first.tfplan"}, v1...)...); err != nil {
		return err
	}
	begin := time.Now()
	if err := d.console.must(ctx, "apply", "-input=false", "-no-color", "first.tfplan"); err != nil {
		return err
	}
	note("from plain servers to a running app in %.1f s", time.Since(begin).Seconds())
	if err := d.console.planIsEmpty(ctx, v1); err != nil {
		return err
	}
	if _, err := d.containers(ctx, host); err != nil {
		return err
	}

	say("Load on both servers: %d requests/s, half of them on new connections; status and body are checked", rate)
	var err error
	if d.load, err = startLoad(ctx, d.servers, host, "v1"); err != nil {
		return err
	}
	begin = time.Now()
	err = d.steps(ctx)
	// What came after the last step belongs to it.
	rest := d.load.Stop()
	if len(d.rows) > 0 {
		d.rows[len(d.rows)-1].add(rest)
	}
	took := time.Since(begin)
	perSecond := float64(d.requests()) / took.Seconds()
	note("%d requests in %.1f s: %.0f a second", d.requests(), took.Seconds(), perSecond)
	if err == nil && d.failed() > 0 {
		err = fmt.Errorf("%d requests failed", d.failed())
	}
	if err == nil && perSecond < 200 {
		err = fmt.Errorf("the load was %.0f requests/s: this machine is too busy for the demo to show anything", perSecond)
	}
	return err
}

func (d *demo) steps(ctx context.Context) error {
	before, err := d.containers(ctx, host)
	if err != nil {
		return err
	}
	var v2 []string
	for i, s := range []step{
		{
			title: "deploy v2", vars: []string{"-var", "release=v2"}, before: "v1", after: "v2",
			expected: func(ctx context.Context) error {
				v2, err = d.containers(ctx, host)
				if err == nil && (v2[0] == before[0] || v2[1] == before[1]) {
					err = errors.New("a container was not replaced")
				}
				return err
			},
		}, {
			title: "change only the route: one host more", vars: []string{"-var", "release=v2", "-var", hosts}, before: "v2", after: "v2",
			expected: func(ctx context.Context) error {
				now, err := d.containers(ctx, "www."+host)
				if err == nil && (now[0] != v2[0] || now[1] != v2[1]) {
					err = errors.New("a container was replaced")
				}
				if err == nil {
					note("www.%s answers, from the same containers", host)
				}
				return err
			},
		}, {
			title: "a version that never gets healthy: v2 goes on serving", vars: []string{"-var", "release=unhealthy", "-var", hosts},
			before: "v2", after: "v2", fails: true,
			expected: func(ctx context.Context) error {
				now, err := d.containers(ctx, host)
				if err == nil && (now[0] != v2[0] || now[1] != v2[1]) {
					err = errors.New("a container was replaced")
				}
				return err
			},
		}, {
			title: "go back to v1", vars: []string{"-var", "release=v1", "-var", hosts}, before: "v2", after: "v1",
		},
	} {
		say("Step %d of 4: %s", i+1, s.title)
		d.rows = append(d.rows, row{step: s.title})
		if err := d.step(ctx, s, &d.rows[len(d.rows)-1]); err != nil {
			return fmt.Errorf("step %d, %s: %w", i+1, s.title, err)
		}
		d.deploys++
	}
	return nil
}

// step applies. While it does, the old and the new version may answer; after it
// only the new one.
func (d *demo) step(ctx context.Context, s step, r *row) error {
	d.load.SetCheck(serves(s.before, s.after))
	begin := time.Now()
	err := d.apply(ctx, s.vars)
	r.seconds = time.Since(begin).Seconds()
	d.load.SetCheck(serves(s.after))
	var failed *applyError
	switch {
	case s.fails && err == nil:
		return errors.New("the apply did not fail")
	case s.fails && errors.As(err, &failed):
		note("the apply failed, as it should; %s goes on serving", s.after)
	case err != nil:
		return err
	}
	if s.expected != nil {
		if err := s.expected(ctx); err != nil {
			return err
		}
	}
	if s.fails {
		note("with %s in the configuration again", s.after)
		s.vars = []string{"-var", "release=" + s.after, "-var", hosts}
	}
	if err := d.console.planIsEmpty(ctx, s.vars); err != nil {
		return err
	}
	select {
	case <-time.After(time.Second): // of traffic to the new state alone
	case <-ctx.Done():
		return ctx.Err()
	}
	r.add(d.load.Take())
	note("%d requests, %d failed", r.Requests, r.Failed)
	return nil
}

// An applyError is an apply that ended with an error of the CLI.
type applyError struct{ code int }

func (e *applyError) Error() string { return fmt.Sprintf("the apply failed with exit code %d", e.code) }

func (d *demo) apply(ctx context.Context, vars []string) error {
	code, err := d.console.run(ctx, append([]string{"apply", "-auto-approve", "-input=false", "-no-color"}, vars...)...)
	if err == nil && code != 0 {
		err = &applyError{code}
	}
	return err
}

// containers asks each server which container answers.
func (d *demo) containers(ctx context.Context, host string) ([]string, error) {
	var names []string
	for _, s := range d.servers {
		a, err := look(ctx, s, host)
		if err != nil {
			return nil, err
		}
		note("http://%s at %s: %s in container %s", host, s.Address, a.Version, a.Hostname)
		names = append(names, a.Hostname)
	}
	return names, nil
}

func (r *row) add(more load.Result) {
	r.Requests += more.Requests
	r.Failed += more.Failed
	r.Failures = append(r.Failures, more.Failures...)
	r.Slowest = max(r.Slowest, more.Slowest)
}

func (d *demo) requests() (n int) {
	for _, r := range d.rows {
		n += r.Requests
	}
	return n
}

func (d *demo) failed() (n int) {
	for _, r := range d.rows {
		n += r.Failed
	}
	return n
}

func (d *demo) printTable() {
	fmt.Printf("\n%-55s %8s %9s %7s %11s\n", "step", "seconds", "requests", "failed", "slowest ms")
	for _, r := range d.rows {
		fmt.Printf("%-55s %8.1f %9d %7d %11d\n", r.step, r.seconds, r.Requests, r.Failed, r.Slowest.Milliseconds())
	}
	for _, r := range d.rows {
		for _, f := range r.Failures {
			fmt.Printf("failed during %q: %s\n", r.step, f)
		}
	}
	fmt.Println()
}
