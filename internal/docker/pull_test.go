package docker

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// stubDocker stands for the docker client: it writes down what it was called
// with, whose log-in it has, and how well that is kept.
const stubDocker = `#!/bin/sh
{
  echo "args: $*"
  echo "config: $DOCKER_CONFIG"
  echo "context: $DOCKER_CONTEXT, host: $DOCKER_HOST, trust: $DOCKER_CONTENT_TRUST, auth: $DOCKER_AUTH_CONFIG"
  [ ! -e "$DOCKER_CONFIG/config.json" ] || {
    echo "directory: $(stat -c %a "$DOCKER_CONFIG")"
    echo "file: $(stat -c %a "$DOCKER_CONFIG/config.json")"
    echo "content: $(cat "$DOCKER_CONFIG/config.json")"
  }
  # Every argument list of this process and those above it.
  p=$$
  while [ "$p" -gt 1 ]; do
    printf 'argv: %s\n' "$(tr '\0' ' ' < /proc/$p/cmdline)"
    p=$(cut -d' ' -f4 /proc/$p/stat)
  done
} > "$RECORD"
[ -z "$HANG" ] || { echo hanging > "$HANG"; sleep 60; }
exit "${FAIL:-0}"
`

const login = `{"auths":{"registry.example.com":{"auth":"YW5uOnNlY3JldA=="}}}`

type pulling struct {
	*exec.Cmd
	record string
	stderr bytes.Buffer
}

// startPull runs PullPrelude's pull as a step does, with the log-in in a
// variable that came on stdin.
func startPull(t *testing.T, login string, env ...string) *pulling {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "docker"), []byte(stubDocker), 0o755); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 30*time.Second)
	t.Cleanup(cancel)
	p := &pulling{Cmd: exec.CommandContext(ctx, "/bin/sh", "-s"), record: filepath.Join(dir, "record")}
	p.Env = append([]string{"PATH=" + dir + ":" + os.Getenv("PATH"), "RECORD=" + p.record, "TMPDIR=" + dir, "HOME=" + dir}, env...)
	p.Stdin = strings.NewReader("LOGIN='" + login + "'\n" + ClientEnvironment + PullPrelude + "\n(\n:\npull registry.example.com/shop:v1 \"$LOGIN\"\n)\nexit $?\n")
	p.Stderr = &p.stderr
	p.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *pulling) wait(t *testing.T) int {
	t.Helper()
	err := p.Wait()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return p.ProcessState.ExitCode()
}

// seen is what the stub wrote down, by its first word.
func (p *pulling) seen(t *testing.T) map[string]string {
	t.Helper()
	b, err := os.ReadFile(p.record)
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]string{}
	for line := range strings.Lines(string(b)) {
		k, v, _ := strings.Cut(strings.TrimSpace(line), ": ")
		m[k] += v + "\n"
	}
	for k, v := range m {
		m[k] = strings.TrimSpace(v)
	}
	return m
}

func (p *pulling) gone(t *testing.T) {
	t.Helper()
	dir := p.seen(t)["config"]
	if dir == "" {
		t.Fatal("docker had no config of its own")
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there: %v", dir, err)
	}
}

func TestPullKeepsTheLogInOutOfSight(t *testing.T) {
	t.Parallel()
	p := startPull(t, login)
	if code := p.wait(t); code != 0 || p.stderr.Len() > 0 {
		t.Fatalf("exit code %d: %s", code, &p.stderr)
	}
	seen := p.seen(t)
	if seen["args"] != "pull -q registry.example.com/shop:v1" {
		t.Errorf("docker %s", seen["args"])
	}
	if !strings.HasPrefix(seen["config"], "/dev/shm/") {
		t.Errorf("the log-in is not in memory: %s", seen["config"])
	}
	if seen["directory"] != "700" || seen["file"] != "600" {
		t.Errorf("modes: directory %s, file %s", seen["directory"], seen["file"])
	}
	if seen["content"] != login {
		t.Errorf("content %s", seen["content"])
	}
	if seen["argv"] == "" || strings.Contains(seen["argv"], "YW5u") || strings.Contains(seen["argv"], "auths") {
		t.Errorf("argument lists:\n%s", seen["argv"])
	}
	p.gone(t)
}

func TestPullRemovesTheLogInAfterAFailure(t *testing.T) {
	t.Parallel()
	p := startPull(t, login, "FAIL=7")
	if code := p.wait(t); code != 7 {
		t.Errorf("exit code %d, want docker's", code)
	}
	p.gone(t)
}

// The transport ends a cancelled call by a signal to its process group.
func TestPullRemovesTheLogInWhenItIsCancelled(t *testing.T) {
	t.Parallel()
	hang := filepath.Join(t.TempDir(), "hanging")
	p := startPull(t, login, "HANG="+hang)
	for begin := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(hang); err == nil {
			break
		}
		if time.Since(begin) > 10*time.Second {
			t.Fatal("docker was never called")
		}
	}
	if err := syscall.Kill(-p.Process.Pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := p.wait(t); code == 0 {
		t.Error("a cancelled pull succeeded")
	}
	// The trap runs in the subshell, which may outlive the shell by a moment.
	dir := p.seen(t)["config"]
	for begin := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
			return
		}
		if time.Since(begin) > 10*time.Second {
			t.Fatalf("%s is still there", dir)
		}
	}
}

// What the user's registries want counts, where their docker goes does not.
func TestPullWithoutALogInUsesTheUsersOwn(t *testing.T) {
	t.Parallel()
	theirs := []string{"DOCKER_HOST=tcp://192.0.2.1:2375", "DOCKER_CONTEXT=rootless", "DOCKER_CONTENT_TRUST=1", "DOCKER_AUTH_CONFIG={}"}
	for _, tt := range []struct {
		name, login   string
		env           []string
		config, other string
	}{
		{name: "nothing set", config: "$HOME/.docker", other: "context: default, host: , trust: , auth:"},
		{name: "all set", env: append(theirs, "DOCKER_CONFIG=/opt/theirs"), config: "/opt/theirs", other: "context: default, host: , trust: 1, auth: {}"},
		{name: "a log-in goes before theirs", login: login, env: theirs, other: "context: default, host: , trust: 1, auth:"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := startPull(t, tt.login, tt.env...)
			if code := p.wait(t); code != 0 {
				t.Fatalf("exit code %d: %s", code, &p.stderr)
			}
			seen := p.seen(t)
			if want := strings.Replace(tt.config, "$HOME", filepath.Dir(p.record), 1); want != "" && seen["config"] != want {
				t.Errorf("DOCKER_CONFIG is %q, want %q", seen["config"], want)
			}
			if got := "context: " + seen["context"]; got != tt.other {
				t.Errorf("%s, want %s", got, tt.other)
			}
		})
	}
}
