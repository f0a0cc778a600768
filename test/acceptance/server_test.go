package acceptance

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/test/testbed"
)

const webServer = `
resource "kamal_server" "web" {
  server = "{{server 0}}"
}
`

// holdLock makes a process hold dpkg's lock as apt does, until the unit is stopped.
const holdLock = `cat > /root/hold.pl <<'END'
use Fcntl;
$0 = "stub-of-unattended-upgrade";
open(F, ">>", "/var/lib/dpkg/lock-frontend") or die;
my $lock = pack("s s x4 q q l x4", F_WRLCK, 0, 0, 0, 0);
fcntl(F, F_SETLK, $lock) or die;
open(G, ">", "/run/holding"); close(G);
sleep 600;
END
systemd-run --quiet --unit=holder perl /root/hold.pl
for i in $(seq 300); do [ ! -e /run/holding ] || exit 0; sleep 0.1; done; exit 1`

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

func TestServerIsImportedAndRemovesDockerWhenToldTo(t *testing.T) {
	aboutServers(t)
	t.Parallel()
	s := bed(t).Warm(t, testbed.Debian13)
	w := newWorkspace(t, s)
	w.Write("main.tf", webServer)
	w.Apply()
	w.CLI("state", "rm", "kamal_server.web")
	w.ImportFails("kamal_server.web", "ssh://"+s.Address, "Invalid import id", "without ssh://")
	w.Import("kamal_server.web", s.Address)
	w.PlanEmpty()

	w.Write("main.tf", strings.Replace(webServer, "}\n", "  remove_docker_on_destroy = true\n}\n", 1))
	w.Apply()
	// Any image does: an empty one whose command is mounted into it.
	s.SSH(t, `tar -c --files-from /dev/null | docker import - nothing && docker run -d --name busy -v /:/host:ro --entrypoint /host/bin/sh nothing -c true >/dev/null 2>&1 || true
		docker rm -f busy >/dev/null; docker run -d --name busy -v /bin:/bin:ro -v /lib:/lib:ro -v /lib64:/lib64:ro -v /usr:/usr:ro nothing /bin/sleep 1000`)
	w.DestroyFails("Unable to remove Docker on "+s.Address, "containers run there: busy", "remove_docker_on_destroy = false")
	s.SSH(t, "docker inspect --format '{{.State.Running}}' busy | grep true && docker rm -f busy")
	w.Destroy()
	s.SSH(t, "! command -v dockerd && ! command -v docker && [ -d /var/lib/docker ]")
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

func TestServerLeavesAnExistingDaemonJSONAndARunningDockerAlone(t *testing.T) {
	aboutServers(t)
	t.Parallel()
	s := bed(t).Warm(t, testbed.Debian12)
	w := newWorkspace(t, s)
	w.Write("main.tf", webServer)

	// Already as wanted, spelled in another way: nothing is written.
	const there = `{"dns": ["10.9.8.7"], "log-opts": {"tag": "x", "max-file": "3", "max-size": "10000k"}, "live-restore": true, "userland-proxy": true}`
	s.SSH(t, "echo '"+there+"' > /etc/docker/daemon.json; chmod 600 /etc/docker/daemon.json; systemctl restart docker")
	pid := s.SSH(t, "systemctl show docker --property=MainPID")
	w.Apply()
	if got := strings.TrimSpace(s.SSH(t, "cat /etc/docker/daemon.json")); got != there {
		t.Errorf("daemon.json was rewritten: %s", got)
	}
	if now := s.SSH(t, "systemctl show docker --property=MainPID"); now != pid {
		t.Errorf("Docker was restarted: %s, was %s", now, pid)
	}

	// Other settings while a container runs: written, reloaded, nothing restarted, and said so.
	s.SSH(t, `tar -c --files-from /dev/null | docker import - nothing
		docker run -d --name busy -v /bin:/bin:ro -v /lib:/lib:ro -v /lib64:/lib64:ro -v /usr:/usr:ro nothing /bin/sleep 1000`)
	w.Write("main.tf", strings.Replace(webServer, "}\n", "  docker = { log_max_size = \"20m\", live_restore = false }\n}\n", 1))
	out := w.Apply()
	if !says(out, "which Docker takes only when it is restarted") {
		t.Errorf("no warning that the log options wait for a restart:\n%s", out)
	}
	if now := s.SSH(t, "systemctl show docker --property=MainPID"); now != pid {
		t.Errorf("Docker was restarted under a running container: %s, was %s", now, pid)
	}
	s.SSH(t, `f=/etc/docker/daemon.json
		grep -q 10.9.8.7 $f && grep -q '"tag": "x"' $f && grep -q '"max-size": "20m"' $f && grep -q '"userland-proxy": true' $f
		[ "$(stat -c %a $f)" = 600 ] && grep -q 10000k $f.before-kamal
		[ "$(docker info --format '{{.LiveRestoreEnabled}}')" = false ]`)
	s.SSH(t, "docker rm -f busy")

	// A file that dockerd would choke on is not touched.
	s.SSH(t, "echo '{\"dns\": [' > /etc/docker/daemon.json")
	w.ApplyFails("Unable to set up the server on "+s.Address, "/etc/docker/daemon.json is malformed", "nothing was changed")
	if got := strings.TrimSpace(s.SSH(t, "cat /etc/docker/daemon.json")); got != `{"dns": [` {
		t.Errorf("the malformed file was touched: %s", got)
	}

	// A setting that keeps dockerd from starting: what was there is put back.
	// (20.10 cannot validate a file; the flag of the unit is hidden from a look at the process.)
	const good = `{"log-opts": {"max-size": "5m", "max-file": "3"}}`
	s.SSH(t, "echo '"+good+`' > /etc/docker/daemon.json
		mkdir -p /etc/systemd/system/docker.service.d
		printf '[Service]\nExecStart=\nExecStart=/usr/sbin/dockerd -H fd:// --containerd=/run/containerd/containerd.sock --live-restore=false\n' > /etc/systemd/system/docker.service.d/flag.conf
		systemctl daemon-reload`)
	w.Write("main.tf", webServer)
	w.ApplyFails("Unable to set up the server", "restart Docker, where no container runs", "live-restore")
	s.SSH(t, "docker version")
	if got := strings.TrimSpace(s.SSH(t, "cat /etc/docker/daemon.json")); got != good {
		t.Errorf("the old file was not put back: %s", got)
	}
}

func TestServerWaitsForThePackageManagerAndNamesWhoHoldsIt(t *testing.T) {
	aboutServers(t)
	t.Parallel()
	s := bed(t).Warm(t, testbed.Debian13Bare)
	w := newWorkspace(t, s)
	w.Write("main.tf", strings.Replace(webServer, "}\n", "  timeouts {\n    create = \"30s\"\n  }\n}\n", 1))
	s.SSH(t, "rm -r /etc/docker") // there only because of the testbed's registry
	s.SSH(t, holdLock)
	pid := strings.TrimSpace(s.SSH(t, "systemctl show holder --property=MainPID --value"))
	w.ApplyFails("Unable to set up the server on "+s.Address, "/var/lib/dpkg/lock-frontend is locked by pid "+pid, "stub-of-unattended-upgrade", "nothing was changed")
	s.SSH(t, "! command -v dockerd && [ ! -e /etc/docker/daemon.json ]")
	if left := w.Addresses(); len(left) > 0 {
		t.Errorf("a create that failed left %q in the state", left)
	}

	w.Write("main.tf", webServer)
	started := w.Start()
	eventually(t, time.Minute, "the provider waits", func() bool { return says(started.Output(), "Still creating") })
	s.SSH(t, "! command -v dockerd && systemctl stop holder")
	if out, code := started.Wait(); code != 0 {
		t.Fatalf("apply after the lock was free: exit code %d\n%s", code, out)
	}
	w.PlanEmpty()
}

func TestServerWaitsForCloudInit(t *testing.T) {
	aboutServers(t)
	t.Parallel()
	s := bed(t).Warm(t, testbed.Debian13)
	w := newWorkspace(t, s)
	w.Write("main.tf", strings.Replace(webServer, "}\n", "  timeouts {\n    create = \"30s\"\n  }\n}\n", 1))
	s.SSH(t, `printf '#!/bin/sh\necho "status: $(cat /run/ci)"\n' > /usr/local/bin/cloud-init; chmod 755 /usr/local/bin/cloud-init; echo running > /run/ci`)
	w.ApplyFails("Unable to set up the server on "+s.Address, "cloud-init still runs after", "status: running")
	s.SSH(t, "echo done > /run/ci")
	w.Write("main.tf", webServer)
	w.Apply()
}

func TestServerSaysWhyItCannotBeSetUp(t *testing.T) {
	aboutServers(t)
	t.Parallel()
	s := bed(t).Warm(t, testbed.Debian13Bare)
	w := newWorkspace(t, s)

	for _, bad := range []string{"root@", "10.0.0.1:99999", "2001:db8::1", "two words", "ssh://10.0.0.1"} {
		w.Write("main.tf", fmt.Sprintf("resource \"kamal_server\" \"web\" {\n  server = %q\n}\n", bad))
		w.PlanFails("Invalid server address", "[user@]address[:port]")
	}
	w.Write("main.tf", strings.Replace(webServer, "}\n", "  docker = { log_max_size = \"lots\" }\n}\n", 1))
	w.PlanFails("Invalid log size", "lots")

	// What would make the installation fail with words that nobody understands.
	w.Write("main.tf", webServer)
	s.SSH(t, "mount -t tmpfs -o size=100m tmpfs /var/lib/docker")
	w.ApplyFails("Unable to set up the server on "+s.Address, "the disk is nearly full: 100 MiB are free where Docker keeps its data", "nothing was changed")
	s.SSH(t, "umount /var/lib/docker; printf '#!/bin/sh\\nexec /bin/date --date \"1 hour\" \"$@\"\\n' > /usr/local/bin/date; chmod 755 /usr/local/bin/date")
	w.ApplyFails("Unable to set up the server on "+s.Address, "its clock says", "apart", "timedatectl set-ntp true", "nothing was changed")
	s.SSH(t, "rm /usr/local/bin/date; ! command -v dockerd")

	w.Write("main.tf", strings.Replace(webServer, "}\n", "  docker = { install = false }\n}\n", 1))
	w.ApplyFails("Unable to set up the server on "+s.Address, "Docker is missing", "docker.install is false")
	s.SSH(t, "sed -i 's/^ID=.*/ID=fedora/; s/^PRETTY_NAME=.*/PRETTY_NAME=\"Fedora Linux 42\"/' /etc/os-release")
	w.Write("main.tf", webServer)
	w.ApplyFails("without install_script it is installed from the packages of Debian and Ubuntu", "Fedora Linux 42")

	// Wrong host key.
	w.Provider("ssh = { private_key_file = \"" + w.Bed.KeyFile + "\", host_key = \"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBrB1kmtyqmi8u2vz2h1wNi5JIXAKcQ5oRfWMrKqTKQZ\" }")
	w.ApplyFails("Unable to set up the server on "+s.Address, "the host key of "+s.Address+" is not the known one")
	// Nobody is known: strict.
	w.Provider("ssh = { private_key_file = \"" + w.Bed.KeyFile + "\", known_hosts = \"/dev/null\" }")
	w.ApplyFails("the host key of "+s.Address+" is not known", "ssh-ed25519 SHA256:")
	// A key that the server refuses. A server that is created may still be
	// booting, and its key may not be there yet: it is tried until the time is up.
	// (Debian 13's sshd would stop answering somebody who fails so often.)
	s = bed(t).Warm(t, testbed.Debian12)
	w.Servers[0] = s
	s.SSH(t, `systemctl stop docker.socket docker; mv /usr/sbin/iptables /usr/sbin/iptables.away
		printf '#!/bin/sh\necho "iptables: no such module" >&2; exit 3\n' > /usr/sbin/iptables; chmod 755 /usr/sbin/iptables`)
	w.Provider("ssh = {{ssh}}")
	w.Write("main.tf", webServer)
	w.ApplyFails("Unable to set up the server on "+s.Address, "start Docker, now and at boot", "iptables does not work, which Docker needs: iptables: no such module")
	s.SSH(t, "mv /usr/sbin/iptables.away /usr/sbin/iptables; mv /root/.ssh/authorized_keys /root/.ssh/kept")
	w.Provider("ssh = {{ssh}}")
	w.Write("main.tf", strings.Replace(webServer, "}\n", "  timeouts {\n    create = \"25s\"\n  }\n}\n", 1))
	w.ApplyFails("Unable to set up the server on "+s.Address, `refused to log in user "root"`)
	// Nothing answers.
	s.Stop(t)
	w.ApplyFails("Unable to set up the server on "+s.Address, "cannot reach "+s.Address)
}

func TestServerThatIsLostCanBeDestroyed(t *testing.T) {
	aboutServers(t)
	t.Parallel()
	s := bed(t).Warm(t, testbed.Debian13)
	w := newWorkspace(t, s)
	w.Write("main.tf", strings.Replace(webServer, "}\n", "  remove_docker_on_destroy = true\n}\n", 1))
	w.Apply()
	s.Stop(t)
	w.PlanFails("Unable to read kamal_server on "+s.Address, "cannot reach "+s.Address, `on_unreachable = "keep"`)
	w.Provider("ssh            = {{ssh}}\non_unreachable = \"keep\"")
	if p := w.Plan(); !p.Empty() || !says(p.Text, "Its state is kept as it was") {
		t.Errorf("plan with on_unreachable = keep:\n%s", p.Text)
	}
	if out := w.Destroy(); !says(out, "Docker was not removed from "+s.Address) {
		t.Errorf("no warning that Docker was not removed:\n%s", out)
	}
}

func TestServerMovesToAnotherMachine(t *testing.T) {
	aboutServers(t)
	t.Parallel()
	old, next := bed(t).Warm(t, testbed.Debian13), bed(t).Warm(t, testbed.Debian12)
	w := newWorkspace(t, old, next)
	w.Write("main.tf", webServer)
	w.Apply()
	w.Write("main.tf", strings.Replace(webServer, "server 0", "server 1", 1))
	p := w.Plan()
	if p.Actions("kamal_server.web") != "update" || !p.Unknown("kamal_server.web", "machine_id") {
		t.Errorf("plan of a move:\n%s", p.Text)
	}
	if out := w.Apply(); !says(out, "was left as it is") {
		t.Errorf("no word about the old machine:\n%s", out)
	}
	if got := w.State("kamal_server.web")["os_version"]; got != "12" {
		t.Errorf("os_version = %v after the move, want 12", got)
	}
	next.SSH(t, "docker network inspect kamal")
	old.SSH(t, "docker network inspect kamal && grep live-restore /etc/docker/daemon.json")
}

func TestServerInstallGoesOnWhenTheProviderIsKilled(t *testing.T) {
	aboutServers(t)
	t.Parallel()
	s := bed(t).Warm(t, testbed.Debian13Bare)
	w := newWorkspace(t, s)
	w.Write("main.tf", webServer)
	apply := w.Start()
	eventually(t, time.Minute, "apt unpacks", func() bool {
		out, err := s.Run(t.Context(), "ls /var/lib/dpkg/info | grep -c containerd || true")
		return err == nil && strings.TrimSpace(out) != "0"
	})
	apply.KillProvider()
	apply.Wait()
	w.Apply()
	s.SSH(t, "[ -z \"$(dpkg --audit)\" ] && docker network inspect kamal")
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

func TestServerPinsTheFirstHostKeyAndTellsAnotherMachine(t *testing.T) {
	aboutServers(t)
	t.Parallel()
	s := bed(t).Warm(t, testbed.Debian12)
	w := newWorkspace(t, s)
	w.Provider("ssh = { private_key_file = \"" + w.Bed.KeyFile + "\", known_hosts = \"/dev/null\", host_key_policy = \"accept-new\" }")
	w.Write("main.tf", webServer)
	w.Apply()

	s.SSH(t, "echo 0123456789abcdef0123456789abcdef > /etc/machine-id")
	p := w.Plan()
	if !says(p.Text, "Another machine answers as "+s.Address) || !p.Empty() {
		t.Errorf("another machine with Docker set up:\n%s", p.Text)
	}
	w.Apply("-refresh-only")
	if got := w.State("kamal_server.web")["machine_id"]; got != "0123456789abcdef0123456789abcdef" {
		t.Errorf("machine_id = %v", got)
	}

	s.SSH(t, "rm /etc/ssh/ssh_host_*; ssh-keygen -A; systemctl restart ssh")
	w.PlanFails("Unable to read kamal_server on "+s.Address, "is not the known one")
}
