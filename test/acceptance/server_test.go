package acceptance

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/kamal-terraform/terraform-provider-kamal/test/testbed"
)

const webServer = `
resource "kamal_server" "web" {
  server = "{{server 0}}"
}
`

func TestServerMakesABareMachineReadyAndMendsIt(t *testing.T) {
	story(t)
	t.Parallel()
	s := bed(t).Warm(t, testbed.Debian13Bare)
	w := newWorkspace(t, s)
	w.Write("main.tf", webServer)
	const web = "kamal_server.web"

	p := w.Plan()
	if p.Actions(web) != "create" || p.After(web, "docker_running") != true || p.After(web, "docker", "log_max_size") != "10m" || !p.Unknown(web, "memory") {
		t.Errorf("first plan:\n%s", p.Text)
	}
	w.Apply()
	if n, calls := w.Handshakes(s.Address), w.RemoteCalls(s.Address); n != 1 || len(calls) != 2 {
		t.Errorf("%d handshakes, calls %q; want one and two", n, calls)
	}
	state := w.State(web)
	for attribute, want := range map[string]string{
		"id": s.Address, "os": "debian", "os_version": "13", "host_key": s.HostKey, "network": "true",
		"machine_id":     strings.TrimSpace(s.SSH(t, "cat /etc/machine-id")),
		"cpus":           strings.TrimSpace(s.SSH(t, "nproc")),
		"memory":         strings.TrimSpace(s.SSH(t, "sed -n 's/^MemTotal: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo | xargs -I{} expr {} \\* 1024")),
		"docker_version": strings.TrimSpace(s.SSH(t, "docker version --format '{{.Server.Version}}'")),
		"architecture":   strings.TrimSpace(s.SSH(t, "dpkg --print-architecture")),
	} {
		got := fmt.Sprint(state[attribute])
		if n, ok := state[attribute].(float64); ok {
			got = fmt.Sprintf("%.0f", n)
		}
		if got != want {
			t.Errorf("%s = %s, want %s", attribute, got, want)
		}
	}
	s.SSH(t, `systemctl is-enabled docker && docker network inspect kamal && [ "$(docker info --format '{{.LiveRestoreEnabled}}')" = true ]
		grep -q '"userland-proxy": false' /etc/docker/daemon.json && [ "$(stat -c %a /etc/docker/daemon.json)" = 644 ]`)

	for _, d := range []struct {
		spoil   string
		changed []string
		says    []string
		mended  string
	}{
		{"systemctl stop docker.socket docker; rm /etc/docker/daemon.json", []string{"docker", "docker_running"},
			[]string{"docker_running = false -> true", "live_restore = false -> true"}, "systemctl is-active docker; grep live-restore /etc/docker/daemon.json"},
		{`systemctl disable docker; docker network rm kamal; sed -i 's/"10m"/"1g"/' /etc/docker/daemon.json`, []string{"docker", "docker_enabled", "network"},
			[]string{"docker_enabled = false -> true", "network = false -> true", `log_max_size = "1g" -> "10m"`},
			`systemctl is-enabled docker; docker network inspect kamal; grep '"max-size": "10m"' /etc/docker/daemon.json`},
	} {
		s.SSH(t, d.spoil)
		p := w.Plan()
		if got := p.Changed(web); p.Actions(web) != "update" || !slices.Equal(got, d.changed) {
			t.Errorf("%s: %s of %q, want an update of %q", d.spoil, p.Actions(web), got, d.changed)
		}
		for _, text := range d.says {
			if !says(p.Text, text) {
				t.Errorf("%s: the plan doesn't say %q:\n%s", d.spoil, text, p.Text)
			}
		}
		w.Apply(p.File)
		s.SSH(t, d.mended)
	}

	pid := s.SSH(t, "systemctl show docker --property=MainPID")
	w.Write("main.tf", strings.Replace(webServer, `"{{server 0}}"`, `"root@{{server 0}}:22"`, 1))
	if p := w.Plan(); p.Actions(web) != "update" || p.After(web, "id") != "root@"+s.Address+":22" {
		t.Errorf("another spelling of the server:\n%s", p.Text)
	}
	w.Apply()
	if now := s.SSH(t, "systemctl show docker --property=MainPID"); now != pid {
		t.Errorf("another spelling of the server restarted Docker: %s, was %s", now, pid)
	}

	w.CLI("state", "rm", web)
	w.ImportFails(web, "ssh://"+s.Address, "Invalid import id", "without ssh://")
	w.Import(web, "root@"+s.Address+":22")
	w.PlanEmpty()

	w.Destroy()
	s.SSH(t, "systemctl is-active docker && docker network inspect kamal && grep live-restore /etc/docker/daemon.json")
}

func TestServerIsImportedByIdentity(t *testing.T) {
	needs(t, importByIdentity)
	t.Parallel()
	s := bed(t).Warm(t, newest)
	w := newWorkspace(t, s)
	w.Write("main.tf", webServer)
	w.Apply()
	w.CLI("state", "rm", "kamal_server.web")
	w.Write("import.tf", `import {
  to       = kamal_server.web
  identity = { server = "{{server 0}}" }
}`)
	w.Apply()
}

func TestServerKnownOnlyAfterAnotherResource(t *testing.T) {
	t.Parallel()
	s := bed(t).Warm(t, newest)
	w := newWorkspace(t, s)
	const config = `
variable "generation" { default = "1" }

# Stands for a cloud's server: its address is known when it is there.
resource "terraform_data" "machine" {
  input            = "{{server 0}}"
  triggers_replace = var.generation
}

resource "kamal_server" "web" {
  server = terraform_data.machine.output
}

resource "kamal_proxy" "web" {
  server = kamal_server.web.server
  image  = "{{image "basecamp/kamal-proxy"}}"
}

data "kamal_server" "web" {
  server     = kamal_server.web.server
  depends_on = [kamal_server.web]
}

output "facts" { # what changes by itself would be a change of the output
  value = {
    running = data.kamal_server.web.docker_running, os = data.kamal_server.web.os_version, user = data.kamal_server.web.user
    kernel  = data.kamal_server.web.kernel, machine = data.kamal_server.web.machine_id
    disk    = data.kamal_server.web.disk_free > 1024 * 1024 * 1024, skew = abs(data.kamal_server.web.clock_skew) < 60
  }
}
`
	w.Write("main.tf", config)
	if p := w.Plan(); !p.Unknown("kamal_server.web", "server") || p.After("kamal_server.web", "docker_running") != true {
		t.Errorf("first plan:\n%s", p.Text)
	}
	w.Apply()
	if got, want := fmt.Sprint(w.Output("facts")), fmt.Sprintf("map[disk:true kernel:%s machine:%s os:13 running:true skew:true user:root]",
		strings.TrimSpace(s.SSH(t, "uname -r")), strings.TrimSpace(s.SSH(t, "cat /etc/machine-id"))); got != want {
		t.Errorf("facts: %s\nwant   %s", got, want)
	}
	before := containerID(t, s)
	w.Setenv("TF_VAR_generation", "2")
	p := w.Plan()
	for _, address := range []string{"kamal_server.web", "kamal_proxy.web"} {
		if p.Actions(address) != "update" {
			t.Errorf("%s with an unknown server: %s, want update\n%s", address, p.Actions(address), p.Text)
		}
	}
	w.Apply(p.File)
	if containerID(t, s) != before {
		t.Error("the same machine again, and its kamal-proxy was restarted")
	}
}
