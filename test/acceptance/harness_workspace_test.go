package acceptance

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/template"

	tfjson "github.com/hashicorp/terraform-json"

	"github.com/kamal-terraform/terraform-provider-kamal/test/testbed"
)

// A workspace is a directory with a configuration and its state, as a user has it.
type workspace struct {
	Dir     string
	Bed     *testbed.Bed
	Servers []*testbed.Server

	t        *testing.T
	settings settings
	home     string
	dataDir  string
	rcFile   string
	logs     string
	commands int
	lastLog  string
	env      map[string]string
}

// in is the workspace for a subtest, which fails in its place. The subtests of
// a workspace run one after the other.
func (w *workspace) in(t *testing.T) *workspace {
	sub := *w
	sub.t = t
	t.Cleanup(func() { w.commands, w.lastLog = sub.commands, sub.lastLog })
	return &sub
}

// NoEmptyPlanCheck as an argument of Apply leaves out the check that nothing is
// left to do. Say beside it why the plan is not empty.
const NoEmptyPlanCheck = "NoEmptyPlanCheck"

// newWorkspace makes a workspace whose provider can reach every server of the
// testbed; servers are those that templates name by number.
func newWorkspace(t *testing.T, servers ...*testbed.Server) *workspace {
	t.Helper()
	w := &workspace{t: t, settings: acceptance(t), Bed: bed(t), Servers: servers, env: map[string]string{}}
	top, err := os.MkdirTemp("", "kamal-workspace-") //nolint:usetesting // KAMAL_TEST_KEEP keeps it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() && os.Getenv("KAMAL_TEST_KEEP") != "" {
			t.Logf("workspace kept: %s", top)
			return
		}
		if err := os.RemoveAll(top); err != nil {
			t.Error(err)
		}
	})
	w.Dir, w.home, w.dataDir = filepath.Join(top, "config"), filepath.Join(top, "home"), filepath.Join(top, "data")
	w.logs, w.rcFile = filepath.Join(top, "logs"), filepath.Join(top, "cli.rc")
	for _, dir := range []string{w.Dir, w.home, w.dataDir, w.logs} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	// dev_overrides: no init, and the state's provider version doesn't matter.
	w.override(fmt.Sprintf("\"kamal-terraform/kamal\" = %q", w.settings.providerDir))
	w.Provider("ssh        = {{ssh}}\nregistries = {{registries}}")
	return w
}

// override names the directories that providers are in, each a line of HCL.
func (w *workspace) override(lines ...string) {
	w.t.Helper()
	w.write(w.rcFile, "provider_installation {\n  dev_overrides {\n    "+strings.Join(lines, "\n    ")+"\n  }\n  direct {}\n}\n")
}

// Provider replaces what stands in the provider block. The template functions
// are those of Write.
func (w *workspace) Provider(body string) {
	w.t.Helper()
	w.Write("provider.tf", "terraform {\n  required_providers {\n    kamal = { source = \"kamal-terraform/kamal\" }\n  }\n}\n\n"+
		"provider \"kamal\" {\n"+body+"\n}\n")
}

// Write writes a file of the configuration, a text/template with the functions
//
//	server N       address of the N-th server, from 0
//	servers        list of all their addresses, as HCL
//	image "app:v1" full reference of an image of the testbed's registry
//	ssh            the ssh object that reaches the testbed, as HCL
//	registries     the log-in for the testbed's registry, as HCL
func (w *workspace) Write(name, hcl string) {
	w.t.Helper()
	parsed, err := template.New(name).Funcs(template.FuncMap{
		"server": func(i int) string { return w.Servers[i].Address },
		"servers": func() string {
			var list []string
			for _, s := range w.Servers {
				list = append(list, fmt.Sprintf("%q", s.Address))
			}
			return "[" + strings.Join(list, ", ") + "]"
		},
		"image": w.Bed.Image,
		"ssh": func() string {
			return fmt.Sprintf("{ private_key_file = %q, known_hosts = %q }", w.Bed.KeyFile, w.Bed.KnownHostsFile)
		},
		"registries": func() string {
			r := w.Bed.Registry
			return fmt.Sprintf("{ %q = { username = %q, password = %q } }", r.Address, r.Username, r.Password)
		},
	}).Parse(hcl)
	if err != nil {
		w.t.Fatal(err)
	}
	var text strings.Builder
	if err := parsed.Execute(&text, nil); err != nil {
		w.t.Fatal(err)
	}
	w.write(filepath.Join(w.Dir, name), text.String())
}

