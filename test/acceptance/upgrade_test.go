package acceptance

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/kamal-terraform/terraform-provider-kamal/test/upgrade"
)

// What earlier builds left in a state means the same to this one: see package
// upgrade. First without any server: what this build makes of the state and
// the configuration alone.
func TestUpgradeOfAState(t *testing.T) {
	t.Parallel()
	forEachFixture(t, func(t *testing.T, f upgrade.Fixture) {
		w := newWorkspace(t)
		writeFixture(w, f, f.Facts)
		w.Remove(upgrade.DataFile)
		w.Write("provider.tf", `provider "kamal" {}`)
		if p := w.Plan("-refresh=false"); !p.Empty() {
			t.Errorf("this build wants to change what %s left: %q", f.Name, p.NotEmpty())
		}
		if calls := w.RemoteCalls(f.Facts.Server); len(calls) > 0 {
			t.Errorf("remote calls of a plan without a refresh: %q", calls)
		}
	})
}

// And against a server that is as the build left it: what this build sees
// there, compared with the state.
func TestUpgradeOfAServer(t *testing.T) {
	t.Parallel()
	forEachFixture(t, func(t *testing.T, f upgrade.Fixture) {
		s := bed(t).Warm(t, oldest)
		w := newWorkspace(t, s)
		facts := upgrade.Facts{Server: s.Address, Registry: w.Bed.Registry.Address, HostKey: s.HostKey}
		script, err := f.Script(facts)
		if err != nil {
			t.Fatal(err)
		}
		s.LogIn(t)
		s.SSH(t, script)
		s.SSH(t, "docker logout "+facts.Registry+"; rm -r .docker")
		if err := facts.Learn(s.SSH(t, upgrade.Look)); err != nil {
			t.Fatal(err)
		}
		writeFixture(w, f, facts)
		w.Write("provider.tf", "provider \"kamal\" {\n  ssh        = {{ssh}}\n  registries = {{registries}}\n}\n")
		w.Setenv("TF_VAR_server", facts.Server)
		w.Setenv("TF_VAR_registry", facts.Registry)
		if p := w.Plan(); !p.Empty() {
			t.Errorf("this build wants to change what %s left: %q", f.Name, p.NotEmpty())
		}
	})
}

func forEachFixture(t *testing.T, do func(t *testing.T, f upgrade.Fixture)) {
	t.Helper()
	acceptance(t)
	all, err := upgrade.All()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		t.Run(f.Name, func(t *testing.T) { do(t, f) })
	}
}

// writeFixture writes the configuration of a fixture, and its state as it were on a server with these facts.
func writeFixture(w *workspace, f upgrade.Fixture, facts upgrade.Facts) {
	w.t.Helper()
	config, err := f.Config()
	if err != nil {
		w.t.Fatal(err)
	}
	state, err := f.State(facts)
	if err != nil {
		w.t.Fatal(err)
	}
	for name, text := range config {
		w.write(filepath.Join(w.Dir, name), text)
	}
	w.write(filepath.Join(w.Dir, "terraform.tfstate"), state)
	w.override(fmt.Sprintf("%q = %q", upgrade.Source, w.settings.providerDir))
}
