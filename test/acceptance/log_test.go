package acceptance

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The provider writes no line that the CLI would drop, and all that are asked
// for: a third of a plan's CPU time went into lines that nobody read.
func TestProviderLogsWhatIsAskedFor(t *testing.T) {
	t.Parallel()
	for asked, want := range map[string]struct{ trace, any bool }{"": {}, "TF_LOG=TRACE": {true, true}, "TF_LOG_PROVIDER=ERROR": {}} {
		t.Run(asked, func(t *testing.T) {
			t.Parallel()
			w := newWorkspace(t)
			// In the provider's place, what keeps its standard error.
			log := filepath.Join(w.logs, "provider.log")
			program := filepath.Join(w.settings.providerDir, "terraform-provider-kamal")
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "terraform-provider-kamal"), []byte("#!/bin/sh\nexec '"+program+"' \"$@\" 2>>'"+log+"'\n"), 0o700); err != nil { //nolint:gosec // it is run
				t.Fatal(err)
			}
			w.override(`"kamal-terraform/kamal" = "` + dir + `"`)
			w.Write("main.tf", `output "url" { value = provider::kamal::redis_url("", "cache", 6379, 0) }`)
			w.Setenv("TF_LOG_PROVIDER", "")
			if name, level, ok := strings.Cut(asked, "="); ok {
				w.Setenv(name, level)
			}
			w.Plan()
			text, err := os.ReadFile(log)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Contains(string(text), `"@level":"trace"`); got != want.trace {
				t.Errorf("lines at level trace: %t:\n%s", got, text)
			}
			if got := strings.Contains(string(text), `"@module":"sdk`) || strings.Contains(string(text), `"@module":"kamal`); got != want.any {
				t.Errorf("any lines of the provider: %t:\n%s", got, text)
			}
		})
	}
}
