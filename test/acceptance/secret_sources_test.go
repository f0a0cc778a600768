package acceptance

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kamal-terraform/terraform-provider-kamal/test/testbed"
)

// sourcesConfig takes secrets from wherever they may come. "steady" has values
// that are the same in plan and apply, "fresh" has one that never is, as
// short-lived tokens are, and a version that says when a new one counts.
const sourcesConfig = `
variable "sensitive" {
  type      = string
  sensitive = true
}
variable "ephemeral" {
  type      = string
  ephemeral = true
}
variable "secrets_version" { default = "1" }
resource "terraform_data" "name" { input = "late" }
ephemeral "store_secret" "late" { name = terraform_data.name.output } # not known while planning the first apply
ephemeral "store_secret" "fresh" { name = "fresh" }
data "store_secret" "kept" { name = "kept" }
data "terraform_remote_state" "other" {
  backend = "local"
  config  = { path = "STORE/other.tfstate" }
}

resource "kamal_accessory" "steady" {
  server  = "{{server 0}}"
  service = "shop"
  name    = "steady"
  image   = "{{image "app:v1"}}"
  secrets = {
    DATA      = data.store_secret.kept.value
    STATE     = data.terraform_remote_state.other.outputs.password
    LATE      = ephemeral.store_secret.late.value
    SENSITIVE = var.sensitive
    EPHEMERAL = var.ephemeral
  }
}
resource "kamal_accessory" "fresh" {
  server          = "{{server 0}}"
  service         = "shop"
  name            = "fresh"
  image           = "{{image "app:v1"}}"
  secrets         = { FRESH = ephemeral.store_secret.fresh.value }
  secrets_version = VERSION
}
resource "kamal_task" "fresh" {
  server          = "{{server 0}}"
  service         = "shop"
  name            = "fresh"
  image           = "{{image "app:v1"}}"
  command         = ["app", "job", "/runs/sources", "ran", "0", "0"]
  volumes         = ["/srv/runs:/runs"]
  secrets         = { FRESH = ephemeral.store_secret.fresh.value }
  secret_triggers = ["FRESH"]
  secrets_version = VERSION
}
resource "kamal_app_role" "fresh" {
  servers         = {{servers}}
  service         = "shop"
  role            = "fresh"
  image           = "{{image "app:v1"}}"
  readiness_delay = "1s"
  secrets         = { FRESH = ephemeral.store_secret.fresh.value }
  secrets_version = VERSION
}
`

// otherState is the state of another configuration, which has a password for its output.
const otherState = `{"version": 4, "terraform_version": "1.11.0", "serial": 1, "lineage": "other", "resources": [],
  "outputs": {"password": {"value": "PASSWORD", "type": "string", "sensitive": true}}}`

// newSources is a workspace with a secrets manager: the directory, a secret a file.
func newSources(t *testing.T, s *testbed.Server) (w *workspace, store string) {
	t.Helper()
	dir := t.TempDir()
	// With the flags of `make build`, or go compiles all that the two share once more: minutes.
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(dir, "terraform-provider-store"), "github.com/kamal-terraform/terraform-provider-kamal/test/store")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building test/store: %v\n%s", err, out)
	}
	w, store = newWorkspace(t, s), t.TempDir()
	w.override(fmt.Sprintf("\"kamal-terraform/kamal\" = %q", w.settings.providerDir), fmt.Sprintf("\"hashicorp/store\" = %q", dir))
	w.Setenv("STORE", store)
	return w, store
}

