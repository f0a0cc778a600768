package engine

import (
	"encoding/json"
	"errors"
	"maps"
	"strconv"
	"strings"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/firewall"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
)

// A wall is a server's firewall, with what a state knows of it.
type wall struct {
	e    *engine
	spec firewall.Spec
	// machine is that of the state, "" for none.
	machine string
}

// wall lets through what its rules say.
func (e *engine) wall(allow ...firewall.Rule) *wall {
	return &wall{e: e, spec: firewall.Spec{Allow: allow}}
}

// apply is one apply in a new run. It keeps what a state keeps.
func (w *wall) apply() (*fleet.Snapshot, error) {
	w.e.Helper()
	for _, err := range w.spec.Validate() {
		w.e.Fatalf("no configuration gets here with %+v", err)
	}
	snap, err := firewall.Apply(w.e.ctx(), w.e.newRun().fleet.Server(w.e.s.Address), w.spec, w.machine)
	if err == nil {
		w.machine = snap.Facts.MachineID
	}
	return snap, err
}

// set applies and then wants nothing left to do.
func (w *wall) set() {
	w.e.Helper()
	_, err := w.apply()
	w.e.must(err)
	applied := w.e.run
	w.wantConverged()
	w.e.run = applied // its calls are those of the apply
}

// fails wants an apply to fail and to tell the texts.
func (w *wall) fails(texts ...string) {
	w.e.Helper()
	_, err := w.apply()
	w.e.wantFailure(err, texts...)
}

// failsAt is fails for a value that can't be on this server: it names the place.
func (w *wall) failsAt(attribute string, index int, key string, texts ...string) {
	w.e.Helper()
	_, err := w.apply()
	w.e.wantFailure(err, texts...)
	var v *firewall.InvalidError
	if !errors.As(err, &v) || v.Attribute != attribute || v.Index != index || v.Key != key || v.Source != -1 {
		w.e.Errorf("%#v, want %s %d %s", v, attribute, index, key)
	}
}

// observe is what a new run sees of the packet filter.
func (w *wall) observe() *firewall.Observed {
	w.e.Helper()
	o, err := firewall.Observe(w.e.snapshot(w.e.s.Address))
	w.e.must(err)
	return o
}

// drift is what a plan of a new run shows, one sentence a line.
func (w *wall) drift() string {
	w.e.Helper()
	drift, err := firewall.Drift(w.spec, w.e.snapshot(w.e.s.Address))
	w.e.must(err)
	return strings.Join(drift, "\n")
}

// wantConverged wants a plan with nothing to do.
func (w *wall) wantConverged() {
	w.e.Helper()
	if drift := w.drift(); drift != "" {
		w.e.Fatalf("the plan is not empty: %s", drift)
	}
}

// wantDrift wants a plan to tell the texts.
func (w *wall) wantDrift(when string, texts ...string) {
	w.e.Helper()
	drift := w.drift()
	for _, text := range texts {
		if !strings.Contains(drift, text) {
			w.e.Errorf("%s: the plan says %q, want %q in it", when, drift, text)
		}
	}
}

// remove destroys the firewall in a new run.
func (w *wall) remove() error {
	w.e.Helper()
	err := firewall.Remove(w.e.ctx(), w.e.newRun().fleet.Server(w.e.s.Address))
	if err == nil {
		w.machine = ""
	}
	return err
}

// daemonJSON sets keys of the server's daemon.json and restarts Docker, as an
// admin does. What else is in the file stays: it says which image store there is.
func (e *engine) daemonJSON(keys string) {
	e.Helper()
	all, more := map[string]any{}, map[string]any{}
	for text, into := range map[string]map[string]any{e.s.SSH(e, "cat /etc/docker/daemon.json 2>/dev/null || echo '{}'"): all, keys: more} {
		if err := json.Unmarshal([]byte(text), &into); err != nil {
			e.Fatalf("%v: %s", err, text)
		}
	}
	maps.Copy(all, more)
	text, err := json.Marshal(all)
	if err != nil {
		e.Fatal(err)
	}
	e.s.SSH(e, "mkdir -p /etc/docker; cat > /etc/docker/daemon.json <<'END'\n"+string(text)+"\nEND\n"+restartDocker)
}

// restartDocker restarts it however often that was done in the last minute.
const restartDocker = "systemctl reset-failed docker.service docker.socket; systemctl restart docker.service\n"

// What firewalls are tried with. By the first, containers run on over a restart
// of Docker; by the second, Docker publishes over IPv6 as it does over IPv4, by
// rules, which older ones need to be told.
const (
	withoutProxy = `{"userland-proxy": false, "live-restore": true}`
	fullIPv6     = `{"userland-proxy": false, "experimental": true, "ip6tables": true, "ipv6": true, "fixed-cidr-v6": "` + containers6 + `"}`
)

// dockerVersion is the major version of the server's Docker.
func (e *engine) dockerVersion() int {
	e.Helper()
	major, _, _ := strings.Cut(e.s.SSH(e, "docker version --format '{{.Server.Version}}'"), ".")
	n, err := strconv.Atoi(major)
	if err != nil {
		e.Fatal(err)
	}
	return n
}
