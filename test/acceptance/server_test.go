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

	drifts := []struct {
		name, spoil  string
		changed      []string
		says, mended string
	}{
		{"Docker stopped", "systemctl stop docker.socket docker", []string{"docker_running"}, "docker_running = false -> true", "systemctl is-active docker"},
		{"not started at boot", "systemctl disable docker", []string{"docker_enabled"}, "docker_enabled = false -> true", "systemctl is-enabled docker"},
		{"network gone", "docker network rm kamal", []string{"network"}, "network = false -> true", "docker network inspect kamal"},
		{"log options changed", `sed -i 's/"10m"/"1g"/' /etc/docker/daemon.json`, []string{"docker"}, `log_max_size = "1g" -> "10m"`, `grep '"max-size": "10m"' /etc/docker/daemon.json`},
		{"file gone", "rm /etc/docker/daemon.json", []string{"docker"}, "live_restore = false -> true", "grep live-restore /etc/docker/daemon.json"},
	}
	for _, d := range drifts {
		s.SSH(t, d.spoil)
		p := w.Plan()
		if got := p.Changed(web); p.Actions(web) != "update" || !slices.Equal(got, d.changed) || !says(p.Text, d.says) {
			t.Errorf("%s: %s of %q, want an update of %q that says %s\n%s", d.name, p.Actions(web), got, d.changed, d.says, p.Text)
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

	w.Destroy()
	s.SSH(t, "systemctl is-active docker && docker network inspect kamal && grep live-restore /etc/docker/daemon.json")
}

func TestServerIsImportedByIdentity(t *testing.T) {
	needs(t, importByIdentity)
	t.Parallel()
	s := bed(t).Warm(t, testbed.Debian13)
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
	s := bed(t).Warm(t, testbed.Debian13)
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
`
	w.Write("main.tf", config)
	if p := w.Plan(); !p.Unknown("kamal_server.web", "server") || p.After("kamal_server.web", "docker_running") != true {
		t.Errorf("first plan:\n%s", p.Text)
	}
	w.Apply()
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
