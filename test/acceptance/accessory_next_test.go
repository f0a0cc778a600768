package acceptance

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/test/testbed"
)

// nextConfig is an accessory with one more attribute.
func nextConfig(more string) string {
	return fmt.Sprintf(`
resource "kamal_accessory" "db" {
  server  = "{{server 0}}"
  service = "shop"
  name    = "db"
  image   = "{{image "app:v1"}}"
  volumes = ["shop-data:/data"]
  secrets = { A = "x" }
  secrets_as_files = ["A"]
  %s
}
`, more)
}

// What only docker can judge is judged while the old container still runs.
func TestAccessoryRefusedByDockerIsNotStopped(t *testing.T) {
	aboutServers(t)
	t.Parallel()
	s := bed(t).Server(t, testbed.Debian13)
	w := newWorkspace(t, s)
	w.Write("main.tf", nextConfig(`options = { cap_add = ["NO_SUCH"] }`))
	w.ApplyFails("Unable to create the accessory shop-db on "+s.Address, "unknown capability", "nothing of this accessory")
	if got := s.SSH(t, "docker ps -aq; docker volume ls -q; ls -A .kamal/terraform .kamal/apps 2>/dev/null || :"); strings.Contains(got, "shop") || len(w.Addresses()) > 0 {
		t.Errorf("left of a refused create: %q, in the state: %q", got, w.Addresses())
	}
	w.Write("main.tf", nextConfig(""))
	w.Apply()
	life := func() string { return inspect(t, s, "shop-db", ".Id") + inspect(t, s, "shop-db", ".State.StartedAt") }
	all := func() string {
		return s.SSH(t, "docker ps -a --format '{{.Names}}'; ls .kamal/apps/shop/secrets | wc -l; ls .kamal")
	}
	before, there := life(), all()
	for more, text := range map[string]string{
		`options = { cap_add = ["NO_SUCH"] }`:              "unknown capability",
		`options = { ulimits = { nofile = "20:10" } }`:     "ulimit soft limit must be less than or equal to hard limit",
		`options = { security_opt = ["no-such=1"] }`:       "invalid --security-opt",
		`options = { sysctls = { "vm.swappiness" = "1" }}`: "is not allowed",
		`cpus = 500`:                       "Range of CPUs is from",
		`network = "nowhere"`:              "nowhere not found",
		`logging = { driver = "no-such" }`: "error looking up logging plugin",
	} {
		w.Write("main.tf", nextConfig(more))
		w.ApplyFails("Unable to replace the accessory shop-db on "+s.Address, text, "Running now: the old container, which was not touched and serves on", "mend what the server complains of")
		if got := all(); got != there || life() != before {
			t.Errorf("%s: there is %q, before %q, and the container is another one: %t", more, got, there, life() != before)
		}
	}
	want := []string{"take the deploy lock and look at the server", "replace the container", "remove what was there for the new container only", "look at the server after the failure"}
	if got := w.RemoteCalls(s.Address); !slices.Equal(got[max(0, len(got)-4):], want) {
		t.Errorf("remote calls of a refused replacement: %q", got)
	}
	w.Write("main.tf", nextConfig(""))
	w.PlanEmpty()
	w.Write("main.tf", nextConfig(`network = "bridge"`))
	w.Apply()
	if got := w.RemoteCalls(s.Address); !slices.Equal(got[max(0, len(got)-3):], []string{"take the deploy lock and look at the server", "replace the container", "finish the replacement"}) {
		t.Errorf("remote calls of a replacement: %q", got)
	}

	// The one that was put aside is no reason to touch the one that runs: a run died before it tidied up.
	before = life()
	s.SSH(t, "docker create --restart no --label service=shop-db --name shop-db_replaced_0123456789abcdef "+w.Bed.Image("app:v1"))
	w.Write("main.tf", nextConfig(`cpus = 500`))
	w.ApplyFails("Range of CPUs is from", "the old container, which was not touched and serves on")
	if got := names(t, s); got != "shop-db" || life() != before {
		t.Errorf("running: %q, and the container is another one: %t", got, life() != before)
	}
	w.Write("main.tf", nextConfig(`network = "bridge"`))
	w.Apply()

	// A run that died before it stopped anything has left its new container, which nothing may ever start.
	leave := "docker create --restart no --volume /mine --label service=shop-db --name shop-db_next_0123456789abcdef " + w.Bed.Image("app:v1")
	s.SSH(t, leave)
	if p := w.Plan(); !slices.Equal(p.NotEmpty(), []string{"update kamal_accessory.db"}) || !says(p.Text, "was never started and is still there as shop-db_next_0123456789abcdef") {
		t.Errorf("plan: %q\n%s", p.NotEmpty(), p.Text)
	}
	w.Apply()
	if got := s.SSH(t, "docker ps -a --format '{{.Names}}'; docker volume ls -q"); got != "shop-db\nshop-data" || life() != before {
		t.Errorf("after the apply: %q, and the container is another one: %t", got, life() != before)
	}
	s.SSH(t, leave)
	w.Destroy()
	if got := s.SSH(t, "docker ps -aq; docker volume ls -q"); got != "shop-data" {
		t.Errorf("after destroy: %q", got)
	}
}

