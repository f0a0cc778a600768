package task

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/kamal"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/secret"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/workload"
)

func wanted(changes ...func(*Spec)) Spec {
	s := Spec{
		Spec: workload.Spec{
			Image: "registry.example.com/shop:v2", Command: []string{"bin/rails", "db:migrate"},
			Env: map[string]string{"RAILS_ENV": "production"}, Secrets: secret.Set{"KEY": "k", "TOKEN": "t"},
			AsFiles: []string{"TOKEN"}, Volumes: []string{"data:/data"}, Network: "kamal",
		},
		Service: "shop", Destination: "staging", Name: "migrate", Timeout: 30 * time.Minute,
		Triggers: map[string]string{"release": "v2"},
	}
	for _, c := range changes {
		c(&s)
	}
	return s
}

func TestKeyTellsJobsApartThatDoSomethingElse(t *testing.T) {
	t.Parallel()
	seen := map[string]string{wanted().Key(): "the task itself"}
	for name, change := range map[string]func(*Spec){
		"image":              func(s *Spec) { s.Image = "registry.example.com/shop:v3" },
		"command":            func(s *Spec) { s.Command = []string{"bin/rails db:migrate"} },
		"command moved":      func(s *Spec) { s.Command = []string{"bin/railsdb:", "migrate"} },
		"env":                func(s *Spec) { s.Env = nil },
		"env as a trigger":   func(s *Spec) { s.Env, s.Triggers = s.Triggers, s.Env },
		"volumes":            func(s *Spec) { s.Volumes = nil },
		"network":            func(s *Spec) { s.Network = "other" },
		"secrets_version":    func(s *Spec) { s.SecretsVersion = "2" },
		"trigger":            func(s *Spec) { s.Triggers = map[string]string{"release": "v3"} },
		"trigger's boundary": func(s *Spec) { s.Triggers = map[string]string{"releasev": "2"} },
	} {
		key := wanted(change).Key()
		if other, same := seen[key]; same {
			t.Errorf("%s has the key of %s", name, other)
		}
		seen[key] = name
	}
	for name, change := range map[string]func(*Spec){
		"secrets": func(s *Spec) { s.Secrets = secret.Set{"KEY": "other"} },
		"timeout": func(s *Spec) { s.Timeout = time.Hour },
		"maps in another order": func(s *Spec) {
			s.Triggers = maps.Clone(s.Triggers)
		},
	} {
		if wanted(change).Key() != wanted().Key() {
			t.Errorf("%s changes the key", name)
		}
	}
}

func TestRunHasNoneOfKamalsLabels(t *testing.T) {
	t.Parallel()
	s := wanted()
	_, files := s.Secrets.Split(s.AsFiles)
	run := s.run(s.containerName("0123456789ab"), "10.0.0.1", "/root", "run1", secret.NewMount(s.App(), s.mountOwner(), files), map[string]string{"service": "shop", "x": "y"})
	argv := strings.Join(run.Argv(), " ")
	for _, want := range []string{
		"docker run --detach --sig-proxy=false --restart no --name shop-staging-task-migrate-0123456789ab --network kamal ", "--env KEY ", "--env TOKEN_FILE=/run/secrets/TOKEN ",
		"--volume data:/data ", ":/run/secrets:ro ", "--label kamal-terraform.task=shop-staging/migrate", "--label service= ", "registry.example.com/shop:v2 bin/rails db:migrate",
	} {
		if !strings.Contains(argv, want) {
			t.Errorf("no %q in %s", want, argv)
		}
	}
	if strings.Contains(argv, "--env TOKEN ") || strings.Contains(argv, "role") || (kamal.Role{Service: "shop", Role: "task", Destination: ""}).Owns(run.Name, run.Labels) {
		t.Errorf("a secret or a role's label in %s", argv)
	}
}