func (w *workspace) write(path, text string) {
	w.t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// Remove removes a file of the configuration.
func (w *workspace) Remove(name string) {
	w.t.Helper()
	if err := os.Remove(filepath.Join(w.Dir, name)); err != nil {
		w.t.Fatal(err)
	}
}

// Setenv sets a variable for the CLI and the provider, say TF_VAR_image.
func (w *workspace) Setenv(name, value string) { w.env[name] = value }

// nextLog is where the next command's provider log goes.
func (w *workspace) nextLog(command string) string {
	w.commands++
	return filepath.Join(w.logs, fmt.Sprintf("%03d-%s.log", w.commands, command))
}

// must fails the test unless the command ended with exit code 0.
func (w *workspace) must(r result) result {
	w.t.Helper()
	if r.code != 0 {
		w.t.Fatalf("%s: exit code %d", r.command, r.code)
	}
	return r
}

// fails fails the test unless the command failed and said all of the texts.
func (w *workspace) fails(r result, texts []string) string {
	w.t.Helper()
	if r.code != 1 {
		w.t.Fatalf("%s: exit code %d, want a failure", r.command, r.code)
	}
	for _, text := range texts {
		if !says(r.output, text) {
			w.t.Errorf("%s failed, but doesn't say %q", r.command, text)
		}
	}
	return unwrap(r.output)
}

// Apply applies and then wants an empty plan, unless NoEmptyPlanCheck is among
// the arguments. It returns what the CLI said.
func (w *workspace) Apply(args ...string) string {
	w.t.Helper()
	check := !slices.Contains(args, NoEmptyPlanCheck)
	args = slices.DeleteFunc(slices.Clone(args), func(a string) bool { return a == NoEmptyPlanCheck })
	r := w.must(w.run(append([]string{"apply", "-auto-approve", "-no-color"}, args...)...))
	w.lastLog = r.log
	if check {
		w.wantEmpty(args)
	}
	return unwrap(r.output)
}

// wantEmpty plans with those arguments of an apply that a plan after it shares.
func (w *workspace) wantEmpty(args []string) {
	w.t.Helper()
	plan := []string{"plan", "-detailed-exitcode", "-no-color"}
	for _, a := range args {
		if strings.HasPrefix(a, "-var") || strings.HasPrefix(a, "-target") || strings.HasPrefix(a, "-exclude") {
			plan = append(plan, a)
		}
	}
	if r := w.run(plan...); r.code != 0 {
		w.t.Fatalf("the plan after the apply is not empty (exit code %d)", r.code)
	}
}

// ApplyFails wants an apply to fail and to say the texts, whatever line breaks
// the CLI puts into them. It returns what the CLI said.
func (w *workspace) ApplyFails(texts ...string) string {
	w.t.Helper()
	r := w.run("apply", "-auto-approve", "-no-color")
	w.lastLog = r.log
	return w.fails(r, texts)
}

// Plan plans with a refresh.
func (w *workspace) Plan(args ...string) *Plan {
	w.t.Helper()
	file := filepath.Join(w.logs, fmt.Sprintf("%03d.tfplan", w.commands+1))
	r := w.run(append([]string{"plan", "-detailed-exitcode", "-no-color", "-out=" + file}, args...)...)
	w.lastLog = r.log
	if r.code != 0 && r.code != 2 {
		w.t.Fatalf("%s: exit code %d", r.command, r.code)
	}
	return &Plan{Text: unwrap(r.output), File: file, code: r.code, json: sync.OnceValue(func() *tfjson.Plan {
		parsed, err := parsePlan([]byte(w.must(w.run("show", "-json", file)).stdout))
		if err != nil {
			w.t.Fatal(err)
		}
		return parsed
	})}
}

// PlanFails wants a plan to fail and to say the texts.
func (w *workspace) PlanFails(texts ...string) string {
	w.t.Helper()
	r := w.run("plan", "-no-color")
	w.lastLog = r.log
	return w.fails(r, texts)
}

// PlanEmpty wants a plan with nothing to do.
func (w *workspace) PlanEmpty() {
	w.t.Helper()
	if p := w.Plan(); !p.Empty() {
		w.t.Fatalf("the plan is not empty: %q", p.NotEmpty())
	}
}

// Destroy destroys everything that is in the state.
func (w *workspace) Destroy(args ...string) string {
	w.t.Helper()
	r := w.must(w.run(append([]string{"destroy", "-auto-approve", "-no-color"}, args...)...))
	w.lastLog = r.log
	return unwrap(r.output)
}

// DestroyFails wants a destroy to fail and to say the texts.
func (w *workspace) DestroyFails(texts ...string) string {
	w.t.Helper()
	r := w.run("destroy", "-auto-approve", "-no-color")
	w.lastLog = r.log
	return w.fails(r, texts)
}

// Import imports by the command.
func (w *workspace) Import(address, id string) string {
	w.t.Helper()
	r := w.must(w.run("import", "-no-color", address, id))
	w.lastLog = r.log
	return unwrap(r.output)
}

// ImportFails wants an import to fail and to say the texts.
func (w *workspace) ImportFails(address, id string, texts ...string) string {
	w.t.Helper()
	r := w.run("import", "-no-color", address, id)
	w.lastLog = r.log
	return w.fails(r, texts)
}

// CLI runs any command, say "taint" or "state mv", and wants exit code 0.
func (w *workspace) CLI(args ...string) string {
	w.t.Helper()
	r := w.must(w.run(args...))
	w.lastLog = r.log
	return unwrap(r.output)
}

// State returns a resource's attributes, nil if it is not in the state. dig
// steps into them.
func (w *workspace) State(address string) map[string]any {
	w.t.Helper()
	for _, r := range w.resources() {
		if r.Address == address {
			return r.Values
		}
	}
	return nil
}

// Addresses lists what is in the state, in alphabetical order.
func (w *workspace) Addresses() []string {
	w.t.Helper()
	var out []string
	for _, r := range w.resources() {
		out = append(out, r.Address)
	}
	slices.Sort(out)
	return out
}

// Output returns an output's value, nil if there is none.
func (w *workspace) Output(name string) any {
	w.t.Helper()
	return w.state().Outputs[name].Value
}

// stateFile is what a test wants to know of a state file. It is read as it is:
// starting the CLI's show for each question took a good part of a run's time.
type stateFile struct {
	Outputs   map[string]struct{ Value any }
	Resources []struct {
		Module, Mode, Type, Name string
		Instances                []struct {
			Key        any `json:"index_key"`
			Attributes map[string]any
		}
	}
}

// stateResource is one resource in the state.
type stateResource struct {
	Address string
	Values  map[string]any
}

func (w *workspace) state() (state stateFile) {
	w.t.Helper()
	text, err := os.ReadFile(filepath.Join(w.Dir, "terraform.tfstate"))
	if err == nil {
		err = json.Unmarshal(text, &state)
	}
	if err != nil && !os.IsNotExist(err) {
		w.t.Fatal(err)
	}
	return state
}

func (w *workspace) resources() []stateResource {
	w.t.Helper()
	var out []stateResource
	for _, r := range w.state().Resources {
		address := r.Type + "." + r.Name
		if r.Mode == "data" {
			address = "data." + address
		}
		if r.Module != "" {
			address = r.Module + "." + address
		}
		for _, i := range r.Instances {
			key := ""
			if i.Key != nil {
				text, err := json.Marshal(i.Key)
				if err != nil {
					w.t.Fatal(err)
				}
				key = "[" + string(text) + "]"
			}
			out = append(out, stateResource{address + key, i.Attributes})
		}
	}
	return out
}
