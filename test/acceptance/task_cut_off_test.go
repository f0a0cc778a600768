package acceptance

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/test/testbed"
)

// TestTaskCutOff cuts runs off in several ways; the command runs once all the same.
func TestTaskCutOff(t *testing.T) {
	aboutServers(t)
	t.Parallel()
	s := bed(t).Server(t, testbed.Debian12)
	// begun waits for a note of the command.
	begun := func(t *testing.T, p *process, service, note string) {
		t.Helper()
		eventually(t, time.Minute, "the command runs", func() bool { return !p.Running() || strings.Contains(runs(t, s, service), note) })
		if !p.Running() {
			t.Fatalf("the apply is over:\n%s", p.Output())
		}
	}
	// dead makes the lock of a run that died look as old as it will be soon.
	dead := func(t *testing.T, service string) {
		t.Helper()
		s.SSH(t, "touch -d '1 minute ago' .kamal/lock-"+service+"/run")
	}
	// killed begins an apply and kills its provider while the command runs.
	killed := func(t *testing.T, w *workspace, service, note string) {
		t.Helper()
		p := w.Start()
		begun(t, p, service, note)
		p.KillProvider()
		p.Wait()
		dead(t, service)
	}
	once := func(t *testing.T, service string) {
		t.Helper()
		if got := runs(t, s, service); got != "begin one, end one" {
			t.Errorf("runs: %q", got)
		}
		if got := leftOfTask(t, s, service); got != "" {
			t.Errorf("left: %q", got)
		}
	}

	t.Run("killed", func(t *testing.T) {
		t.Parallel()
		w := newTask(t, s, "killed")
		w.Setenv("TF_VAR_seconds", "8")
		killed(t, w, "killed", "begin one")
		if out := w.Apply(); !says(out, "The task killed/migrate was not started again") || !says(out, "was still running, and was waited for") {
			t.Errorf("no word of the job that was found:\n%s", out)
		}
		once(t, "killed")

		// Another command than the one that was cut off is run after it.
		w.Setenv("TF_VAR_release", "2")
		w.Setenv("TF_VAR_text", "two")
		w.Setenv("TF_VAR_seconds", "3")
		w.Setenv("TF_VAR_code", "5")
		killed(t, w, "killed", "begin two")
		w.Setenv("TF_VAR_text", "three")
		w.Setenv("TF_VAR_code", "0")
		if out := w.Apply(); !says(out, "An earlier job of the task killed/migrate was found") || !says(out, "it ended with exit code 5") {
			t.Errorf("no word of the earlier job:\n%s", out)
		}
		if got := runs(t, s, "killed"); got != "begin one, end one, begin two, end two, begin three, end three" {
			t.Errorf("runs: %q", got)
		}
	})

	// The job of an older password is not that of a rotation begun since.
	t.Run("killed, and rotated since", func(t *testing.T) {
		t.Parallel()
		w := newTask(t, s, "rotated")
		w.Write("main.tf", taskTriggeredBy("rotated", "PASSWORD"))
		w.Setenv("TF_VAR_seconds", "3")
		killed(t, w, "rotated", "begin one")
		w.Setenv("TF_VAR_password", "s3cret-of-tomorrow")
		if out := w.Apply(); !says(out, "An earlier job of the task rotated/migrate was found") || says(out, "s3cret") {
			t.Errorf("no word of the earlier job:\n%s", out)
		}
		if got := runs(t, s, "rotated"); got != "begin one, end one, begin one, end one" {
			t.Errorf("runs: %q", got)
		}
		w.PlanEmpty()
	})

	t.Run("interrupted", func(t *testing.T) {
		t.Parallel()
		w := newTask(t, s, "stopped")
		w.Setenv("TF_VAR_seconds", "6")
		w.Setenv("TF_VAR_code", "7")
		p := w.Start()
		begun(t, p, "stopped", "begin")
		p.Interrupt()
		out, code := p.Wait()
		if code == 0 || !says(out, "the job goes on in the container stopped-task-migrate-") || !says(out, "docker stop stopped-task-migrate-") {
			t.Errorf("exit code %d:\n%s", code, out)
		}
		eventually(t, time.Minute, "the command ends", func() bool { return runs(t, s, "stopped") == "begin one, end one" })
		dead(t, "stopped")
		// Its failure is this apply's, and only the next one runs it again.
		w.ApplyFails("was cut off: it ended with exit code 7")
		once(t, "stopped")
		w.Setenv("TF_VAR_code", "0")
		w.Setenv("TF_VAR_seconds", "0")
		w.Apply()
		if got := runs(t, s, "stopped"); got != "begin one, end one, begin one, end one" {
			t.Errorf("runs: %q", got)
		}
	})

	// linked is a task whose provider reaches the server through a link.
	linked := func(t *testing.T, service string) (*workspace, *testbed.Link) {
		t.Helper()
		w := newTask(t, s, service)
		link := testbed.Relay(t, s.Address+":22", 0)
		w.Provider(fmt.Sprintf("ssh = {{ssh}}\nregistries = {{registries}}\nserver_overrides = { %q = { host_key = %q } }", link.Address(), s.HostKey))
		w.Setenv("TF_VAR_destination", link.Address())
		w.Setenv("TF_VAR_seconds", "4")
		return w, link
	}

	t.Run("link cut", func(t *testing.T) {
		t.Parallel()
		w, link := linked(t, "cut")
		p := w.Start()
		begun(t, p, "cut", "begin")
		link.Cut()
		if out, code := p.Wait(); code != 0 {
			t.Errorf("exit code %d:\n%s", code, out)
		}
		once(t, "cut")
		w.PlanEmpty()
	})

	// The command ends while nobody hears of it, and the script on the server with it.
	t.Run("link stalled", func(t *testing.T) {
		t.Parallel()
		w, link := linked(t, "stalled")
		p := w.Start()
		begun(t, p, "stalled", "begin")
		link.Stall()
		eventually(t, time.Minute, "the command ends", func() bool {
			return runs(t, s, "stalled") == "begin one, end one" && s.SSH(t, "pgrep -f '[d]ocker wait stalled-task' || :") == ""
		})
		time.Sleep(time.Second) // the script's last steps
		link.Cut()
		link.Resume()
		if out, code := p.Wait(); code != 0 {
			t.Errorf("exit code %d:\n%s", code, out)
		}
		once(t, "stalled")
		w.PlanEmpty()
	})

	t.Run("two states", func(t *testing.T) {
		t.Parallel()
		a, b := newTask(t, s, "race"), newTask(t, s, "race")
		var ps []*process
		for i, w := range []*workspace{a, b} {
			w.Setenv("TF_VAR_text", fmt.Sprint(i))
			w.Setenv("TF_VAR_seconds", "2")
			ps = append(ps, w.Start())
		}
		for _, p := range ps {
			if out, code := p.Wait(); code != 0 {
				t.Errorf("exit code %d:\n%s", code, out)
			}
		}
		if got := runs(t, s, "race"); got != "begin 0, end 0, begin 1, end 1" && got != "begin 1, end 1, begin 0, end 0" {
			t.Errorf("runs: %q", got)
		}
	})
}
