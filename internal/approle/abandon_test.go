package approle

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// switching runs awaitSwitch against a kamal-proxy that works at a deploy of
// service for the first few looks, and sends the traffic to the new container
// from look switched on. It returns the number of looks.
func switching(t *testing.T, service string, looks, switched string) string {
	t.Helper()
	dir := t.TempDir()
	for name, script := range map[string]string{
		"docker": `echo x >> looks; n=$(wc -l < looks)
echo "UID PID CMD"; echo "1000 1 kamal-proxy run"
[ "$n" -gt ` + looks + ` ] || echo "1000 7 kamal-proxy deploy ` + service + ` --target=abc:3000"`,
		"sleep": ":",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil { //nolint:gosec // a program
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, "/bin/sh", "-s")
	command.Dir, command.Env = dir, []string{"PATH=" + dir + ":" + os.Getenv("PATH")}
	command.Stdin = strings.NewReader(`proxystate() { if [ "$(wc -l < looks)" -ge ` + switched + ` ]; then echo '["abc:3000"]'; else echo '["old:3000"]'; fi; }
` + awaitSwitch("shop-web", "abc") + "\nwc -l < looks\n")
	out, err := command.Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

func TestASwitchThatWasCutOffIsWaitedFor(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ service, looks, switched, want string }{
		"nothing is under way":            {"shop-web", "0", "1", "1"},
		"another service is deployed":     {"shop-web-staging", "9", "99", "1"},
		"it fails":                        {"shop-web", "3", "99", "4"},
		"it switches, and drains":         {"shop-web", "99", "5", "5"},
		"it never ends: there is a bound": {"shop-web", "999", "999", "80"},
	} {
		if got := switching(t, tt.service, tt.looks, tt.switched); got != tt.want {
			t.Errorf("%s: %s looks, want %s", name, got, tt.want)
		}
	}
}
