package engine

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/accessory"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/secret"
)

// little is an accessory with a volume and a secret file.
func little(s *accessory.Spec) {
	s.Volumes, s.Secrets, s.AsFiles = []string{"shop-data:/data"}, secret.Set{"A": "little-s3cret"}, []string{"A"}
}

// The calls of a replacement, in order.
const (
	callLock    = "take the deploy lock and look at the server"
	callReplace = "replace the container"
	callFinish  = "finish the replacement"
)

// What only docker can judge is judged while the old container still runs.
func TestAccessoryRefusedByDockerIsNotStopped(t *testing.T) {
	onEngines(t, func(e *engine) {
		a := e.accessory(little)
		a.spec.Options.CapAdd = []string{"NO_SUCH"}
		a.fails("Unable to create the accessory shop-db on "+e.s.Address, "unknown capability", "nothing of this accessory")
		if got := e.s.SSH(e, "docker ps -aq; docker volume ls -q; ls -A .kamal/terraform .kamal/apps 2>/dev/null || :"); strings.Contains(got, "shop") || a.state != nil {
			e.Errorf("left of a refused create: %q, in the state: %v", got, a.state)
		}
		a.spec.Options.CapAdd = nil
		a.deploy()
		all := func() string {
			e.Helper()
			return e.s.SSH(e, "docker ps -a --format '{{.Names}}'; ls .kamal/apps/shop/secrets | wc -l; ls .kamal")
		}
		before, there, good := e.life("shop-db"), all(), a.spec
		for text, change := range map[string]func(*accessory.Spec){
			"unknown capability": func(s *accessory.Spec) { s.Options.CapAdd = []string{"NO_SUCH"} },
			"ulimit soft limit must be less than or equal to hard limit": func(s *accessory.Spec) { s.Options.Ulimits = map[string]string{"nofile": "20:10"} },
			"invalid --security-opt":                                     func(s *accessory.Spec) { s.Options.SecurityOpt = []string{"no-such=1"} },
			"vm.swappiness":                                              func(s *accessory.Spec) { s.Options.Sysctls = map[string]string{"vm.swappiness": "1"} },
			"ange of CPUs is from":                                       func(s *accessory.Spec) { s.CPUs = 500 },
			"nowhere":                                                    func(s *accessory.Spec) { s.Network = "nowhere" },
			"error looking up logging plugin":                            func(s *accessory.Spec) { s.LogDriver, s.LogOptions = "no-such", nil },
		} {
			a.spec = good
			change(&a.spec)
			a.fails("Unable to replace the accessory shop-db on "+e.s.Address, text, "Running now: the old container, which was not touched and serves on", "mend what the server complains of")
			if got := all(); got != there || e.life("shop-db") != before {
				e.Errorf("%s: there is %q, before %q, and the container is another one: %t", text, got, there, e.life("shop-db") != before)
			}
		}
		want := []string{callLock, callReplace, "remove what was there for the new container only", "look at the server after the failure"}
		if got := e.run.remoteCalls(e.s.Address); !slices.Equal(got, want) {
			e.Errorf("remote calls of a refused replacement: %q", got)
		}
		a.spec = good
		a.wantConverged()
		a.spec.Network = "bridge"
		a.deploy()
		if got := e.run.remoteCalls(e.s.Address); !slices.Equal(got, []string{callLock, callReplace, callFinish}) || e.run.handshakes(e.s.Address) != 1 {
			e.Errorf("remote calls of a replacement: %q, over %d connections", got, e.run.handshakes(e.s.Address))
		}

		// The one that was put aside is no reason to touch the one that runs: a run died before it tidied up.
		before, good = e.life("shop-db"), a.spec
		e.s.SSH(e, "docker create --restart no --label service=shop-db --name shop-db_replaced_0123456789abcdef "+a.spec.Image)
		a.spec.CPUs = 500
		a.fails("ange of CPUs is from", "the old container, which was not touched and serves on")
		if got := names(e, e.s); got != "shop-db" || e.life("shop-db") != before {
			e.Errorf("running: %q, and the container is another one: %t", got, e.life("shop-db") != before)
		}
		a.spec = good
		a.deploy()

		// A run that died before it stopped anything has left its new container, which nothing may ever start.
		before = e.life("shop-db")
		leave := "docker create --restart no --volume /mine --label service=shop-db --name shop-db_next_0123456789abcdef " + a.spec.Image
		e.s.SSH(e, leave)
		if _, p := a.plan(); p.Replace || len(p.Why) != 1 || !says(p.Why[0], "was never started and is still there as shop-db_next_0123456789abcdef") {
			e.Errorf("plan: %q, replace %t", p.Why, p.Replace)
		}
		a.deploy()
		if got := e.s.SSH(e, "docker ps -a --format '{{.Names}}'; docker volume ls -q"); got != "shop-db\nshop-data" || e.life("shop-db") != before {
			e.Errorf("after the apply: %q, and the container is another one: %t", got, e.life("shop-db") != before)
		}
		e.s.SSH(e, leave)
		a.destroy()
		if got := e.s.SSH(e, "docker ps -aq; docker volume ls -q"); got != "shop-data" {
			e.Errorf("after destroy: %q", got)
		}
	})
}