// Killed when the new container is made and nothing is stopped yet, or when the
// old one is aside and nothing is started.
func TestAccessoryKilledBetweenCreateAndStart(t *testing.T) {
	aboutServers(t)
	t.Parallel()
	s := bed(t).Server(t, testbed.Debian12)
	w := newWorkspace(t, s)
	w.Write("main.tf", nextConfig(""))
	w.Apply()
	s.SSH(t, "echo precious > "+dbData)
	for i, m := range []struct{ command, there string }{
		{"stop", "shop-db running\nshop-db_next created"},
		{"rename shop-db_next", "shop-db_next created\nshop-db_replaced exited"},
		{"start", "shop-db created\nshop-db_replaced exited"},
	} {
		// This docker waits before the command, so that the moment lasts.
		s.SSH(t, `cat > /usr/local/bin/docker <<'END'
#!/bin/sh
case "$*" in "`+m.command+`"*) touch /root/reached; sleep 600;; esac
exec /usr/bin/docker "$@"
END
chmod 755 /usr/local/bin/docker`)
		before := inspect(t, s, "shop-db", ".Id")
		started := inspect(t, s, "shop-db", ".State.StartedAt")
		env := fmt.Sprintf("env = { MOOD = \"%d\" }", i)
		w.Write("main.tf", nextConfig(env))
		p := w.Start()
		eventually(t, time.Minute, "docker "+m.command, func() bool {
			_, err := s.Run(context.Background(), "ls /root/reached")
			return err == nil || !p.Running()
		})
		p.KillProvider()
		p.Wait()
		eventually(t, time.Minute, "the end of the call", func() bool {
			_, err := s.Run(context.Background(), "! pgrep -f '^sleep 600'")
			return err == nil
		})
		s.SSH(t, "rm /usr/local/bin/docker /root/reached")
		if got := s.SSH(t, `docker ps -a --format '{{.Names}} {{.State}}' | sed -E 's/_[0-9a-f]{16}//' | sort`); got != m.there {
			t.Errorf("killed before %s: %q", m.command, got)
		}
		if i == 0 {
			if inspect(t, s, "shop-db", ".Id") != before || inspect(t, s, "shop-db", ".State.StartedAt") != started {
				t.Error("the old container was touched")
			}
		}
		w.Apply()
		if got := s.SSH(t, `docker ps -a --format '{{.Names}}'; docker exec shop-db app env MOOD; echo; cat `+dbData+`; docker volume ls -q; ls .kamal/apps/shop/secrets | wc -l; ls .kamal | grep lock- || :`); got != fmt.Sprintf("shop-db\n%d\nprecious\nshop-data\n1", i) {
			t.Errorf("killed before %s, after the next apply: %q", m.command, got)
		}
	}
}
