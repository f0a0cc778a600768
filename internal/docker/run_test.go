package docker

import (
	"slices"
	"strings"
	"testing"
)

func TestRunArgv(t *testing.T) {
	t.Parallel()
	r := Run{
		Name: "n", Image: "app:v1", Network: "kamal", Hostname: "h", Restart: "unless-stopped",
		Env:      map[string]string{"B": "two words", "A": "", "C": "x=y"},
		EnvNames: []string{"Z", "SECRET"}, Labels: map[string]string{"service": "shop", "destination": ""},
		Volumes: []string{"b:/b", "a:/a"}, Publish: []string{"127.0.0.1:80:80"}, Expose: []string{"9000"},
		LogDriver: "json-file", LogOpts: map[string]string{"max-size": "10m", "max-file": "3"},
		Memory: 1 << 29, CPUs: 0.5, Options: []string{"--init"}, Command: []string{"app", "--flag", ""},
	}
	want := []string{"docker", "run", "--detach", "--sig-proxy=false", "--restart", "unless-stopped", "--name", "n", "--network", "kamal", "--hostname", "h",
		"--env", "A=", "--env", "B=two words", "--env", "C=x=y", "--env", "SECRET", "--env", "Z",
		"--log-driver", "json-file", "--log-opt", "max-file=3", "--log-opt", "max-size=10m",
		"--volume", "b:/b", "--volume", "a:/a", "--publish", "127.0.0.1:80:80", "--expose", "9000",
		"--label", "destination=", "--label", "service=shop", "--memory", "536870912", "--cpus", "0.5",
		"--init", "app:v1", "app", "--flag", ""}
	for range 5 { // maps are walked in another order each time
		if got := r.Argv(); !slices.Equal(got, want) {
			t.Fatalf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	if got := (Run{Name: "n", Image: "app:v1"}).Argv(); !slices.Equal(got, []string{"docker", "run", "--detach", "--sig-proxy=false", "--name", "n", "app:v1"}) {
		t.Errorf("the least: %q", got)
	}
}

func TestRunArgvWritesNumbersAsDockerReadsThem(t *testing.T) {
	t.Parallel()
	for cpus, want := range map[float64]string{1: "1", 1.5: "1.5", 0.01: "0.01", 16: "16"} {
		argv := Run{Image: "i", CPUs: cpus}.Argv()
		if i := slices.Index(argv, "--cpus"); i < 0 || argv[i+1] != want {
			t.Errorf("%v: %q", cpus, argv)
		}
	}
}
