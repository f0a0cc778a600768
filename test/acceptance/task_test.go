package acceptance

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/test/testbed"
)

const migrate = "kamal_task.migrate"

// taskConfig notes in /srv/runs/SERVICE when its command begins and ends.
const taskConfig = `
variable "image" { type = string }
variable "text" { default = "one" }
variable "seconds" { default = "0" }
variable "code" { default = "0" }
variable "release" { default = "1" }
variable "destination" { default = "{{server 0}}" }
variable "password" {
  type      = string
  ephemeral = true
}
resource "kamal_task" "migrate" {
  server   = var.destination
  service  = "SERVICE"
  name     = "migrate"
  image    = var.image
  command  = ["app", "job", "/runs/SERVICE", var.text, var.seconds, var.code]
  secrets  = { PASSWORD = var.password }
  volumes  = ["/srv/runs:/runs"]
  triggers = { release = var.release }
}
`

// taskTriggeredBy is taskConfig for a service, with a secret as a trigger too.
func taskTriggeredBy(service, name string) string {
	return strings.Replace(strings.ReplaceAll(taskConfig, "SERVICE", service), "triggers =", fmt.Sprintf("secret_triggers = [%q]\n  triggers =", name), 1)
}

// newTask is a workspace with taskConfig for an app of its own.
func newTask(t *testing.T, s *testbed.Server, service string) *workspace {
	t.Helper()
	s.SSH(t, "mkdir -p -m 777 /srv/runs")
	w := newWorkspace(t, s)
	w.Write("main.tf", strings.ReplaceAll(taskConfig, "SERVICE", service))
	w.Setenv("TF_VAR_image", w.Bed.Image("app:v1"))
	w.Setenv("TF_VAR_password", "s3cret-of-the-day")
	return w
}

// runs are the notes of a service's jobs, in one line.
func runs(t *testing.T, s *testbed.Server, service string) string {
	t.Helper()
	return strings.ReplaceAll(strings.TrimSpace(s.SSH(t, "cat /srv/runs/"+service+" 2>/dev/null || :")), "\n", ", ")
}

// leftOfTask is what a run must not leave: containers, secret files, the lock.
func leftOfTask(t *testing.T, s *testbed.Server, service string) string {
	t.Helper()
	return strings.TrimSpace(s.SSH(t, `docker ps -a --format '{{.Names}}' | grep '^`+service+`-task-' || :; ls -d .kamal/apps/`+service+` .kamal/lock-`+service+` 2>/dev/null || :`))
}

