package provider

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/server"
)

// fullServer is a server with everything that can be set.
func fullServer() *serverModel {
	return &serverModel{
		Server: types.StringValue("10.0.0.1"),
		Docker: &dockerModel{
			Install: types.BoolValue(true), InstallScript: types.StringValue("#!/bin/sh\n"),
			LogMaxSize: types.StringValue("20m"), LogMaxFile: types.Int64Value(4), LiveRestore: types.BoolValue(true),
			Mirrors: listValue([]string{"https://mirror.example.com"}), Insecure: listValue([]string{"registry.lan:5000"}),
			DaemonJSON: types.StringValue(`{"debug":true,"bip":"10.9.0.1/24"}`),
		},
		Swap: &swapModel{Size: types.StringValue("64m"), File: types.StringValue("/swapfile")},
	}
}

// What the state has and the configuration no longer has is to be taken away;
// what never was in it is nobody's business.
func TestServerSpecTakesAwayWhatIsNoLongerConfigured(t *testing.T) {
	t.Parallel()
	full := fullServer().spec(nil)
	d := full.Docker
	if !d.Install || d.Script != "#!/bin/sh\n" || d.LogMaxSize != "20m" || d.LogMaxFile != 4 || !d.LiveRestore || len(d.Mirrors) != 1 || len(d.Insecure) != 1 ||
		len(d.Keys) != 2 || string(d.Keys["bip"]) != `"10.9.0.1/24"` || d.NoKeys != nil || full.NoSwap != "" || *full.Swap != (server.Swap{File: "/swapfile", Size: 64 << 20}) {
		t.Errorf("everything: %+v, swap %+v", full, full.Swap)
	}
	plain := fullServer()
	plain.Swap, plain.Docker.DaemonJSON = nil, types.StringValue(`{"debug":false}`)
	plain.Docker.Mirrors, plain.Docker.Insecure = types.ListNull(types.StringType), types.ListNull(types.StringType)
	less := plain.spec(fullServer())
	if less.NoSwap != "/swapfile" || less.Swap != nil || !slices.Equal(less.Docker.NoKeys, []string{"bip", "registry-mirrors", "insecure-registries"}) || less.Docker.Mirrors != nil {
		t.Errorf("less than before: %+v", less)
	}
	if same := fullServer().spec(fullServer()); same.Docker.NoKeys != nil {
		t.Errorf("the same as before: %+v", same)
	}
}

func TestServerRefreshShowsTheDrift(t *testing.T) {
	t.Parallel()
	const settled = `{"log-opts":{"max-size":"20m","max-file":"4"},"live-restore":true,"registry-mirrors":["https://mirror.example.com/"],
		"insecure-registries":["registry.lan:5000"],"debug":true,"bip":"10.9.0.1/24","dns":["10.0.0.2"]}`
	seen := func(change func(*fleet.Snapshot)) *fleet.Snapshot {
		s := &fleet.Snapshot{
			Facts:   fleet.Facts{MachineID: "m1", Swaps: []fleet.Swap{{File: "/swapfile", Size: 64 << 20, AtBoot: true}}},
			Docker:  fleet.Docker{Installed: true, Running: true, Enabled: true, Version: "26.1.5", DaemonJSON: settled},
			Network: true,
		}
		change(s)
		return s
	}
	json := func(text string) func(*fleet.Snapshot) {
		return func(s *fleet.Snapshot) { s.Docker.DaemonJSON = text }
	}
	is := func(change func(*serverModel)) *serverModel {
		m := fullServer()
		if err := m.refresh(seen(func(*fleet.Snapshot) {}), "key"); err != nil {
			t.Fatal(err)
		}
		change(m)
		return m
	}
	if d := cmp.Diff(fullServer().Docker, is(func(*serverModel) {}).Docker); d != "" {
		t.Errorf("no drift: %s", d)
	}
	for name, tt := range map[string]struct {
		seen func(*fleet.Snapshot)
		want func(*serverModel)
	}{
		"Docker stopped":      {func(s *fleet.Snapshot) { s.Docker.Running, s.Network = false, false }, func(m *serverModel) { m.DockerRunning = types.BoolValue(false) }},
		"not started at boot": {func(s *fleet.Snapshot) { s.Docker.Enabled = false }, func(m *serverModel) { m.DockerEnabled = types.BoolValue(false) }},
		"network gone":        {func(s *fleet.Snapshot) { s.Network = false }, func(m *serverModel) { m.Network = types.BoolValue(false) }},
		"another machine":     {func(s *fleet.Snapshot) { s.Facts.MachineID = "m2" }, func(m *serverModel) { m.MachineID = types.StringValue("m2") }},
		"file gone": {json(""), func(m *serverModel) {
			m.Docker.LogMaxSize, m.Docker.LogMaxFile, m.Docker.LiveRestore = types.StringNull(), types.Int64Null(), types.BoolValue(false)
			m.Docker.Mirrors, m.Docker.Insecure, m.Docker.DaemonJSON = listValue(nil), listValue(nil), types.StringValue("{}")
		}},
		"log options, a mirror and a key changed": {
			json(`{"log-opts":{"max-size":"1g","max-file":"4"},"live-restore":true,"registry-mirrors":["https://other.example.com"],"insecure-registries":["registry.lan:5000"],"debug":false,"bip":"10.9.0.1/24"}`),
			func(m *serverModel) {
				m.Docker.LogMaxSize, m.Docker.Mirrors, m.Docker.DaemonJSON = types.StringValue("1g"), listValue([]string{"https://other.example.com"}), types.StringValue(`{"bip":"10.9.0.1/24","debug":false}`)
			}},
		"a key gone": {
			json(`{"log-opts":{"max-size":"20m","max-file":"4"},"live-restore":true,"registry-mirrors":["https://mirror.example.com"],"insecure-registries":["registry.lan:5000"],"debug":true}`),
			func(m *serverModel) { m.Docker.DaemonJSON = types.StringValue(`{"debug":true}`) }},
		"swap off":      {func(s *fleet.Snapshot) { s.Facts.Swaps = nil }, func(m *serverModel) { m.Swap = nil }},
		"not at boot":   {func(s *fleet.Snapshot) { s.Facts.Swaps[0].AtBoot = false }, func(m *serverModel) { m.Swap = nil }},
		"more swap":     {func(s *fleet.Snapshot) { s.Facts.Swaps[0].Size = 1 << 30 }, func(m *serverModel) { m.Swap.Size = types.StringValue("1024m") }},
		"others' swaps": {func(s *fleet.Snapshot) { s.Facts.Swaps = append(s.Facts.Swaps, fleet.Swap{File: "/other"}) }, func(*serverModel) {}},
	} {
		m := is(func(*serverModel) {})
		if err := m.refresh(seen(tt.seen), "key"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if d := cmp.Diff(is(tt.want), m); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
	m := is(func(*serverModel) {})
	if err := m.refresh(seen(json("{")), "key"); err == nil || !m.DockerRunning.ValueBool() || !m.Docker.LogMaxSize.IsNull() {
		t.Errorf("a malformed file: %v, %+v", err, m.Docker)
	}
}
