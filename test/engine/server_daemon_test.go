package engine

import (
	"strings"
	"testing"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/server"
	"github.com/kamal-terraform/terraform-provider-kamal/test/testbed"
)

func TestServerLeavesAnExistingDaemonJSONAndARunningDockerAlone(t *testing.T) {
	onEngines(t, func(e *engine) {
		s, m := e.s, e.machine()
		file := func() string { return strings.TrimSpace(s.SSH(e, "cat /etc/docker/daemon.json")) }
		// Docker from 26 on reloads no file in which this stands.
		userland := ""
		if e.kind == testbed.Oldest().Kind {
			userland = `, "userland-proxy": true`
		}

		// Already as wanted, spelled in another way: nothing is written.
		there := `{"dns": ["10.9.8.7"], "log-opts": {"tag": "x", "max-file": "3", "max-size": "10000k"}, "live-restore": true` + userland + `}`
		s.SSH(e, "echo '"+there+"' > /etc/docker/daemon.json; chmod 600 /etc/docker/daemon.json; systemctl restart docker")
		pid := m.dockerd()
		if warnings := m.setUp(); warnings != "" {
			e.Errorf("warnings: %s", warnings)
		}
		if got := file(); got != there {
			e.Errorf("daemon.json was rewritten: %s", got)
		}
		if now := m.dockerd(); now != pid {
			e.Errorf("Docker was restarted: %s, was %s", now, pid)
		}

		// Other settings while a container runs: written, reloaded, nothing restarted, and said so.
		m.runBusy()
		m.want(func(want *server.Spec) { want.Docker.LogMaxSize, want.Docker.LiveRestore = "20m", false })
		if warnings := m.setUp(); !says(warnings, "which Docker takes only when it is restarted") {
			e.Errorf("no warning that the log options wait for a restart: %q", warnings)
		}
		if now := m.dockerd(); now != pid {
			e.Errorf("Docker was restarted under a running container: %s, was %s", now, pid)
		}
		merged := `{"dns":["10.9.8.7"],"log-opts":{"tag":"x","max-file":"3","max-size":"20m"},"live-restore":false` + userland + `}`
		if got := strings.NewReplacer(" ", "", "\n", "").Replace(file()); got != strings.ReplaceAll(merged, " ", "") {
			e.Errorf("daemon.json: %s\nwant %s", got, merged)
		}
		s.SSH(e, `f=/etc/docker/daemon.json
			[ "$(stat -c %a $f)" = 600 ] && grep -q 10000k $f.before-kamal
			[ "$(docker info --format '{{.LiveRestoreEnabled}}')" = false ]`)
		m.stopBusy()

		// A file that dockerd would choke on is not touched.
		s.SSH(e, "echo '{\"dns\": [' > /etc/docker/daemon.json")
		m.fails("Unable to set up the server on "+s.Address, "/etc/docker/daemon.json is malformed", "nothing was changed")
		if got := file(); got != `{"dns": [` {
			e.Errorf("the malformed file was touched: %s", got)
		}

		// A setting that keeps dockerd from starting: what was there is put back.
		// (No Docker finds it when it validates the file; the flag of the unit is hidden from a look at the process.)
		const good = `{"log-opts": {"max-size": "5m", "max-file": "3"}}`
		s.SSH(e, "echo '"+good+`' > /etc/docker/daemon.json
			mkdir -p /etc/systemd/system/docker.service.d
			printf '[Service]\nExecStart=\nExecStart=%s -H fd:// --containerd=/run/containerd/containerd.sock --live-restore=false\n' "$(command -v dockerd)" > /etc/systemd/system/docker.service.d/flag.conf
			systemctl daemon-reload`)
		m.want(func(*server.Spec) {})
		m.fails("Unable to set up the server", "restart Docker, where no container runs", "live-restore")
		s.SSH(e, "docker version")
		if got := file(); got != good {
			e.Errorf("the old file was not put back: %s", got)
		}
	})
}
