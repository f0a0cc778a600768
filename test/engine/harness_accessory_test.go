package engine

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/accessory"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/secret"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/workload"
)

// An accessoryHandle is an accessory with what a state knows of it.
type accessoryHandle struct {
	e    *engine
	spec accessory.Spec
	// server is as configured: the server's address, or that of a link to it.
	server string
	// state is nil where the state has no such accessory.
	state *accessory.State
}

// accessory is shop's db, at the resource's defaults but for shorter waits.
func (e *engine) accessory(change ...func(*accessory.Spec)) *accessoryHandle {
	a := &accessoryHandle{e: e, server: e.s.Address, spec: accessory.Spec{
		Spec: workload.Spec{
			Image: e.image("app:v1"), Network: "kamal", LogDriver: "json-file", LogOptions: map[string]string{"max-size": "10m"},
		},
		Service: "shop", Name: "db", Ready: accessory.Ready{Delay: time.Second}, Health: healthcheck,
		StopTimeout: 3 * time.Second, DeployTimeout: 10 * time.Second, DrainTimeout: 30 * time.Second,
	}}
	for _, c := range change {
		c(&a.spec)
	}
	return a
}

// dbData is a file in the volume shop-data.
const dbData = "/var/lib/docker/volumes/shop-data/_data/row"

// everything is what docker can show of an accessory, each different from its
// default. mood changes what it is made of.
func everything(mood, password string) func(*accessory.Spec) {
	return func(s *accessory.Spec) {
		s.Command = []string{"app", "server", "as configured"}
		s.Env = map[string]string{"MOOD": mood}
		s.Secrets = secret.Set{"PASSWORD": password, "TOKEN": password + " as a file"}
		s.AsFiles = []string{"TOKEN"}
		s.Ports = []string{"5432:3000"}
		s.Volumes = []string{"shop-data:/data"}
		s.Directories = []string{"conf:/conf"}
		s.Files = []accessory.File{{Path: "/etc/db.cnf", Content: "mood = " + mood + "\n", Mode: "0644"}}
		s.Labels = map[string]string{"team": "shop"}
		s.LogDriver, s.LogOptions = "local", map[string]string{"max-file": "2"}
		s.Memory, s.CPUs = 128<<20, 0.5
		s.Options = docker.Options{
			ShmSize: 96 << 20, Ulimits: map[string]string{"nofile": "4096:8192"}, User: "0:0", Init: true, ReadOnly: true,
			CapAdd: []string{"SYS_NICE"}, CapDrop: []string{"NET_RAW"}, Sysctls: map[string]string{"net.core.somaxconn": "512"},
			Tmpfs: map[string]string{"/scratch": "size=1m"}, AddHosts: []string{"mail:10.0.0.9"}, SecurityOpt: []string{"no-new-privileges"}, Restart: "always",
			Devices: []string{"/dev/null:/dev/nothing:rw"}, PidsLimit: 64, DNS: []string{"10.0.0.53"}, MemoryReservation: 64 << 20, MemorySwap: 192 << 20, StopSignal: "SIGINT",
		}
	}
}

// secrets are the values that nobody may see.
func (a *accessoryHandle) secrets() []string {
	var values []string
	for _, v := range a.spec.Secrets {
		values = append(values, v)
	}
	for _, f := range a.spec.Files {
		if f.Secret {
			values = append(values, f.Content)
		}
	}
	return values
}

// applyIn is one apply in a run; it returns the warnings. It keeps what a state keeps.
func (a *accessoryHandle) applyIn(ctx context.Context, r *run) (string, error) {
	c := accessory.Change{Spec: a.spec, Server: a.server, Create: a.state == nil, ImportID: a.spec.Service + "/" + a.spec.Name + "@" + a.server}
	if a.state != nil {
		c.MachineID = a.state.MachineID
	}
	r.fleet.AddSecret(a.secrets()...)
	st, warnings, err := accessory.Apply(ctx, r.fleet, c)
	if err == nil || !c.Create && st != nil && st.MachineID == c.MachineID {
		a.state = st
	}
	a.e.mustHide(r, a.secrets()...)
	return warned(warnings), err
}

// apply is one apply in a new run.
func (a *accessoryHandle) apply() (string, error) {
	a.e.Helper()
	return a.applyIn(a.e.ctx(), a.e.newRun())
}

