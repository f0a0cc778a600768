package acceptance

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// A refusal is a body of a kamal_accessory and what its error says.
type refusal struct {
	name, body string
	says       []string
}

// Every CLI stops at what the schema refuses, so that each list has a plan of its own.
var (
	refusedBySchema = []refusal{
		{"port_word", `ports = ["http"]`, []string{`"http" is no port`, `"http" is not a number from 1 to 65535`}},
		{"port_range", `ports = ["70000:80"]`, []string{`"70000" is not a number from 1 to 65535`}},
		{"port_zero", `ports = ["0:80"]`, []string{`"0" is not a number from 1 to 65535`}},
		{"port_protocol", `ports = ["80:80/icmp"]`, []string{"the protocol is tcp, udp or sctp"}},
		{"port_name", `ports = ["db.example.com:80:80"]`, []string{"the first part is not an IP address (IPv6 in brackets)"}},
		{"port_bracket", `ports = ["[::1:80:80"]`, []string{"the bracket is not closed"}},
		{"port_parts", `ports = ["127.0.0.1:1:2:3"]`, []string{"it has too many parts"}},
		{"port_same_text", `ports = ["80:80", "80:80"]`, []string{"duplicate"}},
		{"volume_no_path", `volumes = ["data"]`, []string{"must be NAME:/path[:options] or /host/path:/path[:options]"}},
		{"volume_relative", `volumes = ["data:up"]`, []string{"must be NAME:/path[:options]"}},
		{"volume_above", `volumes = ["../data:/data"]`, []string{"must be NAME:/path[:options]"}},
		{"directory_relative", `directories = ["conf:conf"]`, []string{`with a local path without ".."`}},
		{"directory_above", `directories = ["../conf:/conf"]`, []string{`with a local path without ".."`}},
		{"directory_between", `directories = ["a/../../conf:/conf"]`, []string{`with a local path without ".."`}},
		{"file_relative", `files = [{ path = "etc/db.cnf", content = "x" }]`, []string{"must be absolute"}},
		{"file_above", `files = [{ path = "/etc/../db.cnf", content = "x" }]`, []string{`must be absolute, without ".." and ":"`}},
		{"file_colon", `files = [{ path = "/etc/db:cnf", content = "x" }]`, []string{`must be absolute, without ".." and ":"`}},
		{"file_mode", `files = [{ path = "/a", content = "x", mode = "rw-r--r--" }]`, []string{`must be octal, as in "0644"`}},
		{"file_mode_digit", `files = [{ path = "/a", content = "x", mode = "0648" }]`, []string{`must be octal, as in "0644"`}},
		{"file_owner", `files = [{ path = "/a", content = "x", owner = "a b" }]`, []string{"must be USER or USER:GROUP"}},
		{"file_empty", `files = [{ path = "/a" }]`, []string{"content", "secret_content"}},
		{"file_both", `files = [{ path = "/a", content = "x", secret_content = "y" }]`, []string{"content", "secret_content"}},
		{"label_service", `labels = { service = "x" }`, []string{"service", "none of"}},
		{"label_role", `labels = { role = "web" }`, []string{"role", "none of"}},
		{"label_cut", `labels = { "a=b" = "c" }`, []string{"is no name for a label"}},
		{"ulimit", `options = { ulimits = { nofile = "many" } }`, []string{"must be SOFT or SOFT:HARD"}},
		{"ulimit_name", `options = { ulimits = { "no file" = "1" } }`, []string{"is no name of a ulimit"}},
		{"shm", `options = { shm_size = "big" }`, []string{`Attribute options.shm_size: "big" is not an amount of memory`}},
		{"restart", `options = { restart = "sometimes" }`, []string{"must be no, always, unless-stopped or on-failure[:times]"}},
		{"restart_times", `options = { restart = "always:3" }`, []string{"must be no, always, unless-stopped or on-failure[:times]"}},
		{"memory", `memory = "lots"`, []string{`"lots" is not an amount of memory`}},
		{"memory_little", `memory = "1m"`, []string{"of at least 6m"}},
		{"cpus", `cpus = 0`, []string{"at least 0.01"}},
		{"env_name", `env = { "A B" = "c" }`, []string{"is no name for an environment variable"}},
		{"image_no_tag", `image = "registry.example.com:5000/db"`, []string{"Image without a version", "has neither a tag nor a digest"}},
		{"image_word", `image = "Postgres:17"`, []string{`"Postgres:17" is not an image reference`}},
		{"server", `server = "root@:22"`, []string{"Invalid server address", "[user@]address[:port]"}},
		{"name", `name = "my db"`, []string{"may have letters, digits, - and _ only"}},
		{"stop_timeout", `stop_timeout = "30"`, []string{`"30" is not a duration`}},
		{"health_both", `healthcheck = { command = ["true"], port = 80 }`, []string{"command", "port"}},
	}
	refusedByPlan = []refusal{
		{"port_twice", `ports = ["80:3000", "127.0.0.1:80:3001"]`, []string{`"80:3000" and "127.0.0.1:80:3001" publish the same port of the server`}},
		{"port_all", `ports = ["127.0.0.1:80:3000", "0.0.0.0:80:3000"]`, []string{"publish the same port of the server"}},
		{"mount_root", `volumes = ["data:/"]`, []string{"nothing can be mounted at /"}},
		{"mount_twice", "volumes = [\"data:/data\"]\n  directories = [\"other:/data/\"]", []string{"are mounted at /data"}},
		{"mount_file", "volumes = [\"data:/etc/db.key\"]\n  files = [{ path = \"/etc/db.key\", secret_content = \"x\" }]", []string{"are mounted at /etc/db.key"}},
		{"mount_tmpfs", "volumes = [\"data:/data\"]\n  options = { tmpfs = { \"/data\" = \"\" } }", []string{"are mounted at /data"}},
		{"mount_secrets", "secrets = { A = \"x\" }\n  secrets_as_files = [\"A\"]\n  volumes = [\"data:/run/secrets\"]", []string{"are mounted at /run/secrets"}},
		{"mount_in_secrets", "secrets = { A = \"x\" }\n  secrets_as_files = [\"A\"]\n  files = [{ path = \"/run/secrets/B\", content = \"x\" }]",
			[]string{"secrets_as_files is mounted at /run/secrets, read-only, so that nothing can be mounted at /run/secrets/B"}},
		{"secret_name", `secrets = { "A B" = "x" }`, []string{`"A B" is no name for an environment variable`}},
		{"secret_large", `secrets = { A = format("%131072s", "x") }`, []string{"A has 131074 bytes with its name: the kernel takes 131071 at the most"}},
		{"secrets_large", `secrets = { for i in range(9) : "A${i}" => format("%130000s", "x") }`, []string{"bytes together: 1048576 is the most"}},
		{"secret_line_break", `secrets = { "foo.bar" = "x\ny" }`, []string{"the value of foo.bar has a line break", "rename it"}},
		{"secret_file_name", "secrets = { \"a/b\" = \"x\" }\n  secrets_as_files = [\"a/b\"]", []string{`"a/b" can't be the name of a file in /run/secrets`}},
		{"secret_file_large", `files = [{ path = "/a", secret_content = format("%1048577s", "x") }]`, []string{"the value of /a has 1048577 bytes: 1048576 is the most"}},
		{"secret_and_env", "env = { A = \"x\" }\n  secrets = { A = \"y\" }", []string{"A variable is given twice", "A is in env and in secrets"}},
		{"file_of_none", "secrets = { A = \"x\" }\n  secrets_as_files = [\"B\"]", []string{"A file of no secret", "B is in secrets_as_files and not in secrets"}},
	}
)