func TestTaskRunsWhenItsTriggersChange(t *testing.T) {
	story(t)
	t.Parallel()
	s := bed(t).Warm(t, oldest)
	w := newTask(t, s, "shop")
	w.Apply()
	if got := runs(t, s, "shop"); got != "begin one, end one" {
		t.Errorf("runs after the create: %q", got)
	}
	first := w.State(migrate)
	at, err := time.Parse(time.RFC3339, fmt.Sprint(first["ran_at"]))
	if err != nil || time.Since(at).Abs() > 10*time.Minute || first["id"] != "shop/migrate" ||
		!strings.HasPrefix(fmt.Sprint(first["digest"]), "sha256:") || first["machine_id"] != strings.TrimSpace(s.SSH(t, "cat /etc/machine-id")) {
		t.Errorf("state: %v", first)
	}
	if got := leftOfTask(t, s, "shop"); got != "" {
		t.Errorf("left: %q", got)
	}
	if got := s.SSH(t, "cat .kamal/shop-audit.log"); !strings.Contains(got, "[migrate] Ran task migrate") {
		t.Errorf("audit log: %q", got)
	}

	// A run that is over is history: a refresh asks nothing.
	if p := w.Plan(); !p.Empty() || len(w.Calls()) != 0 {
		t.Errorf("a refresh made the calls %v, and the plan is %q", w.Calls(), p.NotEmpty())
	}

	// What is no trigger counts from the next run on.
	w.Setenv("TF_VAR_image", w.Bed.Image("app:v2"))
	w.Setenv("TF_VAR_text", "two")
	if p := w.Plan(); p.Actions(migrate) != "update" || !slices.Equal(p.Changed(migrate), []string{"command", "image"}) {
		t.Errorf("plan of another image and command: %s %q", p.Actions(migrate), p.Changed(migrate))
	}
	w.Apply()
	if got := runs(t, s, "shop"); got != "begin one, end one" || len(w.Calls()) != 0 {
		t.Errorf("another image: runs %q, calls %v", got, w.Calls())
	}

	w.Setenv("TF_VAR_release", "2")
	p := w.Plan()
	if want := []string{"digest", "machine_id", "ran_at", "secret_digests", "triggers"}; p.Actions(migrate) != "update" || !slices.Equal(p.Changed(migrate), want) {
		t.Errorf("plan of a trigger: %s %q", p.Actions(migrate), p.Changed(migrate))
	}
	w.Apply(p.File)
	if got := runs(t, s, "shop"); got != "begin one, end one, begin two, end two" {
		t.Errorf("runs after a trigger: %q", got)
	}
	if got := dig(w.State(migrate), "digest"); got == first["digest"] {
		t.Errorf("the digest is still that of the first image: %v", got)
	}

	// Warm: look, run and wait, tidy up.
	w.Setenv("TF_VAR_release", "3")
	w.Apply()
	if calls := w.RemoteCalls(s.Address); len(calls) != 3 {
		t.Errorf("a warm run made the calls %q", calls)
	}
	w.Apply("-replace=" + migrate)
	if got := strings.Count(runs(t, s, "shop"), "begin"); got != 4 {
		t.Errorf("%d runs after -replace, want 4", got)
	}
	w.Destroy()
	if calls := w.RemoteCalls(s.Address); len(calls) != 1 {
		t.Errorf("a destroy made the calls %q", calls)
	}
	if got := leftOfTask(t, s, "shop"); got != "" {
		t.Errorf("left of a destroy: %q", got)
	}
}

// What a failed run leaves in the state, and what waits for it.
func TestTaskThatFails(t *testing.T) {
	t.Parallel()
	s := bed(t).Warm(t, newest)
	w := newTask(t, s, "shop")
	w.Write("role.tf", `
resource "kamal_app_role" "web" {
  service         = "shop"
  servers         = {{servers}}
  image           = var.image
  readiness_delay = "1s"
  depends_on      = [kamal_task.migrate]
}
`)
	// A create that fails leaves no state, and is done again.
	w.Setenv("TF_VAR_text", "trying ${PASSWORD}")
	w.Setenv("TF_VAR_code", "3")
	out := w.ApplyFails("Unable to run the task shop/migrate on "+s.Address, "it ended with exit code 3", "trying [redacted]")
	if strings.Contains(out, "s3cret-of-the-day") || strings.Contains(out, "Warning") {
		t.Errorf("a secret or a warning is in the output:\n%s", out)
	}
	if got := w.Addresses(); len(got) != 0 || leftOfTask(t, s, "shop") != "" {
		t.Errorf("left of a failed create: state %q, server %q", got, leftOfTask(t, s, "shop"))
	}
	w.Setenv("TF_VAR_text", "one")
	w.Setenv("TF_VAR_code", "0")
	w.Apply()
	if got := names(t, s); got != "shop-web-v1" {
		t.Fatalf("running: %q", got)
	}

	// An update that fails keeps the triggers as they were, and the role on its version.
	before := w.State(migrate)
	w.Setenv("TF_VAR_image", w.Bed.Image("app:v2"))
	w.Setenv("TF_VAR_release", "2")
	w.Setenv("TF_VAR_code", "4")
	w.ApplyFails("it ended with exit code 4")
	if after := w.State(migrate); names(t, s) != "shop-web-v1" || after["ran_at"] != before["ran_at"] || dig(after, "triggers", "release") != "1" {
		t.Errorf("running: %q, state %v", names(t, s), after)
	}

	// Ctrl-C reaches the provider, and the job goes on. Its failure is the next
	// apply's, and only the one after it runs it again.
	w.Setenv("TF_VAR_seconds", "5")
	w.Setenv("TF_VAR_text", "interrupted")
	w.Setenv("TF_VAR_code", "7")
	p := w.Start()
	eventually(t, time.Minute, "the command runs", func() bool { return !p.Running() || strings.Contains(runs(t, s, "shop"), "begin interrupted") })
	p.Interrupt()
	if out, code := p.Wait(); code == 0 || !says(out, "the job goes on in the container shop-task-migrate-") || !says(out, "docker stop shop-task-migrate-") {
		t.Errorf("exit code %d:\n%s", code, out)
	}
	s.SSH(t, "touch -d '1 minute ago' .kamal/lock-shop/run")
	w.ApplyFails("was cut off: it ended with exit code 7")
	w.Setenv("TF_VAR_seconds", "0")
	w.Setenv("TF_VAR_code", "0")
	w.Apply()
	if got, ran := names(t, s), strings.Count(runs(t, s, "shop"), "begin interrupted"); got != "shop-web-v2" || ran != 2 {
		t.Errorf("running: %q, after %d runs", got, ran)
	}

	w.Write("main.tf", taskTriggeredBy("shop", "OTHER"))
	w.PlanFails("OTHER is in secret_triggers and not in secrets")
	w.Write("main.tf", strings.Replace(strings.ReplaceAll(taskConfig, "SERVICE", "shop"), `"/srv/runs:/runs"`, `"/srv/runs:/runs", "data:/runs/"`, 1))
	w.PlanFails("two volumes are mounted at /runs")

	// Another server is no trigger, and one that is gone no reason to keep a task.
	w.Write("main.tf", strings.Replace(strings.ReplaceAll(taskConfig, "SERVICE", "shop"), "var.destination", `"127.0.0.1:1"`, 1))
	w.Apply()
	w.Remove("role.tf")
	if out := w.Destroy("-target=" + migrate); !says(out, "127.0.0.1:1 does not answer, and the task shop/migrate was forgotten there") {
		t.Errorf("no word of the server that is gone:\n%s", out)
	}
}