func TestSecretsFromEverySource(t *testing.T) {
	t.Parallel()
	s := bed(t).Warm(t, newest)
	s.SSH(t, "mkdir -p -m 777 /srv/runs")
	w, store := newSources(t, s)
	w.Write("main.tf", strings.NewReplacer("VERSION", "var.secrets_version", "STORE", store).Replace(sourcesConfig))
	state := func(password string) string { return strings.Replace(otherState, "PASSWORD", password, 1) }
	for name, value := range map[string]string{"kept": "from a data source", "late": "from an ephemeral resource", "other.tfstate": state("from another state")} {
		w.write(filepath.Join(store, name), value)
	}
	w.Setenv("TF_VAR_sensitive", "from a sensitive variable")
	w.Setenv("TF_VAR_ephemeral", "from an ephemeral variable")
	has := func(container, name string) string {
		t.Helper()
		return s.SSH(t, "docker exec $(docker ps -q --filter name='^"+container+"') app env "+name)
	}
	w.Apply()
	for name, want := range map[string]string{"DATA": "a data source", "STATE": "another state", "LATE": "an ephemeral resource", "SENSITIVE": "a sensitive variable", "EPHEMERAL": "an ephemeral variable"} {
		if got := has("shop-steady", name); got != "from "+want {
			t.Errorf("%s arrived as %q", name, got)
		}
	}
	tokens := func() []string { return []string{has("shop-fresh-", "FRESH"), has("shop-fresh$", "FRESH")} }
	first := tokens()
	if !strings.HasPrefix(first[0], "token-") || !strings.HasPrefix(first[1], "token-") || runs(t, s, "sources") != "begin ran, end ran" {
		t.Errorf("fresh tokens: %q, runs %q", first, runs(t, s, "sources"))
	}

	// A source that gives another value shows, by the secret's name alone.
	w.write(filepath.Join(store, "kept"), "another one of the data source")
	w.write(filepath.Join(store, "other.tfstate"), state("another one of the other state"))
	w.write(filepath.Join(store, "late"), "another ephemeral one")
	p := w.Plan()
	if got := p.NotEmpty(); !slices.Equal(got, []string{"update kamal_accessory.steady"}) || !p.Unknown("kamal_accessory.steady", "secret_digests", "DATA") ||
		!p.Unknown("kamal_accessory.steady", "secret_digests", "STATE") || !p.Unknown("kamal_accessory.steady", "secret_digests", "LATE") || p.Unknown("kamal_accessory.steady", "secret_digests", "SENSITIVE") {
		t.Errorf("plan of other values: %q\n%s", got, p.Text)
	}
	w.Apply(p.File)
	for name, want := range map[string]string{"DATA": "another one of the data source", "STATE": "another one of the other state", "LATE": "another ephemeral one"} {
		if got := has("shop-steady", name); got != want {
			t.Errorf("another value of %s arrived as %q", name, got)
		}
	}
	wantNoValues(t, w, p, append(tokens(), "from a data source", "from another state", "from an ephemeral resource", "from a sensitive variable",
		"from an ephemeral variable", "another one of the data source", "another one of the other state", "another ephemeral one"))

	// Tokens that differ each time count with their version alone.
	if got := tokens(); !slices.Equal(got, first) {
		t.Errorf("tokens were replaced without a new version: %q, then %q", first, got)
	}
	w.Setenv("TF_VAR_secrets_version", "2")
	p = w.Plan()
	if got := p.NotEmpty(); !slices.Equal(got, []string{"update kamal_accessory.fresh", "update kamal_app_role.fresh", "update kamal_task.fresh"}) {
		t.Errorf("plan of another version: %q", got)
	}
	w.Apply(p.File)
	second := tokens()
	if second[0] == first[0] || second[1] == first[1] || runs(t, s, "sources") != "begin ran, end ran, begin ran, end ran" {
		t.Errorf("with another version: tokens %q, then %q, runs %q", first, second, runs(t, s, "sources"))
	}

	// Without a version each plan has another value, which is what it says; an
	// apply hands over the one that it gets, and no promise is broken.
	w.Write("main.tf", strings.NewReplacer("VERSION", "null", "STORE", store).Replace(sourcesConfig))
	w.Apply(NoEmptyPlanCheck)
	if p := w.Plan(); !slices.Equal(p.NotEmpty(), []string{"update kamal_accessory.fresh", "update kamal_app_role.fresh", "update kamal_task.fresh"}) {
		t.Errorf("plan without a version: %q", p.NotEmpty())
	}
	if third := tokens(); third[0] == second[0] || third[1] == second[1] {
		t.Errorf("without a version: tokens %q, then %q", second, third)
	}
	w.Apply(NoEmptyPlanCheck)
}

// wantNoValues looks for secrets in what the plan and the state have of the
// provider's own resources: a data source's values are in both, in its place.
func wantNoValues(t *testing.T, w *workspace, p *Plan, values []string) {
	t.Helper()
	found, n := newLeaks(values), 0
	look := func(what, address string, attributes any) {
		if !strings.HasPrefix(address, "kamal_") {
			return
		}
		text, err := json.Marshal(attributes)
		if err != nil {
			t.Fatal(err)
		}
		n++
		found.text(t, what+" of "+address, string(text))
	}
	for _, r := range p.JSON().ResourceChanges {
		look("plan", r.Address, r.Change)
	}
	for _, r := range w.resources() {
		look("state", r.Address, r)
	}
	if n != 8 {
		t.Errorf("looked at %d, want four resources in plan and state", n)
	}
}
