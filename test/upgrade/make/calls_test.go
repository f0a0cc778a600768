package main

import (
	"encoding/base64"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func id(digit string) string { return strings.Repeat(digit, 64) }

func TestTheScriptOfCalls(t *testing.T) {
	did := func(code, made string, argv ...string) call { return call{argv, code, made} }
	calls := []call{
		did("0", "", "docker", "ps", "--all"),
		did("1", "", "docker", "start", "never-there"),
		did("0", "", "docker", "network", "create", "kamal"),
		did("0", id("a"), "docker", "create", "--name", "db_next", "--env", "A=it's", "app:v1"),
		did("0", "", "docker", "rename", "db_next", "db"),
		did("0", "", "docker", "start", "db"),
		did("0", "", "docker", "exec", "kamal-proxy", "kamal-proxy", "deploy", "db", "--target=aaaaaaaaaaaa:80"),
		did("0", id("b"), "docker", "create", "--name", "db_next", "app:v2"),
		did("0", "", "docker", "rename", id("a"), "db_old"),
		did("0", "", "docker", "rename", "db_next", "db"),
		did("0", "", "docker", "start", "db"),
		did("0", "", "docker", "exec", "kamal-proxy", "kamal-proxy", "list"),
		did("0", "", "docker", "exec", "kamal-proxy", "kamal-proxy", "deploy", "db", "--target=bbbbbbbbbbbb:80"),
		did("0", "", "docker", "rm", "--force", id("a")),
		did("0", "", "systemctl", "start", "a.service"),
	}
	got, err := script(calls, map[string]string{id("b"): "db"})
	want := `docker network create kamal >/dev/null
db=$(docker create --name db_next app:v2)
docker rename db_next db >/dev/null
docker start db >/dev/null
docker exec kamal-proxy kamal-proxy deploy db --target="${db:0:12}":80 >/dev/null
systemctl start a.service
`
	if err != nil || got != want {
		t.Errorf("%v\n%s\nwant\n%s", err, got, want)
	}
	if _, err := script([]call{did("0", "", "docker", "swarm", "init")}, nil); err == nil {
		t.Error("a call of which nobody knows what it does is no error")
	}
}

// The recorder, with a docker that makes a container of everything.
func TestTheRecorder(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "real")
	if err := os.WriteFile(program, []byte("#!/bin/sh\ncat >"+dir+"/input; echo container-id; exit 3\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	recorder := strings.NewReplacer("/usr/bin/$name", program, "/var/lib/recorded", dir).Replace(recorder)
	command := exec.CommandContext(t.Context(), "/bin/sh", "-c", recorder, "docker", "run", "--env-file", "/dev/stdin", "--env", "PLAIN=1", "--env", "HIDDEN", "app:v1", "it's")
	command.Env = []string{"PATH=" + os.Getenv("PATH"), "HIDDEN=two\nlines"}
	command.Stdin = strings.NewReader("with.dots=a b\nmore=2\n")
	out, err := command.Output()
	if command.ProcessState.ExitCode() != 3 || string(out) != "container-id\n" {
		t.Fatalf("%v: %q", err, out)
	}
	if input, err := os.ReadFile(filepath.Join(dir, "input")); err != nil || string(input) != "with.dots=a b\nmore=2\n" {
		t.Errorf("docker was given %q, %v", input, err)
	}
	notes, err := filepath.Glob(filepath.Join(dir, "*.done"))
	if err != nil || len(notes) != 1 {
		t.Fatalf("notes: %q, %v", notes, err)
	}
	note, err := os.ReadFile(notes[0])
	if err != nil {
		t.Fatal(err)
	}
	calls, err := parseCalls(base64.StdEncoding.EncodeToString(note) + "\n")
	if err != nil || len(calls) != 1 {
		t.Fatalf("%v, %v", calls, err)
	}
	got := strings.Join(calls[0].argv, "|")
	if want := "docker|run|--env|with.dots=a b|--env|more=2|--env|PLAIN=1|--env|HIDDEN=two\nlines|app:v1|it's"; got != want || calls[0].code != "3" || calls[0].made != "container-id" {
		t.Errorf("noted %q, code %s, id %s, want %q", got, calls[0].code, calls[0].made, want)
	}
}
