package acceptance

import (
	"fmt"
	"strings"
	"testing"
)

// The state knows a machine by the host key that it showed first and by its id:
// another one is told from it, a move leaves the old one as it is, and one that
// is lost for good can be destroyed.
func TestServerThatIsAnotherMachineOrLost(t *testing.T) {
	aboutServers(t)
	t.Parallel()
	old, next := bed(t).Warm(t, newest), bed(t).Warm(t, oldest)
	w := newWorkspace(t, old, next)
	const web = "kamal_server.web"
	provider := fmt.Sprintf("ssh = { private_key_file = %q, known_hosts = \"/dev/null\", host_key_policy = \"accept-new\" }\n", w.Bed.KeyFile)
	config := strings.Replace(webServer, "}\n", "  remove_docker_on_destroy = true\n}\n", 1)
	w.Provider(provider)
	w.Write("main.tf", config)
	w.Apply()
	old.SSH(t, "echo 0123456789abcdef0123456789abcdef > /etc/machine-id")
	if p := w.Plan(); !says(p.Text, "Another machine answers as "+old.Address) || !p.Empty() {
		t.Errorf("another machine with Docker set up:\n%s", p.Text)
	}
	w.Apply("-refresh-only")
	if got := w.State(web)["machine_id"]; got != "0123456789abcdef0123456789abcdef" {
		t.Errorf("machine_id = %v", got)
	}

	w.Write("main.tf", strings.Replace(config, "server 0", "server 1", 1))
	if p := w.Plan(); p.Actions(web) != "update" || !p.Unknown(web, "machine_id") {
		t.Errorf("plan of a move:\n%s", p.Text)
	}
	if out := w.Apply(); !says(out, "was left as it is") {
		t.Errorf("no word about the old machine:\n%s", out)
	}
	if got := w.State(web)["os_version"]; got != "12" {
		t.Errorf("os_version = %v after the move, want 12", got)
	}
	next.SSH(t, "docker network inspect kamal")
	old.SSH(t, "docker network inspect kamal && grep live-restore /etc/docker/daemon.json")

	next.SSH(t, `tar -c --files-from /dev/null | docker import - nothing
		docker run -d --name busy -v /bin:/bin:ro -v /lib:/lib:ro -v /lib64:/lib64:ro -v /usr:/usr:ro nothing /bin/sleep 1000`)
	w.DestroyFails("Unable to remove Docker on "+next.Address, "containers run there: busy", "remove_docker_on_destroy = false")
	next.SSH(t, "mkdir /root/kept; mv /etc/ssh/ssh_host_* /root/kept/; ssh-keygen -A; systemctl restart ssh")
	w.PlanFails("Unable to read kamal_server on "+next.Address, "is not the known one")
	next.SSH(t, "cp -p /root/kept/* /etc/ssh/; systemctl restart ssh")
	next.Stop(t)
	w.PlanFails("Unable to read kamal_server on "+next.Address, "cannot reach "+next.Address, `on_unreachable = "keep"`)
	w.Provider(provider + `on_unreachable = "keep"`)
	if p := w.Plan(); !p.Empty() || !says(p.Text, "Its state is kept as it was") {
		t.Errorf("plan with on_unreachable = keep:\n%s", p.Text)
	}
	if out := w.Destroy(); !says(out, "Docker was not removed from "+next.Address) {
		t.Errorf("no warning that Docker was not removed:\n%s", out)
	}
}

// What can't work is refused in a plan, all of it at once; and a create that
// failed leaves nothing in the state.
func TestServerRefusesBadSettings(t *testing.T) {
	t.Parallel()
	w := newWorkspace(t)
	text := ""
	var all []string
	for _, bad := range [][]string{
		{`server = "root@"`, "Invalid server address", "[user@]address[:port]", "root@"},
		{`server = "10.0.0.1:99999"`, "99999"},
		{`docker = { registry_mirrors = ["mirror.example.com"] }`, "must be an http or https URL"},
		{`docker = { insecure_registries = ["https://registry.lan"] }`, "must be HOST[:PORT]"},
		{`docker = { daemon_json = "[]" }`, "must be a JSON object"},
		{`docker = { daemon_json = jsonencode({ "log-opts" = {} }) }`, `has the key "log-opts", which log_max_size and log_max_file sets`},
		{`docker = { daemon_json = jsonencode({ "registry-mirrors" = ["x"] }) }`, "which registry_mirrors sets"},
		{`docker = { log_max_size = "lots" }`, "Invalid log size", "lots"},
		{`swap = { size = "much" }`, "Invalid amount of memory"},
		{`swap = { size = "1g", file = "swapfile" }`, "must be an absolute path"},
		{`docker = { install = false, install_script = "echo" }`, "install_script", "A script that is never run"},
	} {
		body := bad[0]
		if !strings.HasPrefix(body, "server") {
			body = "server = \"10.0.0.1\"\n  " + body
		}
		text += fmt.Sprintf("resource \"kamal_server\" \"bad%d\" {\n  %s\n}\n", len(all), body)
		all = append(all, bad[1:]...)
	}
	w.Write("main.tf", text)
	w.PlanFails(all...)

	w.Write("main.tf", "resource \"kamal_server\" \"web\" {\n  server = \"127.0.0.1:1\"\n  timeouts {\n    create = \"21s\"\n  }\n}\n")
	w.ApplyFails("Unable to set up the server on 127.0.0.1:1", "cannot reach 127.0.0.1:1", "still after 1s and")
	if left := w.Addresses(); len(left) > 0 {
		t.Errorf("a create that failed left %q in the state", left)
	}
}