func TestAccessoryPlanErrors(t *testing.T) {
	t.Parallel()
	w := newWorkspace(t)
	for _, list := range [][]refusal{refusedBySchema, refusedByPlan} {
		config := ""
		for _, r := range list {
			config += fmt.Sprintf("resource \"kamal_accessory\" %q {\n", r.name)
			for _, a := range []string{`server = "10.0.0.1"`, `service = "shop"`, `name = "db"`, `image = "registry.example.com/db:v1"`} {
				if attribute, _, _ := strings.Cut(a, " "); !strings.HasPrefix(r.body, attribute+" ") {
					config += "  " + a + "\n"
				}
			}
			config += "  " + r.body + "\n}\n"
		}
		w.Write("main.tf", config)
		errors := strings.Split("\n"+w.PlanFails(), "\nError: ")[1:]
		for _, r := range list {
			if attributes := strings.Split(r.body, "\n"); strings.HasPrefix(r.name, "port_") || strings.HasPrefix(r.name, "mount_") {
				last, _, _ := strings.Cut(attributes[len(attributes)-1], "=")
				if r.name == "mount_secrets" {
					last = "secrets_as_files "
				}
				r.says = append(r.says, strings.TrimSpace(last)+" = ") // the CLI shows the line
			}
			if !slices.ContainsFunc(errors, func(e string) bool {
				return strings.Contains(e, "with kamal_accessory."+r.name+",") &&
					!slices.ContainsFunc(r.says, func(text string) bool { return !says(e, text) })
			}) {
				t.Errorf("%s: no error says %q", r.name, r.says)
			}
		}
		if calls := w.Calls(); len(calls) > 0 {
			t.Errorf("a server was called: %v", calls)
		}
	}
}
