package engine

import (
	"context"
	"strings"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/server"
	"github.com/kamal-terraform/terraform-provider-kamal/test/testbed"
)

// A machine is a server as kamal_server sets it up.
type machine struct {
	e *engine
	s *testbed.Server
	// name is how the configuration names it.
	name string
	spec server.Spec
}

// machine is the engine's server, at the resource's defaults.
func (e *engine) machine() *machine {
	return &machine{e: e, s: e.s, name: e.s.Address, spec: server.Default}
}

// want makes the spec the default but for a change.
func (m *machine) want(change func(*server.Spec)) {
	m.spec = server.Default
	change(&m.spec)
}

// apply is one apply in a new run.
func (m *machine) apply(ctx context.Context) (*server.Result, error) {
	m.e.Helper()
	return server.Apply(ctx, m.e.newRun().fleet.Server(m.name), m.spec)
}

// setUp applies and then wants nothing left to do. It returns the warnings.
func (m *machine) setUp() string {
	m.e.Helper()
	done, err := m.apply(m.e.ctx())
	m.e.must(err)
	applied := m.e.run
	if left := m.left(); len(left) > 0 {
		m.e.Fatalf("on %s the plan is not empty: %q", m.name, left)
	}
	m.e.run = applied // its calls are those of the apply
	return strings.Join(done.Warnings, "\n")
}

// left are the steps that a plan has, and that an apply would make.
func (m *machine) left() []string {
	m.e.Helper()
	plan, err := server.NewPlan(m.spec, m.e.snapshot(m.name))
	if err != nil {
		m.e.Fatal(err)
	}
	var titles []string
	for _, step := range plan.Steps {
		titles = append(titles, step.Title)
	}
	return titles
}

// daemon is what a new run sees of daemon.json.
func (m *machine) daemon() *server.Daemon {
	m.e.Helper()
	snap := m.e.snapshot(m.name)
	d, err := server.ReadDaemon(snap.Docker.DaemonJSON, snap.Docker.Command)
	if err != nil {
		m.e.Fatal(err)
	}
	return d
}

// fails wants an apply to fail and to tell the texts.
func (m *machine) fails(texts ...string) {
	m.e.Helper()
	_, err := m.apply(m.e.ctx())
	m.e.wantFailure(err, texts...)
}

// failsWithin is fails with a time that is over before others let go of the
// server. It has to be long enough to look at the server, too.
func (m *machine) failsWithin(bound time.Duration, texts ...string) {
	m.e.Helper()
	ctx, cancel := context.WithTimeout(m.e.ctx(), bound)
	defer cancel()
	_, err := m.apply(ctx)
	m.e.wantFailure(err, texts...)
}

// removeDocker is a destroy with remove_docker_on_destroy, in a new run.
func (m *machine) removeDocker(ctx context.Context) error {
	m.e.Helper()
	return server.RemoveDocker(ctx, m.e.newRun().fleet.Server(m.name))
}

// dockerd tells one start of Docker from another.
func (m *machine) dockerd() string {
	m.e.Helper()
	return strings.TrimSpace(m.s.SSH(m.e, "systemctl show docker --property=MainPID"))
}

// runBusy runs a container, called busy. Any image does: an empty one whose
// command is mounted into it.
func (m *machine) runBusy() {
	m.e.Helper()
	m.s.SSH(m.e, `tar -c --files-from /dev/null | docker import - nothing >/dev/null
		docker run -d --name busy -v /bin:/bin:ro -v /lib:/lib:ro -v /lib64:/lib64:ro -v /usr:/usr:ro nothing /bin/sleep 1000 >/dev/null`)
}

// stopBusy removes it, and its image.
func (m *machine) stopBusy() {
	m.e.Helper()
	m.s.SSH(m.e, `docker inspect --format '{{.State.Running}}' busy | grep -q true && docker rm -f busy && docker rmi nothing`)
}

// holdLock makes a process hold dpkg's lock as apt does, until freeLock; it
// returns the process's id.
func (m *machine) holdLock() string {
	m.e.Helper()
	return strings.TrimSpace(m.s.SSH(m.e, `cat > /root/hold.pl <<'END'
use Fcntl;
$0 = "stub-of-unattended-upgrade";
open(F, ">>", "/var/lib/dpkg/lock-frontend") or die;
my $lock = pack("s s x4 q q l x4", F_WRLCK, 0, 0, 0, 0);
fcntl(F, F_SETLK, $lock) or die;
open(G, ">", "/run/holding"); close(G);
sleep 600;
END
rm -f /run/holding
systemd-run --quiet --unit=holder perl /root/hold.pl
for i in $(seq 300); do [ ! -e /run/holding ] || break; sleep 0.1; done; [ -e /run/holding ]
systemctl show holder --property=MainPID --value`))
}

func (m *machine) freeLock() {
	m.e.Helper()
	m.s.SSH(m.e, "systemctl stop holder; rm /root/hold.pl")
}
