package approle

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// readiness runs the step that waits for a role without a port against a
// docker that gives these answers (state, health, restarts, exit code), the
// last one for ever. Each answer stands for a second.
func readiness(t *testing.T, spec Spec, answers ...string) (looked, code int, stderr string) {
	t.Helper()
	dir := t.TempDir()
	for name, script := range map[string]string{
		"docker": `echo x >> looked
n=$(wc -l < looked); last=$(wc -l < answers); [ "$n" -le "$last" ] || n=$last
a=$(sed -n "${n}p" answers); [ "$a" != gone ] || { echo "Error: No such container" >&2; exit 1; }
echo "$a"`,
		"date":  `[ ! -f looked ] && echo 0 || echo $(( $(wc -l < looked) - 1 ))`,
		"sleep": `:`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil { //nolint:gosec // a program
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "answers"), []byte(strings.Join(answers, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, "/bin/sh", "-s")
	command.Dir, command.Env = dir, []string{"PATH=" + dir + ":" + os.Getenv("PATH")}
	command.Stdin = strings.NewReader("(\n:\n" + readyStep("shop-jobs-v1", spec).Script + "\n)\nexit $?\n")
	var errs bytes.Buffer
	command.Stderr = &errs
	err := command.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "looked"))
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Count(b, []byte("x")), command.ProcessState.ExitCode(), errs.String()
}

func TestReadinessOfARoleWithoutAPort(t *testing.T) {
	t.Parallel()
	delay := func(d, timeout time.Duration) Spec { return Spec{ReadinessDelay: d, DeployTimeout: timeout} }
	for name, tt := range map[string]struct {
		spec    Spec
		answers []string
		ready   bool
		after   int // seconds
		says    string
	}{
		"it runs for the delay":         {delay(7*time.Second, 30*time.Second), []string{"running//0/0"}, true, 7, ""},
		"no delay":                      {delay(0, 30*time.Second), []string{"running//0/0"}, true, 0, ""},
		"it starts late":                {delay(3*time.Second, 30*time.Second), []string{"created//0/0", "created//0/0", "running//0/0"}, true, 5, ""},
		"it ends before the delay":      {delay(7*time.Second, 10*time.Second), []string{"running//0/0", "running//0/0", "exited//0/3"}, false, 10, "not ready in 10 seconds; state, health, restarts and exit code: exited//0/3"},
		"it crashes again and again":    {delay(2*time.Second, 10*time.Second), []string{"running//0/0", "restarting//1/1", "running//1/1"}, false, 10, "running//1/1"},
		"it stops once, and runs again": {delay(3*time.Second, 30*time.Second), []string{"running//0/0", "exited//0/0", "running//0/0"}, true, 5, ""},
		"docker calls it healthy":       {delay(7*time.Second, 30*time.Second), []string{"running/starting/0/0", "running/starting/0/0", "running/healthy/0/0"}, true, 2, ""},
		"docker never calls it healthy": {delay(1*time.Second, 10*time.Second), []string{"running/starting/0/0", "running/unhealthy/0/0"}, false, 10, "running/unhealthy/0/0"},
		"a delay above deploy_timeout":  {delay(20*time.Second, 10*time.Second), []string{"running//0/0"}, true, 20, ""},
		"somebody removes it":           {delay(7*time.Second, 30*time.Second), []string{"running//0/0", "gone"}, false, 1, "No such container"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			looked, code, stderr := readiness(t, tt.spec, tt.answers...)
			if (code == 0) != tt.ready || !strings.Contains(stderr, tt.says) {
				t.Errorf("exit code %d, %q", code, stderr)
			}
			if looked-1 != tt.after {
				t.Errorf("after %d seconds, want %d", looked-1, tt.after)
			}
		})
	}
}