// Killed when the new container is made and nothing is stopped yet, or when the
// old one is aside and nothing is started.
func TestAccessoryKilledBetweenCreateAndStart(t *testing.T) {
	onEngines(t, func(e *engine) {
		a := e.accessory(little)
		a.deploy()
		e.s.SSH(e, "echo precious > "+dbData)
		for i, m := range []struct{ command, there, why string }{
			{"stop", "shop-db running\nshop-db_next created", "was never started and is still there as shop-db_next_"},
			{"rename shop-db_next", "shop-db_next created\nshop-db_replaced exited", "the container shop-db does not run"},
			{"start", "shop-db created\nshop-db_replaced exited", "its old container is still there as shop-db_replaced_"},
		} {
			// This docker waits before the command, so that the moment lasts.
			e.beforeDocker(m.command, "touch /root/reached; sleep 600")
			before := e.life("shop-db")
			mood := fmt.Sprint(i)
			a.spec.Env = map[string]string{"MOOD": mood}
			r, u := a.begin()
			e.reaches(u, "docker "+m.command, "ls /root/reached")
			e.dies(r, u, "shop")
			e.afterDocker()
			if got := e.s.SSH(e, `docker ps -a --format '{{.Names}} {{.State}}' | sed -E 's/_[0-9a-f]{16}//' | sort`); got != m.there {
				e.Errorf("killed before %s: %q", m.command, got)
			}
			if i == 0 && e.life("shop-db") != before {
				e.Error("the old container was touched")
			}
			if _, p := a.plan(); !says(strings.Join(p.Why, "; "), m.why) || !says(strings.Join(p.Why, "; "), "a run that died left the deploy lock") {
				e.Errorf("killed before %s, the plan: %q", m.command, p.Why)
			}
			a.deploy()
			a.wantLife("killed before "+m.command+", after the next apply", mood)
			if got := e.s.SSH(e, "docker volume ls -q"); got != "shop-data" {
				e.Errorf("volumes: %q", got)
			}
		}
	})
}

// A run that was taken for dead changes nothing: its successor may be at work.
func TestAccessoryThatLostItsLockIsNotTouched(t *testing.T) {
	onEngines(t, func(e *engine) {
		a := e.accessory(little)
		a.deploy()
		before := e.life("shop-db")
		const stolen, held = `printf 'another\n' > /root/.kamal/lock-shop/run`, "check that the deploy lock of shop is still ours"

		// Lost between the look and the replacement.
		e.beforeDocker("volume inspect shop-data", stolen)
		a.spec.Env = map[string]string{"MOOD": "other"}
		a.fails("Unable to replace the accessory shop-db on "+e.s.Address, held, "the old container, which was not touched and serves on")
		if got := e.s.SSH(e, "docker ps -a --format '{{.Names}}'; cat .kamal/lock-shop/run; ls .kamal/apps/shop/secrets | wc -l"); got != "shop-db\nanother\n1" || e.life("shop-db") != before {
			e.Errorf("there is %q, and the container is another one: %t", got, e.life("shop-db") != before)
		}
		e.ages("shop")
		_, err := a.remove()
		e.wantFailure(err, "Unable to remove the accessory shop-db on "+e.s.Address, held)
		if got := e.s.SSH(e, "docker ps --format '{{.Names}}'; cat .kamal/lock-shop/run"); got != "shop-db\nanother" || e.life("shop-db") != before {
			e.Errorf("after a destroy there is %q", got)
		}

		// Lost while the new container starts: it is left to the successor, and the old one too.
		e.ages("shop")
		e.beforeDocker("start shop-db", stolen)
		a.fails("Unable to replace the accessory shop-db on "+e.s.Address, held, "Running now: not as it was before", "apply again: it looks at what is there")
		if got := e.s.SSH(e, `docker ps -a --format '{{.Names}} {{.State}}' | sed -E 's/_[0-9a-f]{16}//' | sort; cat .kamal/lock-shop/run`); got != "shop-db running\nshop-db_replaced exited\nanother" {
			e.Errorf("there is %q", got)
		}
		e.afterDocker()
		e.ages("shop")
		a.deploy()
		if got := e.s.SSH(e, "docker ps -a --format '{{.Names}}'; docker exec shop-db app env MOOD"); got != "shop-db\nother" {
			e.Errorf("after the next apply: %q", got)
		}
	})
}
