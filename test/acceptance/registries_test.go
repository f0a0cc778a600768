package acceptance

import (
	"fmt"
	"slices"
	"testing"
)

// A log-in under a name that no image has would never be used.
func TestRegistriesUnderWrongNames(t *testing.T) {
	t.Parallel()
	w := newWorkspace(t)
	body := "ssh = {{ssh}}\nregistries = {\n"
	var texts []string
	for given, meant := range map[string]string{
		"https://registry.example.com": "registry.example.com", "registry.example.com:5000/shop": "registry.example.com:5000",
		"https://index.docker.io/v1/": "docker.io", "hub.docker.com": "docker.io", "shop": "", "": "",
	} {
		body += fmt.Sprintf("  %q = { username = \"u\", password = \"p\" }\n", given)
		texts = append(texts, fmt.Sprintf("registries: %q is not a registry's host as in image references", given))
		if meant != "" {
			texts = append(texts, fmt.Sprintf("for Docker Hub. Write %q.", meant))
		}
	}
	slices.Sort(texts)
	w.Provider(body + "}")
	w.Write("main.tf", `
resource "kamal_accessory" "db" {
  server  = "10.0.0.1"
  service = "shop"
  name    = "db"
  image   = "registry.example.com/db:v1"
}
`)
	w.PlanFails(texts...)
	if calls := w.Calls(); len(calls) > 0 {
		t.Errorf("a server was called: %v", calls)
	}
}
