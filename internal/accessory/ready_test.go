package accessory

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// runReady runs the wait for a container with a docker of its own: answers are
// what `docker container inspect` says one after the other (the last again and
// again), exit is the exit code of `docker exec`.
func runReady(t *testing.T, r Ready, bound time.Duration, exec0 int, answers ...string) (ok bool, stderr string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"answers": strings.Join(answers, "\n") + "\n",
		"docker": `#!/bin/sh
case $1 in
exec) echo "no route to nowhere"; exit ` + string(rune('0'+exec0)) + `;;
esac
case $4 in *IPAddress*) echo 127.0.0.1; exit 0;; esac
n=$(cat ` + dir + `/n 2>/dev/null || echo 0); n=$((n + 1)); echo $n > ` + dir + `/n
a=$(sed -n "${n}p" ` + dir + `/answers); [ -n "$a" ] || a=$(tail -n 1 ` + dir + `/answers)
[ "$a" != gone ] || exit 1
echo "$a"`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("/bin/sh", "-c", readyStep("shop-db", r, bound).Script)
	cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
	var errs strings.Builder
	cmd.Stderr = &errs
	return cmd.Run() == nil, errs.String()
}

func TestReady(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		ready   Ready
		exec    int
		answers []string
		ok      bool
		says    string
	}{
		"the image says it is healthy":            {answers: []string{"running starting 0 0", "running healthy 0 0"}, ok: true},
		"the image says it is not":                {answers: []string{"running unhealthy 0 0"}, says: "health unhealthy"},
		"it runs on and has no health check":      {answers: []string{"running none 0 0"}, ok: true},
		"it ends again and again":                 {answers: []string{"running none 0 0", "restarting none 5 3"}, says: "it ends again and again: state restarting, health none, restarts 5, exit code 3"},
		"it is gone":                              {answers: []string{"gone"}},
		"it had restarts before and is fine":      {answers: []string{"running healthy 9 0"}, ok: true},
		"a command succeeds":                      {ready: Ready{Command: []string{"pg_isready"}}, answers: []string{"running none 0 0"}, ok: true},
		"a command fails":                         {ready: Ready{Command: []string{"pg_isready"}}, exec: 2, answers: []string{"running healthy 0 0"}, says: "the health check said: no route to nowhere"},
		"a command and a container that does not": {ready: Ready{Command: []string{"pg_isready"}}, answers: []string{"exited none 0 1"}, says: "state exited"},
		"nothing listens on a port":               {ready: Ready{Port: 1}, answers: []string{"running healthy 0 0"}, says: "nothing takes connections on port 1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tt.ready.Delay = time.Second
			ok, stderr := runReady(t, tt.ready, 2*time.Second, tt.exec, tt.answers...)
			if ok != tt.ok || !strings.Contains(stderr, tt.says) {
				t.Errorf("ready %t, says %q; want %t, %q", ok, stderr, tt.ok, tt.says)
			}
		})
	}
}
