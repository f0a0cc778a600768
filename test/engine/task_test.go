package engine

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/secret"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/task"
)

// The calls of a task's run, in order.
var taskCalls = []string{callLock, "run the command", "remove the container and give the deploy lock back"}

func TestTaskRunsAndFails(t *testing.T) {
	onEngines(t, func(e *engine) {
		k := e.task("shop")
		e.s.SSH(e, "docker image rm --force "+k.spec.Image+" 2>/dev/null || :")
		k.runs("trying ${PASSWORD}", "0", "3")
		out := k.fails("Unable to run the task shop/migrate on "+e.s.Address, "it ended with exit code 3", "trying [redacted]",
			"what depends on the task was not applied", "The next apply runs it again")
		if strings.Contains(out, "s3cret-of-the-day") || !strings.HasPrefix(out, "Unable to") {
			e.Errorf("a secret or a warning is in the output:\n%s", out)
		}
		if want, got := slices.Insert(slices.Clone(taskCalls), 1, "pull the image"), e.run.remoteCalls(e.s.Address); !slices.Equal(got, want) {
			e.Errorf("a run that fails made the calls %q, want %q", got, want)
		}
		k.wantNothingLeft("a run that fails")

		k.runs("one", "0", "0")
		k.do()
		if got := e.run.remoteCalls(e.s.Address); !slices.Equal(got, taskCalls) || e.run.handshakes(e.s.Address) != 1 {
			e.Errorf("a run made the calls %q over %d connections", got, e.run.handshakes(e.s.Address))
		}
		k.wantNotes("begin trying ${PASSWORD}, end trying ${PASSWORD}, begin one, end one")
		machine, clock := e.s.SSH(e, "cat /etc/machine-id"), time.Since(k.state.RanAt).Abs()
		if k.state.MachineID != machine || clock > 10*time.Minute || !strings.HasPrefix(k.state.Digest, "sha256:") || k.state.Secrets["PASSWORD"] != "s3cret-of-the-day" {
			e.Errorf("state: %+v", k.state)
		}
		if got := e.s.SSH(e, "cat .kamal/shop-audit.log"); !strings.Contains(got, "[migrate] Ran task migrate") || !strings.Contains(got, "Task migrate failed with exit code 3") {
			e.Errorf("audit log: %q", got)
		}

		before, good := k.state, k.spec
		for _, tt := range []struct {
			what   string
			change func(*taskHandle)
			says   []string
		}{
			{"another exit code", func(k *taskHandle) { k.runs("one", "0", "4") }, []string{"it ended with exit code 4"}},
			{"a timeout", func(k *taskHandle) { k.runs("one", "30", "0"); k.spec.Timeout = 2 * time.Second },
				[]string{"it did not end within 2s and was stopped", "raise `timeout`"}},
			{"no such program", func(k *taskHandle) { k.spec.Command = []string{"no-such-program"} },
				[]string{"Exit code: 127", "was not found in the image", "the command was not started"}},
			{"no such network", func(k *taskHandle) { k.spec.Network = "nowhere" },
				[]string{"docker refused to run the container, in its words above", "nowhere", "the command was not started"}},
			{"an image that is not there", func(k *taskHandle) { k.spec.Image = e.image("app:missing") }, []string{"app:missing", "the command was not started"}},
			{"an image for another machine", func(k *taskHandle) { k.spec.Image = e.image("app:arm64") }, []string{"check the image before it is run", "arm64", "the command was not started"}},
			{"a command that is killed", func(k *taskHandle) { k.spec.Command = []string{"app", "exit", "137"} }, []string{"exit code 137", "it was killed (SIGKILL)", "give the server more memory"}},
		} {
			k.spec = good
			tt.change(k)
			k.fails(append(tt.says, "Unable to run the task shop/migrate on "+e.s.Address)...)
			k.wantNothingLeft(tt.what)
			if k.state != before {
				e.Errorf("%s: the state is another one: %+v", tt.what, k.state)
			}
		}

		// A destroy is one call where nothing is left, and none to a server that is gone.
		k.spec = good
		out, err := k.remove()
		e.must(err)
		if got := e.run.remoteCalls(e.s.Address); out != "" || !slices.Equal(got, []string{callLock}) {
			e.Errorf("a destroy made the calls %q and says:\n%s", got, out)
		}
		k.server = "127.0.0.1:1"
		out, err = k.remove()
		e.must(err)
		if !says(out, "127.0.0.1:1 does not answer, and the task shop/migrate was forgotten there") {
			e.Errorf("no word of the server that is gone:\n%s", out)
		}
		k.server = e.s.Address
		e.s.SSH(e, "systemctl stop docker.socket docker")
		k.fails("docker does not answer", "start it (systemctl start docker)", "the command was not started")
		out, err = k.remove()
		e.wantFailure(err, "Unable to remove the task shop/migrate on "+e.s.Address, "what ran before")
		e.s.SSH(e, "systemctl start docker")
		e.Log(out)
		k.wantNothingLeft("a destroy without Docker")
	})
}

