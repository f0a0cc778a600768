package fleet

import (
	"slices"
	"testing"
)

func TestParseDockerd(t *testing.T) {
	t.Parallel()
	const unit = "ExecStart={ path=/usr/sbin/dockerd ; argv[]=/usr/sbin/dockerd -H fd:// $DOCKER_OPTS ; ignore_errors=no ; pid=0 }\n"
	tests := []struct {
		name, out string
		systemd   bool
		load      string
		command   []string
	}{
		{name: "no systemd"},
		{name: "no docker", out: "systemd\nMainPID=0\nLoadState=not-found\n", systemd: true, load: "not-found"},
		{name: "running: what runs counts", out: "systemd\nMainPID=12\n" + unit + "LoadState=loaded\nargument=/usr/sbin/dockerd\nargument=--log-opt\nargument=tag=a b\n",
			systemd: true, load: "loaded", command: []string{"/usr/sbin/dockerd", "--log-opt", "tag=a b"}},
		{name: "stopped: the unit and its options", out: "systemd\n" + unit + "MainPID=0\nLoadState=loaded\nDOCKER_OPTS=\"--dns 10.0.0.2 --live-restore\"\n",
			systemd: true, load: "loaded", command: []string{"/usr/sbin/dockerd", "-H", "fd://", "$DOCKER_OPTS", "--dns", "10.0.0.2", "--live-restore"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var f Facts
			var d Docker
			parseDockerd(tt.out, &f, &d)
			if f.Systemd != tt.systemd || d.Unit != tt.load || !slices.Equal(d.Command, tt.command) {
				t.Errorf("systemd %v, unit %q, command %q", f.Systemd, d.Unit, d.Command)
			}
		})
	}
}
