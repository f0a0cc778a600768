package acceptance

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/kamal-terraform/terraform-provider-kamal/test/testbed"
)

// A bare machine gets Docker by the user's script, mirrors, another key of
// daemon.json and swap; drift of each shows and is mended; what is taken out
// of the configuration goes, and what never was in it stays.
func TestServerWithAScriptRegistriesKeysAndSwap(t *testing.T) {
	aboutServers(t)
	t.Parallel()
	s := bed(t).Warm(t, testbed.Debian13Bare)
	w := newWorkspace(t, s)
	const web, swap = "kamal_server.web", "/var/lib/docker/swapfile-of-tests"
	// The kernel is everybody's here, and would go on swapping to the file of a server that is gone.
	t.Cleanup(func() { s.SSH(t, "swapoff "+swap+" 2>/dev/null || :") })
	config := func(docker, swap string) string {
		return fmt.Sprintf("resource \"kamal_server\" \"web\" {\n  server = \"{{server 0}}\"\n%s\n%s\n}\n"+`
data "kamal_server" "web" {
  server     = kamal_server.web.server
  depends_on = [kamal_server.web]
}
locals { facts = data.kamal_server.web }
output "facts" { # what changes by itself would be a change of the output
  value = {
    running = local.facts.docker_running, os = local.facts.os_version, user = local.facts.user, kernel = local.facts.kernel, machine = local.facts.machine_id
    disk = local.facts.disk_free > 1024 * 1024 * 1024, swap = local.facts.swap >= 64 * 1024 * 1024 - 4096, skew = abs(local.facts.clock_skew) < 60
  }
}
`, docker, swap)
	}
	// Stands in for what Docker's own repository needs, which is not to be reached here.
	const script = `install_script = <<-EOT
      #!/bin/bash
      set -euo pipefail
      echo "by the script" > /root/installed-by
      apt-get -qq update
      apt-get -qq install -y --no-install-recommends docker.io docker-cli iptables >/dev/null
    EOT
`
	full := config(`  docker = {
    `+script+`
    registry_mirrors    = ["https://mirror.example.com"]
    insecure_registries = ["registry.lan:5000", "10.9.0.0/16"]
    daemon_json         = jsonencode({ "default-address-pools" = [{ base = "10.99.0.0/16", size = 24 }], "max-concurrent-downloads" = 5 })
  }`, `  swap = { size = "64m", file = "`+swap+`" }`)

	// What can't work is refused before anything is changed.
	w.Write("main.tf", config("", `  swap = { size = "900000g" }`))
	w.ApplyFails("Unable to set up the server on "+s.Address, "too little for a swap file", "nothing was changed")
	s.SSH(t, `! command -v dockerd && ! [ -e /etc/docker/daemon.json ] && echo '{"dns": ["10.9.8.7"]}' >/root/there && mkdir -p /etc/docker /var/lib/docker && cp /root/there /etc/docker/daemon.json`)
	w.Write("main.tf", full)
	w.Apply()
	if n, calls := w.Handshakes(s.Address), w.RemoteCalls(s.Address); n != 1 || len(calls) != 3 {
		t.Errorf("%d handshakes, calls %q; want one, and three with the data source's", n, calls)
	}
	running := func() string {
		return s.SSH(t, `cat /root/installed-by; docker info --format '{{range .RegistryConfig.Mirrors}}{{.}} {{end}}{{range .RegistryConfig.InsecureRegistryCIDRs}}{{.}} {{end}}{{(index .DefaultAddressPools 0).Base}}'
			grep -o '"dns": *\[' /etc/docker/daemon.json; docker network inspect kamal --format '{{(index .IPAM.Config 0).Subnet}}' | cut -d. -f1,2
			awk '$1 == "`+swap+`" {print $3}' /proc/swaps; grep -c '^`+swap+` none swap' /etc/fstab; stat -c '%a %s' `+swap)
	}
	want := "by the script\nhttps://mirror.example.com/ 10.9.0.0/16 127.0.0.0/8 10.99.0.0/16\n\"dns\": [\n10.99\n65532\n1\n600 67108864"
	if got := strings.TrimSpace(running()); got != want {
		t.Errorf("Docker and swap:\n%s\nwant\n%s", got, want)
	}
	if got, want := fmt.Sprint(w.Output("facts")), fmt.Sprintf("map[disk:true kernel:%s machine:%s os:13 running:true skew:true swap:true user:root]",
		strings.TrimSpace(s.SSH(t, "uname -r")), strings.TrimSpace(s.SSH(t, "cat /etc/machine-id"))); got != want {
		t.Errorf("facts: %s\nwant   %s", got, want)
	}

	for _, d := range []struct{ name, spoil, changed, says string }{
		{"another mirror, a key changed", `sed -i 's/mirror.example/other.example/; s/"max-concurrent-downloads": 5/"max-concurrent-downloads": 7/' /etc/docker/daemon.json`, "docker", `"https://other.example.com"`},
		{"a key gone", `sed -i '/max-concurrent-downloads/d; s|"default-address-pools"|"max-concurrent-uploads": 3, &|' /etc/docker/daemon.json`, "docker", "max-concurrent-downloads"},
		{"swap off", "swapoff " + swap, "swap", `size = "64m"`},
		{"not swapped to at boot", `sed -i '\|` + swap + `|d' /etc/fstab`, "swap", `size = "64m"`},
	} {
		s.SSH(t, d.spoil)
		p := w.Plan("-target=" + web)
		if got := p.Changed(web); p.Actions(web) != "update" || !slices.Equal(got, []string{d.changed}) || !says(p.Text, d.says) {
			t.Errorf("%s: %s of %q, want an update of %s that says %s\n%s", d.name, p.Actions(web), got, d.changed, d.says, p.Text)
		}
		w.Apply()
		if got := strings.TrimSpace(running()); got != want {
			t.Errorf("%s, after the repair:\n%s\nwant\n%s", d.name, got, want)
		}
	}

	w.Write("main.tf", config("", ""))
	w.Apply()
	if got := strings.TrimSpace(s.SSH(t, `tr -d ' \n' </etc/docker/daemon.json; echo; [ ! -e `+swap+` ]; awk '$1 == "`+swap+`"' /proc/swaps /etc/fstab; docker info --format '{{len .RegistryConfig.Mirrors}}'`)); got !=
		`{"dns":["10.9.8.7"],"log-opts":{"max-size":"10m","max-file":"3"},"live-restore":true,"max-concurrent-uploads":3,"userland-proxy":false}`+"\n0" {
		t.Errorf("after it was taken out of the configuration:\n%s", got)
	}
}

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
