package acceptance

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-version"

	"github.com/kamal-terraform/terraform-provider-kamal/test/testbed"
)

// settings are what all tests of a run share.
type settings struct {
	cli         cli
	set         string // "all", "cli" (what a CLI can make a difference to) or "stories"
	providerDir string // where the built provider is
}

var (
	// oldest and newest are the kinds of servers with the oldest and the newest Docker.
	oldest, newest = testbed.Oldest().Kind, testbed.Newest().Kind

	// scratch holds what the whole run needs; TestMain removes it.
	scratch string

	loadSettings = sync.OnceValues(newSettings)
	bringUpBed   = sync.OnceValues(func() (*testbed.Bed, error) {
		ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
		defer cancel()
		return testbed.Up(ctx, testbed.Options{Logf: func(format string, args ...any) {
			fmt.Fprintf(os.Stderr, "testbed: "+format+"\n", args...)
		}})
	})
)

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if scratch, err = os.MkdirTemp("", "kamal-acceptance-"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(scratch)
		code := m.Run()
		skips.print()
		return code
	}())
}

// bed returns the testbed, which the first test that asks for it brings up.
// A test gets servers of its own with bed(t).Warm(t, kind).
func bed(t *testing.T) *testbed.Bed {
	t.Helper()
	acceptance(t)
	b, err := bringUpBed()
	if err != nil {
		t.Fatalf("testbed: %v", err)
	}
	return b
}

// story marks a test as one of the few life stories that run under the oldest
// supported CLI too. It stands in the test's first line, before any workspace
// or server.
func story(t *testing.T) { skips.stories.Store(root(t), true) }

// aboutServers marks a test that needs a CLI, say for the order of several
// resources, and shows what happens on servers, whichever CLI it is: it runs under
// one of them. It stands in the test's first line.
func aboutServers(t *testing.T) { skips.servers.Store(root(t), true) }

// onServers runs a part of a test, as aboutServers would the whole. It is a
// subtest, so that the report shows where it was skipped.
func onServers(t *testing.T, w *workspace, name string, part func(t *testing.T, w *workspace)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		if acceptance(t).set != "all" {
			skip(t, "about servers, not the CLI: another CLI of this run shows it")
		}
		part(t, w.in(t))
	})
}

// acceptance skips the test if this run is not to run it.
func acceptance(t *testing.T) settings {
	t.Helper()
	if os.Getenv("TF_ACC") == "" {
		skip(t, "TF_ACC is not set")
	}
	s, err := loadSettings()
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := skips.stories.Load(root(t)); s.set == "stories" && !ok {
		skip(t, "no life story (KAMAL_TEST_SET=stories)")
	}
	if _, ok := skips.servers.Load(root(t)); s.set == "cli" && ok {
		skip(t, "about servers, not the CLI: another CLI of this run shows it (KAMAL_TEST_SET=cli)")
	}
	return s
}

// A feature is something that not every supported CLI has.
type feature string

const (
	importByIdentity feature = "import by identity"
	actions          feature = "actions"
	listResources    feature = "list resources"
)

// since says from which version a CLI has a feature; "" is never.
var since = map[feature]struct{ tofu, terraform string }{
	importByIdentity: {tofu: "1.12.0", terraform: "1.12.0"},
	actions:          {terraform: "1.14.0"},
	listResources:    {terraform: "1.14.0"},
}

// needs skips the test if the CLI of this run lacks a feature.
func needs(t *testing.T, f feature) {
	t.Helper()
	s := acceptance(t)
	if reason := s.cli.lacks(f); reason != "" {
		skip(t, reason)
	}
}

func (c cli) lacks(f feature) string {
	from := since[f].terraform
	if c.name == "tofu" {
		from = since[f].tofu
	}
	switch {
	case from == "":
		return fmt.Sprintf("%s has no %s", c.name, f)
	case c.version.Core().LessThan(version.Must(version.NewVersion(from))):
		return fmt.Sprintf("%s %s has no %s, it came with %s", c.name, c.version, f, from)
	}
	return ""
}

func newSettings() (settings, error) {
	s := settings{set: os.Getenv("KAMAL_TEST_SET")}
	if s.set == "" {
		s.set = "all"
	}
	if !slices.Contains([]string{"all", "cli", "stories"}, s.set) {
		return s, fmt.Errorf("KAMAL_TEST_SET is %q, want all, cli or stories", s.set)
	}
	var err error
	if s.cli, err = findCLI(); err != nil {
		return s, err
	}
	s.providerDir, err = findProvider()
	return s, err
}

// findProvider returns the directory of the built provider.
func findProvider() (string, error) {
	const name = "terraform-provider-kamal"
	if built := os.Getenv("KAMAL_TEST_PROVIDER"); built != "" {
		// The CLI looks for a file of this name in the directory it is given.
		if filepath.Base(built) != name {
			return "", fmt.Errorf("KAMAL_TEST_PROVIDER is %s, want a file named %s", built, name)
		}
		if _, err := os.Stat(built); err != nil {
			return "", fmt.Errorf("KAMAL_TEST_PROVIDER: %w", err)
		}
		return filepath.Abs(filepath.Dir(built))
	}
	dir := filepath.Join(scratch, "provider")
	build := exec.Command("go", "build", "-o", filepath.Join(dir, name), "github.com/kamal-terraform/terraform-provider-kamal")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the provider: %w\n%s", err, out)
	}
	return dir, nil
}

// skips remembers what was skipped, for the end of the run.
var skips skipped

type skipped struct {
	stories sync.Map // names of the tests that are life stories
	servers sync.Map // names of the tests that no CLI makes a difference to
	mu      sync.Mutex
	tests   map[string][]string // by reason
}

func skip(t *testing.T, reason string) {
	t.Helper()
	skips.mu.Lock()
	if skips.tests == nil {
		skips.tests = map[string][]string{}
	}
	skips.tests[reason] = append(skips.tests[reason], t.Name())
	skips.mu.Unlock()
	t.Skip(reason)
}

func (s *skipped) print() {
	s.mu.Lock()
	defer s.mu.Unlock()
	under := ""
	if found, err := loadSettings(); err == nil && os.Getenv("TF_ACC") != "" {
		under = fmt.Sprintf(" under %s %s", found.cli.name, found.cli.version)
	}
	for reason, tests := range s.tests {
		slices.Sort(tests)
		fmt.Printf("skipped%s: %s: %s\n", under, reason, strings.Join(tests, ", "))
	}
}

// root is the name of the top-level test.
func root(t *testing.T) string {
	name, _, _ := strings.Cut(t.Name(), "/")
	return name
}
