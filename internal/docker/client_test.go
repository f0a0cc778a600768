package docker

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// What others set, and no one of ours: also values that look like a variable.
func TestClientEnvironmentTakesOutWhatOthersSet(t *testing.T) {
	t.Parallel()
	for _, shell := range []string{"sh", "bash"} {
		cmd := exec.CommandContext(t.Context(), shell, "-c", ClientEnvironment+`
TAR_OPTIONS=ours; export TAR_OPTIONS
env | grep -e DOCKER -e POSIX -e CDPATH -e OPTIONS -e KEPT | sort
[ -z "$BASH_VERSION" ] || [ "$1" = bash ] || set -o | grep posix
printf '%s' a:b | { IFS=: read -r x y; echo "$x $y" *; }`, shell, shell)
		cmd.Dir = t.TempDir()
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=/root", "POSIXLY_CORRECT=1", "CDPATH=/tmp", "TAR_OPTIONS=--wildcards", "GREP_OPTIONS=-v",
			"DOCKER_HOST=tcp://192.0.2.1", "DOCKER_A_NEW_ONE=it's\n$a 'b' \"c\"", "DOCKER_CONFIG=/opt", "KEPT=1\nexport DOCKER_x y=2\nexport DOCKER_CLI_HINTS=true", "IFS=K"}
		out, err := cmd.CombinedOutput()
		want := "DOCKER_CONFIG=/proc/no-docker-config\nKEPT=1\nTAR_OPTIONS=ours\nexport DOCKER_CLI_HINTS=true\nexport DOCKER_x y=2\na b *\n"
		if err != nil || string(out) != want {
			t.Errorf("%s: %v\n%s\nwant\n%s", shell, err, out, want)
		}
	}
}

func TestElsewhereIsWhereTheUsersDockerGoes(t *testing.T) {
	t.Parallel()
	const rootless = "unix:///run/user/1000/docker.sock"
	const config = `{"auths": {}, "currentContext" : "mine"}`
	for _, tt := range []struct {
		name, config, env, context, want string
	}{
		{name: "nothing"},
		{name: "the default", config: `{"currentContext": "default"}`},
		{name: "the server's own", env: "DOCKER_HOST=unix:///var/run/docker.sock", config: config, context: rootless},
		{name: "a host", env: "DOCKER_HOST=" + rootless, want: rootless + " (DOCKER_HOST)"},
		{name: "a context", config: config, context: rootless, want: rootless + " (context mine in HOME/.docker/config.json)"},
		{name: "a context by its variable", env: "DOCKER_CONTEXT=other", config: config, context: "tcp://192.0.2.1:2375", want: "tcp://192.0.2.1:2375 (context other in DOCKER_CONTEXT)"},
		{name: "a context for the server's own", config: config, context: "unix:///var/run/docker.sock"},
		{name: "a context that is gone", config: config},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			stub := "#!/bin/sh\n[ \"$DOCKER_CONFIG\" = '" + dir + "/.docker' ] && [ -n '" + tt.context + "' ] && echo '" + tt.context + "'\n"
			if err := os.WriteFile(filepath.Join(dir, "docker"), []byte(stub), 0o755); err != nil { //nolint:gosec // a program
				t.Fatal(err)
			}
			if tt.config != "" {
				if err := os.Mkdir(filepath.Join(dir, ".docker"), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, ".docker", "config.json"), []byte(tt.config), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.CommandContext(t.Context(), "sh", "-c", ClientEnvironment+"elsewhere")
			cmd.Env = []string{"PATH=" + dir + ":" + os.Getenv("PATH"), "HOME=" + dir, tt.env}
			out, _ := cmd.CombinedOutput()
			if got := strings.ReplaceAll(string(out), dir, "HOME"); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

func TestHidePassword(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"http://proxy.example.com:3128":                 "http://proxy.example.com:3128",
		"http://corp@proxy.example.com:3128":            "http://corp@proxy.example.com:3128",
		"http://corp:s3cret@proxy.example.com:3128":     "http://corp:" + PasswordNotShown + "@proxy.example.com:3128",
		"http://corp:s3@cr%et@proxy.example.com:3128/x": PasswordNotShown + "@proxy.example.com:3128/x",
		"corp:s3cret@proxy.example.com:3128":            PasswordNotShown + "@proxy.example.com:3128",
		"socks5://:s3cret@proxy.example.com":            "socks5://:" + PasswordNotShown + "@proxy.example.com",
		"localhost,127.0.0.1,.example.com":              "localhost,127.0.0.1,.example.com",
		"":                                              "",
	} {
		if got := HidePassword(given); got != want {
			t.Errorf("%q is told as %q, want %q", given, got, want)
		}
	}
}
