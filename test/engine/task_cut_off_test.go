package engine

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
	"github.com/kamal-terraform/terraform-provider-kamal/test/testbed"
)

const (
	begin1, ran1 = "begin one", "begin one, end one"
)

// Runs are cut off in several ways; the command runs once all the same.
func TestTaskCutOff(t *testing.T) {
	onEngines(t, func(e *engine) {
		e.beside("killed", func(e *engine) {
			k := e.task("killed")
			k.runs("one", "6", "0")
			r, u, _, _ := k.begin()
			job := k.pauses(u, begin1)
			r.kill()
			e.wantFailure(u.wait(), "the job goes on in the container "+job)
			e.ages("killed")
			_, u, _, warnings := k.begin()
			e.waitsFor(job)
			e.s.SSH(e, "docker unpause "+job)
			e.must(u.wait())
			k.wantNothingLeft("the task")
			if out := *warnings; !says(out, "The task killed/migrate was not started again") || !says(out, "was still running, and was waited for") {
				e.Errorf("no word of the job that was found:\n%s", out)
			}
			k.wantNotes(ran1)
			if k.state.Secrets["PASSWORD"] != "s3cret-of-the-day" || !strings.HasPrefix(k.state.Digest, "sha256:") {
				e.Errorf("the state of a run that was found: %+v", k.state)
			}

			// Another command than the one that was cut off is run after it.
			k.spec.Triggers = map[string]string{"release": "2"}
			k.runs("two", "3", "5")
			k.cutOff("begin two")
			k.runs("three", "3", "0")
			if out := k.do(); !says(out, "An earlier job of the task killed/migrate was found") || !says(out, "it ended with exit code 5") {
				e.Errorf("no word of the earlier job:\n%s", out)
			}
			k.wantNotes(ran1 + ", begin two, end two, begin three, end three")

			// One that takes too long is stopped, and nothing is run after it: who knows what it has left undone.
			k.runs("four", "60", "0")
			k.cutOff("begin four")
			k.runs("five", "0", "0")
			k.spec.Timeout = time.Second
			k.fails("a job of an earlier apply, with other triggers, secrets or another configuration, still ran", "it did not end within 1s and was stopped", "see what it has left undone")
			k.wantNothingLeft("a job that was stopped")
			if got := k.notes(); !strings.HasSuffix(got, "begin four") {
				e.Errorf("the jobs have noted %q", got)
			}
			k.do()
		})

		// The job of an older password is not that of a rotation begun since.
		e.beside("killed, and rotated since", func(e *engine) {
			k := e.task("rotated")
			k.spec.SecretTriggers = []string{"PASSWORD"}
			k.runs("one", "3", "0")
			k.cutOff(begin1)
			k.spec.Secrets = map[string]string{"PASSWORD": "s3cret-of-tomorrow"}
			if out := k.do(); !says(out, "An earlier job of the task rotated/migrate was found") || says(out, "s3cret") {
				e.Errorf("no word of the earlier job:\n%s", out)
			}
			k.wantNotes(ran1 + ", " + ran1)
		})

		e.beside("interrupted", func(e *engine) {
			k := e.task("stopped")
			k.runs("one", "6", "7")
			_, u, cancel, _ := k.begin()
			k.begun(u, "begin")
			cancel()
			e.wantFailure(u.wait(), "the apply was interrupted by hand", "the job goes on in the container stopped-task-migrate-", "docker stop stopped-task-migrate-")
			eventually(e, time.Minute, "the command ends", func() bool { return k.notes() == ran1 })
			e.ages("stopped")
			// Its failure is this apply's, and only the next one runs it again.
			k.fails("an earlier apply with the same triggers and configuration started the command and was cut off: it ended with exit code 7")
			k.wantNotes(ran1)
			k.wantNothingLeft("a job that failed")
			k.runs("one", "0", "0")
			k.do()
			k.wantNotes(ran1 + ", " + ran1)
		})

		// linked is a task whose provider reaches the server through a link.
		linked := func(e *engine, service string) (*taskHandle, *testbed.Link) {
			link := testbed.Relay(e, e.s.Address+":22", 0)
			e.options = append(e.options, func(_ *fleet.Fleet, o *sshexec.Options) { o.HostKey = e.s.HostKey })
			k := e.task(service)
			k.server = link.Address()
			k.runs("one", "6", "0")
			return k, link
		}

		e.beside("link cut", func(e *engine) {
			k, link := linked(e, "cut")
			_, u, _, warnings := k.begin()
			job := k.pauses(u, "begin")
			e.waitsFor(job)
			link.Cut()
			eventually(e, time.Minute, "the provider is back", func() bool { return link.Accepted() == 2 })
			e.s.SSH(e, "docker unpause "+job)
			e.must(u.wait())
			if *warnings != "" || link.Accepted() != 2 {
				e.Errorf("%d connections, and the warnings: %s", link.Accepted(), *warnings)
			}
			k.wantNotes(ran1)
			k.wantNothingLeft("a run over a link that was cut")
		})

		// The command ends while nobody hears of it, and the script on the server with it.
		e.beside("link stalled", func(e *engine) {
			k, link := linked(e, "stalled")
			_, u, _, _ := k.begin()
			job := k.pauses(u, "begin")
			script := e.waitsFor(job)
			link.Stall()
			e.s.SSH(e, "docker unpause "+job)
			eventually(e, time.Minute, "the script ends", func() bool {
				_, err := e.s.Run(context.Background(), "! pgrep -s "+script)
				return err == nil
			})
			k.wantNotes(ran1)
			link.Cut()
			link.Resume()
			e.must(u.wait())
			k.wantNotes(ran1)
			k.wantNothingLeft("a run over a link that stalled")
		})

		e.beside("two states", func(e *engine) {
			a, b := e.task("race"), e.task("race")
			a.runs("0", "2", "0")
			b.runs("1", "2", "0")
			_, ua, _, _ := a.begin()
			_, ub, _, _ := b.begin()
			e.must(ua.wait())
			e.must(ub.wait())
			if got := a.notes(); got != "begin 0, end 0, begin 1, end 1" && got != "begin 1, end 1, begin 0, end 0" {
				e.Errorf("the jobs have noted %q", got)
			}
			a.wantNothingLeft("two runs")
		})
	})
}

