package acceptance

import (
	"strings"
	"testing"
)

const valuesConfig = `
variable "absent" {
  type    = string
  default = null
}
variable "secrets" {
  type      = map(string)
  default   = { TOKEN = "secret-of-the-day", GONE = null }
  ephemeral = true
}
resource "terraform_data" "late" { input = "x" }
locals {
  late_null = terraform_data.late.output == "x" ? null : "shop-late:/late"
  late_none = { for k, v in { late = terraform_data.late.output } : k => v if v != "x" }
}
resource "kamal_app_role" "web" {
  service         = "shop"
  role            = "jobs"
  servers         = {{servers}}
  image           = "{{image "app:v1"}}"
  command         = ["app", "worker"]
  readiness_delay = "1s"
  memory          = "256m"
  options         = { shm_size = "128m", pids_limit = 100 }
  secrets         = var.secrets
  BODY
}
`

// TestValuesThatAreNotThere is about null and nothing: in a map they mean "not
// set", in a list null is refused, known or not, before anything is changed.
func TestValuesThatAreNotThere(t *testing.T) {
	t.Parallel()
	s := bed(t).Warm(t, newest)
	w := newWorkspace(t, s)
	write := func(body string) { w.Write("main.tf", strings.Replace(valuesConfig, "BODY", body, 1)) }
	const usual = `env = { A = "a", B = var.absent }
  labels  = {}
  volumes = []`
	write(usual)
	w.Apply()
	if got := s.SSH(t, `docker exec shop-jobs-v1 app env A; echo; docker inspect -f '{{join .Config.Env "\n"}}' shop-jobs-v1 | grep -c -e '^B=' -e '^GONE=' || :`); got != "a\n0" {
		t.Errorf("in the container: %q", got)
	}
	id := inspect(t, s, "shop-jobs-v1", ".Id")
	same := func(when string) {
		t.Helper()
		if got := inspect(t, s, "shop-jobs-v1", ".Id"); got != id {
			t.Errorf("%s replaced the container", when)
		}
	}

	// Another spelling is no change at all, not even of the state.
	w.Write("main.tf", strings.NewReplacer("BODY", usual, `"1s"`, `"1000ms"`, `"256m"`, `"268435456"`, `"128m"`, `"131072k"`).Replace(valuesConfig))
	w.PlanEmpty()

	// Another way to say the same, and what turns out to be nothing.
	write(`env = { A = "a" }
  labels = local.late_none`)
	w.Apply()
	same("another way to say the same")

	for body, text := range map[string]string{
		`verify = ["app", "exit", "3", null]`:       "verify[3] is null",
		`volumes = ["shop-data:/data", var.absent]`: "volumes[1] is null",
		`secrets_as_files = ["TOKEN", var.absent]`:  "is null",
		`verify = []`: "to verify nothing",
	} {
		write(body)
		w.PlanFails(text)
	}
	write(`volumes = ["shop-data:/data", local.late_null]`)
	before := footprint(t, s)
	w.CLI("state", "rm", "terraform_data.late") // so that it is not known before the apply
	w.ApplyFails("volumes[1] is null")
	wantSame(t, "the server", before, footprint(t, s))
	same("an apply that was refused")

	// An import with secrets = null, as a generated configuration has it.
	w.CLI("state", "rm", web)
	w.Import(web, "shop/jobs@"+s.Address)
	w.Write("null.auto.tfvars", "secrets = null")
	write(usual)
	w.PlanFails("The containers run with TOKEN", "secrets = {} takes all of them away")
	w.Remove("null.auto.tfvars")
	w.Apply()
	same("an import")

	// All secrets go, and that is said.
	w.Write("none.auto.tfvars", "secrets = {}")
	if p := w.Plan(); !says(p.Text, "Secrets will be taken away") || !says(p.Text, "TOKEN") {
		t.Errorf("the plan says nothing of the secrets that go:\n%s", p.Text)
	}
	w.Apply()
	if got := s.SSH(t, `docker inspect -f '{{join .Config.Env "\n"}}' shop-jobs-v1 | grep -c '^TOKEN=' || :`); got != "0" {
		t.Error("the secret is in the container still")
	}
}
