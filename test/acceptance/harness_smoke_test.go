package acceptance

import (
	"testing"
	"time"
)

// The driver's own test, with a resource that every CLI has built in.
func TestHarnessDrivesTheCLI(t *testing.T) {
	story(t)
	t.Parallel()
	w := newWorkspace(t)
	w.Write("main.tf", `
variable "v" { default = "one" }
resource "terraform_data" "a" { input = var.v }
resource "terraform_data" "slow" {
  triggers_replace = var.v
  provisioner "local-exec" { command = "test ${var.v} != broken || (echo a long line that says why it is broken and goes on >&2; exit 3)" }
}
output "v" { value = terraform_data.a.output }
`)
	if got := w.Plan().Actions("terraform_data.a"); got != "create" {
		t.Errorf("first plan: %s", got)
	}
	w.Apply()
	if got := dig(w.State("terraform_data.a"), "output", "value"); got != "one" {
		t.Errorf("state: %v", got)
	}
	w.Setenv("TF_VAR_v", "two")
	p := w.Plan()
	if p.Empty() || p.Actions("terraform_data.a") != "update" || p.After("terraform_data.a", "input") != "two" || p.Actions("terraform_data.slow") != "replace" {
		t.Errorf("plan: %q", p.NotEmpty())
	}
	w.Apply(p.File)
	if got := w.Output("v"); got != "two" {
		t.Errorf("output: %v", got)
	}
	w.Apply("-var", "v=three", NoEmptyPlanCheck)
	w.Setenv("TF_VAR_v", "three")
	w.PlanEmpty()
	w.Setenv("TF_VAR_v", "broken")
	w.ApplyFails("exit status 3", "a long line that says why it is broken and goes on")
	w.Destroy()
	if left := w.Addresses(); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

func TestHarnessKillsWhatItStarted(t *testing.T) {
	t.Parallel()
	w := newWorkspace(t)
	w.Write("main.tf", `resource "terraform_data" "a" {
  provisioner "local-exec" { command = "sleep 300" }
}`)
	p := w.Start()
	eventually(t, time.Minute, "the provisioner runs", func() bool { return says(p.Output(), "Executing") })
	p.Kill()
	if _, code := p.Wait(); code != -1 {
		t.Errorf("exit code %d, want one of a signal", code)
	}
}
