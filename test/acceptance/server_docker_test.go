package acceptance

import (
	"testing"
)

func TestServerRefusesBadSettings(t *testing.T) {
	t.Parallel()
	w := newWorkspace(t)
	for body, want := range map[string]string{
		`docker = { registry_mirrors = ["mirror.example.com"] }`:                "must be an http or https URL",
		`docker = { insecure_registries = ["https://registry.lan"] }`:           "must be HOST[:PORT]",
		`docker = { daemon_json = "[]" }`:                                       "must be a JSON object",
		`docker = { daemon_json = jsonencode({ "log-opts" = {} }) }`:            `has the key "log-opts", which log_max_size and log_max_file sets`,
		`docker = { daemon_json = jsonencode({ "registry-mirrors" = ["x"] }) }`: "which registry_mirrors sets",
		`swap = { size = "much" }`:                                              "Invalid amount of memory",
		`swap = { size = "1g", file = "swapfile" }`:                             "must be an absolute path",
		`docker = { install = false, install_script = "echo" }`:                 "install_script",
	} {
		w.Write("main.tf", "resource \"kamal_server\" \"web\" {\n  server = \"10.0.0.1\"\n  "+body+"\n}\n")
		w.PlanFails(want)
	}
}
