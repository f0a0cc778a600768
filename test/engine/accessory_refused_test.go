package engine

import (
	"strings"
	"testing"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/accessory"
)

// What somebody else runs under the accessory's name is theirs.
func TestAccessoryLeavesOthersAlone(t *testing.T) {
	onEngines(t, func(e *engine) {
		a := e.accessory(func(s *accessory.Spec) {
			s.Volumes, s.Directories = []string{"shop-data:/data"}, []string{"conf:/conf"}
		})
		e.s.LogIn(e)
		e.s.SSH(e, "docker pull --quiet "+a.spec.Image+"; docker network create kamal")
		for labels, why := range map[string]string{
			"":                                     "a container that is not an accessory has the name shop-db (" + a.spec.Image + ", running",
			"--label service=shop --label role=db": "a container that is not an accessory has the name shop-db",
			"--label service=shop-db":              "the accessory is there already: container shop-db (running",
		} {
			e.s.SSH(e, "docker run --detach --name shop-db --network kamal "+labels+" "+a.spec.Image)
			before, started := footprint(e, e.s), e.life("shop-db")
			a.fails("Unable to create the accessory shop-db on "+e.s.Address, why, "What to do: ")
			wantSame(e, "the server", before, footprint(e, e.s))
			if got := e.life("shop-db"); got != started {
				e.Errorf("the container is %s, before %s", got, started)
			}
			if got := e.s.SSH(e, "docker volume ls --quiet; ls -d shop-db 2>/dev/null || :"); got != "" || a.state != nil {
				e.Errorf("left: %q, in the state: %v", got, a.state)
			}
			e.s.SSH(e, "docker rm --force shop-db")
		}
		a.deploy()

		// And so it is when the accessory has given way to it: the state forgets it, and a destroy leaves it.
		e.s.SSH(e, "docker rm --force shop-db; docker run --detach --name shop-db "+a.spec.Image)
		before, had := e.life("shop-db"), *a.state
		if out := a.destroy(); !says(out, "The container shop-db was left on "+e.s.Address) || e.life("shop-db") != before {
			e.Errorf("no word of the container that is left:\n%s", out)
		}
		if a.plan(); a.state != nil {
			e.Error("the state still has the accessory")
		}
		a.state = &had
		a.fails("a container that is not an accessory has the name shop-db", "docker rename shop-db OTHER")
	})
}

// What an apply says of the failures that people meet, and what it leaves.
func TestAccessoryFailuresSayWhy(t *testing.T) {
	onEngines(t, func(e *engine) {
		a := e.accessory(func(s *accessory.Spec) {
			s.Volumes, s.Ports = []string{"shop-data:/data"}, []string{"5432:3000"}
		})
		a.deploy()
		e.s.SSH(e, "docker run --detach --name taken --publish 127.0.0.1:5433:3000 "+a.spec.Image)
		before, good := e.life("shop-db"), a.spec
		mood := map[string]string{"MOOD": "other"}
		untouched := "Running now: what ran before, nothing was changed"
		for _, tt := range []struct {
			what   string
			change func(*accessory.Spec)
			// stopped: the old container was stopped and put back.
			stopped bool
			says    []string
		}{
			{"an image that is not there", func(s *accessory.Spec) { s.Image = e.image("app:missing") }, false, []string{"app:missing", untouched, "push"}},
			{"an image for another machine", func(s *accessory.Spec) { s.Image = e.image("app:arm64") }, false, []string{"check the image before it is run", "arm64", untouched}},
			{"an image without a command", func(s *accessory.Spec) { s.Image = e.image("app:nocmd") }, false, []string{"check the image before it is run", untouched}},
			{"a port that is taken", func(s *accessory.Spec) { s.Ports = []string{"5433:3000"} }, true,
				[]string{"5433", "docker could not start the container", "check `ports`, `command` and `volumes`"}},
			{"a command that is none", func(s *accessory.Spec) { s.Command = []string{"no-such-program"} }, true, []string{"no-such-program", "docker could not start the container"}},
			{"a health check that never succeeds", func(s *accessory.Spec) {
				s.Env, s.DeployTimeout, s.Ready.Command = mood, 2*time.Second, []string{"app", "exit", "7"}
			}, true,
				[]string{"not ready in 2 seconds", "the container runs, but did not get ready in time", "raise deploy_timeout"}},
			{"a port that nothing listens on", func(s *accessory.Spec) { s.Env, s.DeployTimeout, s.Ready.Port = mood, 2*time.Second, 3001 }, true, []string{"nothing takes connections on port 3001"}},
		} {
			a.spec = good
			tt.change(&a.spec)
			told := a.fails(append(tt.says, "Unable to replace the accessory shop-db on "+e.s.Address)...)
			if tt.stopped != says(told, "the old container was put back and ") {
				e.Errorf("%s: put back is %t", tt.what, !tt.stopped)
			}
			if got := e.s.SSH(e, `docker ps -a --format '{{.Names}}' | sort; ls .kamal | grep lock- || :`); got != "shop-db\ntaken" {
				e.Errorf("%s: there is %q", tt.what, got)
			}
			if got := e.life("shop-db"); got != before && !tt.stopped || got[:64] != before[:64] {
				e.Errorf("%s: the container is %s, before %s", tt.what, got, before)
			}
			before = e.life("shop-db")
		}
		a.spec = good
		a.wantConverged()

		// Another machine at the same address: the data is not there.
		here := a.state.MachineID
		a.state.MachineID, a.spec.Memory = "0123456789abcdef0123456789abcdef", 64<<20
		a.fails("is another machine (machine-id "+here+")", "move the data yourself", untouched)
		if out := a.destroy(); !says(out, "The accessory shop-db was forgotten") || !says(out, "Nothing was removed from it") || e.life("shop-db") != before {
			e.Errorf("a destroy of what was on another machine:\n%s", out)
		}

		// Another run is creating it, by the mark that it left.
		e.s.SSH(e, "docker rm --force shop-db >/dev/null; rm -r .kamal/terraform")
		e.beforeDocker("start shop-db", "touch /root/reached; sleep 600")
		r, u := a.begin()
		e.reaches(u, "docker start", "ls /root/reached")
		e.dies(r, u, "shop")
		e.afterDocker()
		other := *a
		other.fails("another run (by ", ") is creating this accessory", "wait for it to end")
		e.s.SSH(e, "touch -d '1 minute ago' .kamal/terraform/*")
		if _, p := a.plan(); !strings.HasPrefix(strings.Join(p.Why, "; "), "the container shop-db does not run") || p.Old != nil || p.Remove == nil {
			e.Errorf("plan after a create that died: %q, old %v, remove %v", p.Why, p.Old, p.Remove)
		}
		a.deploy()

		// Docker does not answer, or is not there.
		e.s.SSH(e, "systemctl stop docker.socket docker")
		a.fails("docker does not answer", "start it (systemctl start docker)")
		_, err := a.remove()
		e.wantFailure(err, "docker does not answer", "and destroy again")
		e.s.SSH(e, "systemctl start docker")
		a.destroy()
	})
}