// Which secrets run a task again.
func TestTaskSecrets(t *testing.T) {
	t.Parallel()
	s := bed(t).Warm(t, newest)
	w := newTask(t, s, "shop")
	w.Write("main.tf", strings.Replace(strings.ReplaceAll(taskConfig, "SERVICE", "shop"), `secrets  = { PASSWORD = var.password }`, `
  secrets          = { PASSWORD = var.password, TOKEN = var.token }
  secrets_as_files = ["TOKEN"]
  secret_triggers  = ["TOKEN"]
  secrets_version  = var.secrets_version`, 1)+`
variable "token" {
  type      = string
  ephemeral = true
}
variable "secrets_version" { default = null }
`)
	w.Setenv("TF_VAR_token", "token-number-one")
	w.Apply()
	count := func(want int, why string) {
		t.Helper()
		if got := strings.Count(runs(t, s, "shop"), "begin"); got != want {
			t.Errorf("%d runs after %s, want %d", got, why, want)
		}
	}
	w.Setenv("TF_VAR_password", "another-password")
	w.Apply()
	count(1, "a secret that is no trigger")

	w.Setenv("TF_VAR_token", "token-number-two")
	plan := w.Plan()
	if want := []string{"digest", "machine_id", "ran_at", "secret_digests"}; plan.Actions(migrate) != "update" || !slices.Equal(plan.Changed(migrate), want) {
		t.Errorf("plan of a secret: %s %q", plan.Actions(migrate), plan.Changed(migrate))
	}
	w.Apply()
	count(2, "a secret that is a trigger")

	// Another value when it is applied than when it was planned.
	w.Setenv("TF_VAR_text", "two")
	plan = w.Plan()
	w.Setenv("TF_VAR_token", "token-number-three")
	w.Apply(plan.File)
	count(3, "a secret that changed between plan and apply")

	// With a version the values don't count.
	w.Setenv("TF_VAR_secrets_version", "1")
	w.Apply()
	count(4, "a version")
	w.Setenv("TF_VAR_token", "token-number-four")
	w.Setenv("TF_VAR_text", "three")
	if p := w.Plan(); !slices.Equal(p.Changed(migrate), []string{"command"}) {
		t.Errorf("plan with a version: %q", p.Changed(migrate))
	}
	w.Apply()
	count(4, "another value under the same version")
	w.Setenv("TF_VAR_secrets_version", "2")
	w.Apply()
	count(5, "another version")
}