// What somebody does to a job or its lock meanwhile is seen.
func TestTaskThatSomebodyElseTouches(t *testing.T) {
	onEngines(t, func(e *engine) {
		k := e.task("shop")
		// Removed between its end and the look at it.
		e.beforeDocker("container inspect shop-task", `/usr/bin/docker rm --force "$3" >/dev/null 2>&1`)
		k.fails("its container shop-task-migrate-", "was removed before anybody saw how it ended", "find out on the server what the command has done")
		e.afterDocker()
		k.wantNothingLeft("a job that was removed")

		// A job that docker made and never started is none.
		e.s.SSH(e, `docker create --label kamal-terraform.task=shop/migrate --name shop-task-migrate-0123456789ab `+k.spec.Image+` app exit 0`)
		k.runs("two", "0", "0")
		if out := k.do(); out != "" {
			e.Errorf("warnings: %s", out)
		}
		k.wantNotes(ran1 + ", begin two, end two")

		// Its lock is taken: what it has seen counts, and the other's lock stays.
		k.runs("three", "6", "0")
		_, u, _, warnings := k.begin()
		job := k.pauses(u, "begin three")
		e.s.SSH(e, "echo another > .kamal/lock-shop/run; docker unpause "+job)
		e.must(u.wait())
		if got := e.s.SSH(e, "cat .kamal/lock-shop/run"); got != "another" || !says(*warnings, "Not everything could be tidied up on "+e.s.Address) {
			e.Errorf("the lock is %q's, and the warnings: %s", got, *warnings)
		}
		e.ages("shop")
		if out := k.do(); !says(out, "The task shop/migrate was not started again") {
			e.Errorf("no word of the job that was found:\n%s", out)
		}
		k.wantNotes(ran1 + ", begin two, end two, begin three, end three")

		// And one that was lost before the command is started starts nothing.
		e.beforeDocker("image ls", `printf 'another\n' > /root/.kamal/lock-shop/run`)
		k.runs("four", "0", "0")
		k.fails("check that the deploy lock of shop is still ours", "the command was not started")
		e.afterDocker()
		k.wantNotes(ran1 + ", begin two, end two, begin three, end three")
	})
}
