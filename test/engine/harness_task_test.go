package engine

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/secret"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/task"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/workload"
)

// A taskHandle is a task with what a state knows of its last run.
type taskHandle struct {
	e    *engine
	spec task.Spec
	// server is as configured: the server's address, or that of a link to it.
	server string
	// state is that of the last run that succeeded.
	state *task.State
}

// task is a service's migrate, which notes in /srv/runs/SERVICE when its
// command begins and ends.
func (e *engine) task(service string) *taskHandle {
	e.Helper()
	e.s.SSH(e, "mkdir -p -m 777 /srv/runs; rm -f /srv/runs/"+service)
	e.Cleanup(func() { e.s.SSH(e, "rm -f /srv/runs/"+service) })
	k := &taskHandle{e: e, server: e.s.Address, spec: task.Spec{
		Spec: workload.Spec{
			Image: e.image("app:v1"), Network: "kamal", Secrets: secret.Set{"PASSWORD": "s3cret-of-the-day"},
			Volumes: []string{"/srv/runs:/runs"},
		},
		Service: service, Name: "migrate", Timeout: 30 * time.Minute, Triggers: map[string]string{"release": "1"},
	}}
	k.runs("one", "0", "0")
	return k
}

// runs sets what the command notes, how many seconds it takes, and its exit code.
func (k *taskHandle) runs(text, seconds, code string) {
	k.spec.Command = []string{"app", "job", "/runs/" + k.spec.Service, text, seconds, code}
}

// applyIn is one run of the task in a run of the provider; it returns the
// warnings. It keeps what a state keeps.
func (k *taskHandle) applyIn(ctx context.Context, r *run) (string, error) {
	secrets := slices.Collect(maps.Values(k.spec.Secrets))
	r.fleet.AddSecret(secrets...)
	st, warnings, err := task.Apply(ctx, r.fleet, k.server, k.spec)
	if err == nil {
		k.state = st
	}
	k.e.mustHide(r, secrets...)
	return warned(warnings), err
}

// apply runs the task in a new run of the provider.
func (k *taskHandle) apply() (string, error) {
	k.e.Helper()
	return k.applyIn(k.e.ctx(), k.e.newRun())
}

// do runs the task, wants it to succeed and to leave nothing, and returns the warnings.
func (k *taskHandle) do() string {
	k.e.Helper()
	warnings, err := k.apply()
	k.e.must(err)
	k.wantNothingLeft("the task")
	return warnings
}

// fails wants the task to fail and to tell the texts; it returns what it told,
// warnings first.
func (k *taskHandle) fails(texts ...string) string {
	k.e.Helper()
	warnings, err := k.apply()
	return warnings + k.e.wantFailure(err, texts...)
}

// begin runs the task in the background until cancel; what it warns of is in
// warnings after the end.
func (k *taskHandle) begin() (r *run, u *under, cancel context.CancelFunc, warnings *string) {
	k.e.Helper()
	ctx, cancel := context.WithCancel(k.e.ctx())
	k.e.Cleanup(cancel)
	r, warnings = k.e.newRun(), new(string)
	u = k.e.start(func() (err error) {
		*warnings, err = k.applyIn(ctx, r)
		return err
	})
	k.e.Cleanup(r.kill) // before its end is waited for
	return r, u, cancel, warnings
}

// begun waits until the command under way has noted a text.
func (k *taskHandle) begun(u *under, note string) {
	k.e.Helper()
	eventually(k.e, time.Minute, "the command runs", func() bool { return !u.running() || strings.Contains(k.notes(), note) })
	if !u.running() {
		k.e.Fatalf("the run is over: %v", u.err)
	}
}

// job is the container of the command that has begun. It may have noted that
// before docker has it among those that run.
func (k *taskHandle) job() (name string) {
	k.e.Helper()
	eventually(k.e, time.Minute, "docker says that the command runs", func() bool {
		name = k.e.s.SSH(k.e, "docker ps --format '{{.Names}}' --filter name='^"+k.spec.App()+"-task-"+k.spec.Name+"'")
		return name != ""
	})
	return name
}

// pauses waits until the command under way has noted a text, and pauses it: the
// moment lasts until resumes. It returns the job's container.
func (k *taskHandle) pauses(u *under, note string) string {
	k.e.Helper()
	k.begun(u, note)
	job := k.job()
	k.e.s.SSH(k.e, "docker pause "+job)
	return job
}

// waitsFor waits until somebody waits for a job, and returns the session of the
// script that does on the server.
func (e *engine) waitsFor(job string) string {
	e.Helper()
	var session string
	eventually(e, time.Minute, "somebody waits for the job", func() bool {
		session = strings.TrimSpace(e.s.SSH(e, "ps -o sid= -p $(pgrep -f '^docker wait "+job+"' | head -n 1) 2>/dev/null || :"))
		return session != ""
	})
	return session
}

// cutOff begins a run and kills its provider while the command runs.
func (k *taskHandle) cutOff(note string) {
	k.e.Helper()
	r, u, _, _ := k.begin()
	k.begun(u, note)
	r.kill()
	k.e.wantFailure(u.wait(), "the job goes on in the container "+k.spec.App()+"-task-migrate-")
	k.e.ages(k.spec.App())
}

// notes are what the service's jobs have noted, in one line.
func (k *taskHandle) notes() string {
	k.e.Helper()
	return strings.ReplaceAll(k.e.s.SSH(k.e, "cat /srv/runs/"+k.spec.Service+" 2>/dev/null || :"), "\n", ", ")
}

// wantNotes wants the service's jobs to have noted this.
func (k *taskHandle) wantNotes(want string) {
	k.e.Helper()
	if got := k.notes(); got != want {
		k.e.Errorf("the jobs have noted %q, want %q", got, want)
	}
}

// wantNothingLeft wants no container, secret file or lock of the task.
func (k *taskHandle) wantNothingLeft(of string) {
	k.e.Helper()
	app := k.spec.App()
	if got := k.e.s.SSH(k.e, `docker ps -a --format '{{.Names}}' | grep '^`+app+`-task-' || :; ls -d .kamal/apps/`+app+`/secrets .kamal/lock-`+app+` 2>/dev/null || :`); got != "" {
		k.e.Errorf("left of %s: %q", of, got)
	}
}

// remove destroys the task, of whose secrets a state knows nothing; it returns the warnings.
func (k *taskHandle) remove() (string, error) {
	k.e.Helper()
	spec := k.spec
	spec.Secrets = nil
	warnings, err := task.Remove(k.e.ctx(), k.e.newRun().fleet, k.server, spec)
	return warned(warnings), err
}

// beside is the engine for a subtest that runs beside others on its server.
func (e *engine) beside(name string, test func(e *engine)) {
	e.Helper()
	e.Run(name, func(t *testing.T) {
		t.Parallel()
		sub := *e
		sub.T, sub.run = t, nil
		test(&sub)
	})
}
