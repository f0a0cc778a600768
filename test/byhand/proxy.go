package byhand

import (
	"encoding/json"
	"testing"

	"github.com/kamal-terraform/terraform-provider-kamal/test/testbed"
)

// ProxyCLI runs a command of kamal-proxy on a server.
func ProxyCLI(t testing.TB, s *testbed.Server, command string) {
	t.Helper()
	s.SSH(t, "docker exec kamal-proxy kamal-proxy "+command)
}

// ProxyState is kamal-proxy's state file, "[]" where there is none.
func ProxyState(t testing.TB, s *testbed.Server) string {
	t.Helper()
	return s.SSH(t, "docker cp kamal-proxy:/home/kamal-proxy/.config/kamal-proxy/kamal-proxy.state - 2>/dev/null | tar -xOf - || echo []")
}

// proxyEntries are the services in kamal-proxy's state file, by name.
func proxyEntries(t testing.TB, s *testbed.Server) map[string]map[string]any {
	t.Helper()
	var list []map[string]any
	if err := json.Unmarshal([]byte(ProxyState(t, s)), &list); err != nil {
		t.Fatal(err)
	}
	entries := map[string]map[string]any{}
	for _, e := range list {
		name, _ := e["name"].(string)
		entries[name] = e
	}
	return entries
}

// ProxyEntry is a service in kamal-proxy's state file, nil if it has none.
func ProxyEntry(t testing.TB, s *testbed.Server, service string) map[string]any {
	t.Helper()
	return proxyEntries(t, s)[service]
}

// EntryOptions are all services' options in kamal-proxy's state file, as a text
// that does not change when traffic moves to another target. In the file itself
// their order is by chance.
func EntryOptions(t testing.TB, s *testbed.Server) string {
	t.Helper()
	entries := proxyEntries(t, s)
	for _, e := range entries {
		delete(e, "active_targets")
	}
	text, err := json.MarshalIndent(entries, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// ProxyID tells one run of kamal-proxy's container from another.
func ProxyID(t testing.TB, s *testbed.Server) string {
	t.Helper()
	return Inspect(t, s, "kamal-proxy", ".Id") + " " + Inspect(t, s, "kamal-proxy", ".State.StartedAt")
}