// left is a job that an earlier run left, as docker shows it.
func left(t *testing.T, s Spec, status, created string) docker.Container {
	t.Helper()
	b, err := json.Marshal(map[string]any{
		"Id": created, "Name": "/" + s.containerName(created), "Created": "2026-11-23T01:00:0" + created + "Z",
		"State":  map[string]any{"Status": status, "Running": status == "running"},
		"Config": map[string]any{"Image": s.Image, "Labels": map[string]string{LabelTask: s.ID(), LabelKey: s.Key()}, "Env": []string{"KEY=" + s.Secrets["KEY"]}},
	})
	if err != nil {
		t.Fatal(err)
	}
	var c docker.Container
	if err := json.Unmarshal(b, &c.InspectResponse); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestBuildFindsWhatWasCutOff(t *testing.T) {
	t.Parallel()
	other := wanted(func(s *Spec) { s.Triggers = map[string]string{"release": "v1"} })
	neighbour := wanted(func(s *Spec) { s.Name = "seed" })
	stranger := wanted(func(s *Spec) { s.Destination = "" })
	for name, tt := range map[string]struct {
		there                      []docker.Container
		adopt                      string
		earlier, unstarted, others int
		pull                       bool
	}{
		"nothing is there":                   {pull: true},
		"the wanted one runs":                {there: []docker.Container{left(t, wanted(), "running", "1")}, adopt: "1"},
		"the wanted one has ended":           {there: []docker.Container{left(t, wanted(), "exited", "1")}, adopt: "1"},
		"one that never started":             {there: []docker.Container{left(t, wanted(), "created", "1")}, unstarted: 1, pull: true},
		"another runs":                       {there: []docker.Container{left(t, other, "running", "1")}, earlier: 1, pull: true},
		"another before the wanted one":      {there: []docker.Container{left(t, wanted(), "running", "2"), left(t, other, "exited", "1")}, adopt: "2", earlier: 1},
		"another after the wanted one":       {there: []docker.Container{left(t, wanted(), "exited", "1"), left(t, other, "exited", "2")}, earlier: 2, pull: true},
		"another task runs":                  {there: []docker.Container{left(t, neighbour, "running", "1")}, others: 1, pull: true},
		"another task has ended":             {there: []docker.Container{left(t, neighbour, "exited", "1")}, pull: true},
		"a task of another destination runs": {there: []docker.Container{left(t, stranger, "running", "1")}, pull: true},
	} {
		p := Build(wanted(), Observe(&fleet.Snapshot{Containers: tt.there}, wanted()))
		adopt := ""
		if p.Adopt != nil {
			adopt = p.Adopt.ID
		}
		if adopt != tt.adopt || len(p.Earlier) != tt.earlier || len(p.Unstarted) != tt.unstarted || len(p.Others) != tt.others || p.Pull != tt.pull {
			t.Errorf("%s: adopt %q, earlier %d, unstarted %d, others %d, pull %t", name, adopt, len(p.Earlier), len(p.Unstarted), len(p.Others), p.Pull)
		}
	}
}

// A rotation that was cut off and begun again with a newer password must not
// take the job of the older one for its own.
func TestBuildTellsJobsApartByTheSecretsThatTriggerThem(t *testing.T) {
	t.Parallel()
	older := func(s *Spec) { s.Secrets = secret.Set{"KEY": "older", "TOKEN": "t"} }
	triggers := func(s *Spec) { s.SecretTriggers = []string{"KEY"} }
	file := func(s *Spec) { s.SecretTriggers = []string{"TOKEN"} } // its file is gone
	version := func(s *Spec) { s.SecretTriggers, s.SecretsVersion = []string{"KEY"}, "2" }
	for name, tt := range map[string]struct {
		job, want Spec
		adopted   bool
	}{
		"no trigger":                  {wanted(older), wanted(), true},
		"the same":                    {wanted(triggers), wanted(triggers), true},
		"another one":                 {wanted(triggers, older), wanted(triggers), false},
		"nobody knows":                {wanted(file), wanted(file), true},
		"the version says the same":   {wanted(version, older), wanted(version), true},
		"the version says another":    {wanted(triggers), wanted(version), false},
		"a trigger since, of another": {wanted(older), wanted(triggers), false},
	} {
		p := Build(tt.want, Observe(&fleet.Snapshot{Containers: []docker.Container{left(t, tt.job, "exited", "1")}}, tt.want))
		if (p.Adopt != nil) != tt.adopted || (len(p.Earlier) == 0) != tt.adopted {
			t.Errorf("%s: adopted %t, earlier %d", name, p.Adopt != nil, len(p.Earlier))
		}
	}
}

func TestOutcomesAreExplained(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 11, 23, 1, 0, 0, 0, time.UTC)
	for want, o := range map[string]Outcome{
		"it succeeded after 2.5s":                     {Started: start, Finished: start.Add(2500 * time.Millisecond)},
		"exit code 3":                                 {ExitCode: 3},
		"for want of memory (OOM)":                    {ExitCode: 137, OutOfMemory: true},
		"was not found in the image":                  {ExitCode: 127},
		"can't be executed":                           {ExitCode: 126},
		"did not end within 30m0s":                    {ExitCode: 137, TimedOut: true},
		"was removed before anybody saw how it ended": {Gone: true},
		"docker says: no such device":                 {Error: "no such device"},
	} {
		if got := o.Words(30 * time.Minute); !strings.Contains(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
		if o.Succeeded() != strings.Contains(want, "succeeded") || !o.Succeeded() && !strings.Contains(o.advice(), "The next apply runs it again") {
			t.Errorf("%s: succeeded %t, advice %q", want, o.Succeeded(), o.advice())
		}
	}
}

func TestQuoteRedactsBeforeItCuts(t *testing.T) {
	t.Parallel()
	redact := func(s string) string { return strings.ReplaceAll(s, "hunter2", "[redacted]") }
	long := strings.Repeat("line\n", 100) + "\x1b[31mpassword hunter2\x1b[0m\r\n\xff\x00the end\n"
	got := quote(long, redact)
	if lines := strings.Split(got, "\n"); len(lines) != shownLines+1 || lines[0] != "…" || !slices.Equal(lines[len(lines)-2:], []string{"password [redacted]", "?the end"}) {
		t.Errorf("%d lines:\n%s", len(lines), got)
	}
	if got := quote(strings.Repeat("x", 9000), redact); len(got) > shownBytes+10 {
		t.Errorf("%d bytes", len(got))
	}
	if got := quote("", redact); got != "" {
		t.Errorf("of nothing: %q", got)
	}
}

func TestCheckRefusesTwoMountsAtOnePlace(t *testing.T) {
	t.Parallel()
	if err := wanted().Check(); err != nil {
		t.Errorf("a good one: %v", err)
	}
	for _, volumes := range [][]string{{"a:/x", "b:/x/"}, {"a:/run/secrets"}} {
		err := wanted(func(s *Spec) { s.Volumes = volumes }).Check()
		if r := (*docker.Refusal)(nil); !errors.As(err, &r) || r.Index != len(volumes)-1 {
			t.Errorf("%q: %v, %+v", volumes, err, r)
		}
	}
}
