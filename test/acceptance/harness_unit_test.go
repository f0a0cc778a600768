package acceptance

import (
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/hashicorp/go-version"
	tfjson "github.com/hashicorp/terraform-json"
)

func TestUnwrapUndoesWhatTheCLIsDoToDiagnostics(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ output, want string }{
		"terraform in colour": {
			"\x1b[31m╷\x1b[0m\x1b[0m\n\x1b[31m│\x1b[0m \x1b[0m\x1b[1m\x1b[31mError: \x1b[0m\x1b[0m\x1b[1mMissing proxy\x1b[0m\n" +
				"\x1b[31m│\x1b[0m \x1b[0m\n\x1b[31m│\x1b[0m \x1b[0m\x1b[0mNothing listens here,\n\x1b[31m│\x1b[0m \x1b[0mand nothing will.\n\x1b[31m╵\x1b[0m\x1b[0m\n",
			"Error: Missing proxy\n\nNothing listens here, and nothing will.\n",
		},
		"no colour, no boxes":    {"Error: Missing proxy\n\nNothing listens here,\nand nothing will.\n", "Error: Missing proxy\n\nNothing listens here, and nothing will."},
		"indented lines stay":    {"Last lines of its log:\n  one\n  two\nNext step.\n", "Last lines of its log:\n  one\n  two\nNext step."},
		"boxes without colours":  {"╷\n│ Error: Missing proxy\n│ \n│ Nothing\n│ here.\n╵\n", "Error: Missing proxy\n\nNothing here.\n"},
		"a box inside a line":    {"a │ b\n", "a │ b"},
		"nothing comes, nothing": {"", ""},
	} {
		if got := unwrap(c.output); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestSaysFindsTextAcrossLineBreaks(t *testing.T) {
	t.Parallel()
	output := "╷\n│ Error: port 80 of web-1\n│ is taken\n│ \n│   nginx,\n│   pid 7\n╵\n"
	for text, want := range map[string]bool{
		"port 80 of web-1 is taken": true, "taken nginx, pid 7": true, "nginx,\n  pid 7": true,
		"port 81": false, "web-1is": false,
	} {
		if says(output, text) != want {
			t.Errorf("says %q: want %v", text, want)
		}
	}
}

func TestReadableDropsWhatIsOnlyOfTheTests(t *testing.T) {
	t.Parallel()
	output := "\nWarning: Provider development overrides are in effect\n\nThe following provider development overrides are set in the CLI\nconfiguration:\n" +
		" - kamal-terraform/kamal in /tmp/x\n\nThe behavior may therefore not match any released version of the provider and\n" +
		"applying changes may cause the state to become incompatible with published\nreleases.\n\nWarning: another\n\nNo changes.\n"
	if got, want := readable(output), "Warning: another\n\nNo changes."; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestParseVersion(t *testing.T) {
	t.Parallel()
	for out, want := range map[string]string{
		"OpenTofu v1.12.6\non linux_amd64\n":                             "tofu 1.12.6",
		"Terraform v1.17.0-dev\non linux_amd64\n":                        "terraform 1.17.0-dev",
		"\nWarning: something\n\nTerraform v1.11.4\n+ provider kamal v1": "terraform 1.11.4",
	} {
		c, err := parseVersion(out)
		if err != nil || c.name+" "+c.version.String() != want {
			t.Errorf("%q: %v %v, want %s", out, c, err, want)
		}
	}
	if c, err := parseVersion("sh: not found"); err == nil {
		t.Errorf("nonsense is %v", c)
	}
}

func TestFeaturesByCLI(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, version string
		feature       feature
		has           bool
	}{
		{"tofu", "1.11.0", importByIdentity, false},
		{"tofu", "1.12.6", importByIdentity, true},
		{"tofu", "1.16.0", actions, false}, // a Terraform version number says nothing of tofu
		{"terraform", "1.11.4", importByIdentity, false},
		{"terraform", "1.12.0-rc1", importByIdentity, true},
		{"terraform", "1.14.0", actions, true},
		{"terraform", "1.13.9", listResources, false},
	} {
		reason := cli{name: c.name, version: version.Must(version.NewVersion(c.version))}.lacks(c.feature)
		if (reason == "") != c.has {
			t.Errorf("%s %s %s: %q", c.name, c.version, c.feature, reason)
		}
		if reason != "" && !strings.Contains(reason, c.name) {
			t.Errorf("the reason names no CLI: %q", reason)
		}
	}
}

// In the form in which both CLIs write it.
const exampleLog = `2026-11-23T02:53:44.880Z [DEBUG] provider: plugin started: path=/tmp/terraform-provider-kamal pid=12496
2026-11-23T02:53:44.899Z [DEBUG] provider.terraform-provider-kamal: ssh handshake: ms=12 tf_rpc=ConfigureProvider server=10.231.0.10 tf_provider_addr=registry.terraform.io/kamal-terraform/kamal @caller=/src/main.go:26 @module=kamal timestamp=2026-11-23T02:53:44.899Z
2026-11-23T02:53:44.899Z [DEBUG] provider.terraform-provider-kamal: remote call: exit_codes=[0, 1] @module=kamal steps=3 server=10.231.0.10
  error=
  | a
  | server=x call=y
  | b
   tf_rpc=ConfigureProvider @caller=/src/main.go:27 call="look at \"it\" – all of it" ms=12 timestamp=2026-11-23T02:53:44.899Z
2026-11-23T02:53:44.901Z [DEBUG] provider.terraform-provider-kamal_v0.1.0: remote call: call=swap server=deploy@10.231.0.11:2222
2026-11-23T02:53:44.902Z [DEBUG] provider.terraform-provider-kamal: Calling provider defined Resource Read: call=x server=y
2026-11-23T02:53:44.903Z [DEBUG] provider.stdio: remote call: server=z
not a record: remote call: server=z
`

func TestParseCalls(t *testing.T) {
	t.Parallel()
	want := []Call{
		{Server: "10.231.0.10", Handshake: true},
		{Server: "10.231.0.10", Title: `look at "it" – all of it`},
		{Server: "deploy@10.231.0.11:2222", Title: "swap"},
	}
	if got := parseCalls(exampleLog); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
}

const examplePlan = `{"format_version":"1.2","resource_changes":[
 {"address":"kamal_app_role.web","mode":"managed","type":"kamal_app_role","name":"web","change":{"actions":["update"],
  "before":{"image":"app:v1","service":"shop","instances":{"a":{"image":"app:v1","container":"c1"}},"labels":null},
  "after":{"image":"app:v2","service":"shop","instances":{"a":{"image":"app:v2"}},"labels":null},
  "after_unknown":{"instances":{"a":{"container":true}},"servers":[false]}}},
 {"address":"kamal_proxy.a","mode":"managed","type":"kamal_proxy","name":"a","change":{"actions":["no-op"],"before":{"x":1},"after":{"x":1},"after_unknown":{}}},
 {"address":"kamal_proxy.b","mode":"managed","type":"kamal_proxy","name":"b","change":{"actions":["delete","create"],"before":{"x":1},"after":{},"after_unknown":{"x":true}}}
]}`

func TestPlanAnswers(t *testing.T) {
	t.Parallel()
	parsed, err := parsePlan([]byte(examplePlan))
	if err != nil {
		t.Fatal(err)
	}
	p := &Plan{json: func() *tfjson.Plan { return parsed }}
	for address, want := range map[string]string{"kamal_app_role.web": "update", "kamal_proxy.a": "no-op", "kamal_proxy.b": "replace", "kamal_proxy.c": "absent"} {
		if got := p.Actions(address); got != want {
			t.Errorf("%s: %s, want %s", address, got, want)
		}
	}
	if got, want := p.NotEmpty(), []string{"replace kamal_proxy.b", "update kamal_app_role.web"}; !slices.Equal(got, want) {
		t.Errorf("not empty: %q", got)
	}
	if got, want := p.Changed("kamal_app_role.web"), []string{"image", "instances"}; !slices.Equal(got, want) {
		t.Errorf("changed: %q", got)
	}
	if got, want := p.Changed("kamal_proxy.b"), []string{"x"}; !slices.Equal(got, want) {
		t.Errorf("changed: %q", got)
	}
	if got := p.Changed("kamal_proxy.a"); len(got) > 0 {
		t.Errorf("changed: %q", got)
	}
	if got := p.Before("kamal_app_role.web", "instances", "a", "image"); got != "app:v1" {
		t.Errorf("before: %v", got)
	}
	if got := p.After("kamal_app_role.web", "image"); got != "app:v2" {
		t.Errorf("after: %v", got)
	}
	if !p.Unknown("kamal_app_role.web", "instances", "a", "container") || p.Unknown("kamal_app_role.web", "image") {
		t.Error("unknown: want the container and not the image")
	}
}

func TestChildrenFindsByParentAndProgram(t *testing.T) {
	t.Parallel()
	sleep := exec.Command("sh", "-c", "sleep 60 & echo started; wait")
	out, err := sleep.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := sleep.Start(); err != nil {
		t.Fatal(err)
	}
	var kids []int
	t.Cleanup(func() {
		for _, pid := range kids {
			syscall.Kill(pid, syscall.SIGKILL) //nolint:errcheck // it may be gone
		}
		sleep.Process.Kill() //nolint:errcheck // it may be gone
		sleep.Wait()         //nolint:errcheck // killed
	})
	if _, err := out.Read(make([]byte, 8)); err != nil {
		t.Fatal(err)
	}
	if kids, err = children(sleep.Process.Pid, "sleep"); err != nil || len(kids) != 1 {
		t.Fatalf("children: %v %v", kids, err)
	}
	if others, err := children(sleep.Process.Pid, "terraform-provider-kamal"); err != nil || len(others) != 0 {
		t.Errorf("children of another name: %v %v", others, err)
	}
}