// begin begins an apply in a new run.
func (a *accessoryHandle) begin() (*run, *under) {
	a.e.Helper()
	r, ctx := a.e.newRun(), a.e.ctx()
	u := a.e.start(func() error {
		_, err := a.applyIn(ctx, r)
		return err
	})
	a.e.Cleanup(r.kill) // before its end is waited for
	return r, u
}

// deploy applies and then wants nothing left to do; it returns the warnings.
func (a *accessoryHandle) deploy() string {
	a.e.Helper()
	warnings, err := a.apply()
	a.e.must(err)
	applied := a.e.run
	a.wantConverged()
	a.e.run = applied // its calls are those of the deploy
	return warnings
}

// fails wants an apply to fail and to tell the texts; it returns what it told.
func (a *accessoryHandle) fails(texts ...string) string {
	a.e.Helper()
	_, err := a.apply()
	return a.e.wantFailure(err, texts...)
}

// observe is what a new run sees of the accessory.
func (a *accessoryHandle) observe() accessory.Observed {
	a.e.Helper()
	o, err := accessory.Observe(a.e.snapshot(a.server), a.spec.Service, a.spec.Name)
	a.e.must(err)
	return o
}

// plan is what a new run would do, and why. As a refresh does, it takes over
// what is there, and forgets an accessory that is gone.
func (a *accessoryHandle) plan() (accessory.Observed, accessory.Plan) {
	a.e.Helper()
	o := a.observe()
	st, there := o.State()
	switch {
	case a.state == nil:
	case there && !o.Foreign:
		a.state = &st
	default:
		a.state = nil
	}
	return o, accessory.Build(a.spec, o)
}

// wantConverged wants a plan with nothing to do: what is there is what is
// wanted, spelled as it is configured, and what the state has.
func (a *accessoryHandle) wantConverged() {
	a.e.Helper()
	o := a.observe()
	left := accessory.Build(a.spec, o).Why
	if shown, want := fmt.Sprintf("%+v", accessory.FromContainer(o, a.spec)), fmt.Sprintf("%+v", a.spec); len(left) == 0 && shown != want {
		left = append(left, "it shows "+shown+", and "+want+" is configured")
	}
	if st, _ := o.State(); a.state == nil || !reflect.DeepEqual(st, *a.state) {
		left = append(left, fmt.Sprintf("it is %+v, and %+v by the state", st, a.state))
	}
	if len(left) > 0 {
		a.e.Fatalf("the plan is not empty: %q", left)
	}
}

// remove destroys the accessory, of whose secrets a state knows nothing; it
// returns the warnings.
func (a *accessoryHandle) remove() (string, error) {
	a.e.Helper()
	c := accessory.Change{Spec: a.spec, Server: a.server}
	if a.state != nil {
		c.MachineID = a.state.MachineID
	}
	c.Spec.Secrets, c.Spec.Files = nil, slices.Clone(c.Spec.Files)
	for i, f := range c.Spec.Files {
		if f.Secret {
			c.Spec.Files[i].Content = ""
		}
	}
	warnings, err := accessory.Remove(a.e.ctx(), a.e.newRun().fleet, c)
	if err == nil {
		a.state = nil
	}
	return warned(warnings), err
}

// destroy destroys the accessory and wants no failure; it returns the warnings.
func (a *accessoryHandle) destroy() string {
	a.e.Helper()
	warnings, err := a.remove()
	a.e.must(err)
	return warnings
}

// wantLife wants one container, with the mood and the data, and nothing of an unfinished run.
func (a *accessoryHandle) wantLife(when, mood string) {
	a.e.Helper()
	got := a.e.s.SSH(a.e, `docker ps -a --format '{{.Names}}'; docker exec shop-db app env MOOD; echo; cat `+dbData+`; ls .kamal | grep lock- || :; ls .kamal/apps/shop/secrets | wc -l`)
	if want := "shop-db\n" + mood + "\nprecious\n1"; got != want {
		a.e.Errorf("%s: %q, want %q", when, got, want)
	}
}

// life tells one run of a container from another.
func (e *engine) life(container string) string {
	e.Helper()
	return inspect(e, e.s, container, ".Id") + " " + inspect(e, e.s, container, ".State.StartedAt")
}