func TestTaskSecretsArrive(t *testing.T) {
	onEngines(t, func(e *engine) {
		k := e.task("shop")
		k.spec.Secrets, k.spec.AsFiles = secret.Set{"PASSWORD": "s3cret-of-the-day", "TOKEN": "token-number-one"}, []string{"TOKEN"}
		k.runs("one", "4", "0")
		_, u, _, _ := k.begin()
		k.begun(u, "begin")
		job := names(e, e.s)
		if got := e.s.SSH(e, "docker exec "+job+" app cat /run/secrets/TOKEN; docker exec "+job+" app env TOKEN_FILE; docker exec "+job+" app env PASSWORD"); got != "token-number-one/run/secrets/TOKENs3cret-of-the-day" {
			e.Errorf("the secrets arrived as %q", got)
		}
		if got := e.s.SSH(e, "docker inspect "+job); strings.Contains(got, "token-number-one") || strings.Contains(got, `"service"`) {
			e.Errorf("docker inspect shows %s", got)
		}
		e.must(u.wait())
		k.wantNothingLeft("the task")
		if k.state.Secrets["TOKEN"] != "token-number-one" || k.state.Secrets["PASSWORD"] != "s3cret-of-the-day" {
			e.Error("the state has other secrets than the command had")
		}
	})
}

// Two tasks of an app never run at once, whoever has started them.
func TestTaskWaitsForOthersOfItsApp(t *testing.T) {
	onEngines(t, func(e *engine) {
		seed := e.task("shop")
		seed.spec.Name = "seed"
		k := e.task("shop")
		// The other one's run died, and its job goes on.
		other := func(seconds string) string {
			e.Helper()
			seed.runs("other", seconds, "0")
			r, u, _, _ := seed.begin()
			seed.begun(u, "begin other")
			r.kill()
			e.wantFailure(u.wait(), "the job goes on in the container shop-task-seed-")
			e.ages("shop")
			return names(e, e.s)
		}
		job := other("60")
		k.spec.Timeout = time.Second
		k.fails("a job of another task of the app still runs, in the container "+job, "two tasks of an app never run at once", "docker stop "+job)
		k.wantNotes("begin other")
		if got := names(e, e.s); got != job {
			e.Errorf("running: %q, want the other's %s", got, job)
		}
		// Its task is destroyed, and the job with it.
		out, err := seed.remove()
		e.must(err)
		if !says(out, "A job of the task shop/seed was removed from "+e.s.Address) || !says(out, job+": running, exit code 0") {
			e.Errorf("no word of the job that was removed:\n%s", out)
		}
		seed.wantNothingLeft("a destroy")

		e.s.SSH(e, "rm /srv/runs/shop")
		job = other("4")
		k.spec.Timeout = time.Minute
		e.must(second(k.apply()))
		k.wantNotes("begin other, end other, begin one, end one")
		if got := e.s.SSH(e, "docker ps -a --format '{{.Names}}'"); got != job {
			e.Errorf("there is %q, want the other's %s, for its own task", got, job)
		}
		if o := task.Observe(e.snapshot(e.s.Address), seed.spec); len(o.Jobs) != 1 || len(o.Others) != 0 {
			e.Errorf("the other task has %d jobs there and %d of others", len(o.Jobs), len(o.Others))
		}
		if out := seed.do(); !says(out, "The task shop/seed was not started again") || !says(out, "had ended: it succeeded") {
			e.Errorf("no word of the job that was found:\n%s", out)
		}
		k.wantNotes("begin other, end other, begin one, end one")
	})
}

// second is the second of two values.
func second[A, B any](_ A, b B) B { return b }
