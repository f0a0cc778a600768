package approle

import (
	"errors"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

var (
	healthyServer = fleet.Facts{Memory: 4 << 30, Available: 3 << 30}
	refused       = Probe{Err: errors.New("ssh: rejected: connect failed (Connection refused)")}
	// rails is the start of what Rails answers to a host that it doesn't know.
	rails = "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n  <title>Action Controller: Exception caught</title>\n</head><body>\n<header>\n  <h1>Blocked hosts: 0123456789ab:3000</h1>\n</header>"
)

func state(change func(*container.State)) *docker.Container {
	c := &docker.Container{InspectResponse: container.InspectResponse{ID: "0123456789abcdef", State: &container.State{Status: container.StateRunning, Running: true}}}
	if change != nil {
		change(c.State)
	}
	return c
}

func ended(code int) func(*container.State) {
	return func(s *container.State) { s.Status, s.Running, s.ExitCode = container.StateExited, false, code }
}

// Each way in which a deploy fails in production, as it was seen there.
func TestDiagnoseNamesTheCauseAndTheRemedy(t *testing.T) {
	t.Parallel()
	running := state(nil)
	for name, tt := range map[string]struct {
		probe       Probe
		container   *docker.Container
		logs        string
		ports       []string
		facts       *fleet.Facts
		cause, next string
	}{
		"killed for want of memory": {
			probe: refused, container: state(func(s *container.State) { ended(137)(s); s.OOMKilled = true }), logs: "Killed",
			cause: "want of memory (OOM)", next: "raise `memory`",
		},
		"built for another CPU": {
			probe: refused, container: state(ended(1)), logs: "exec /bin/app: exec format error",
			cause: "built for another CPU", next: "--platform",
		},
		"its port is taken in the container": {
			probe: refused, container: state(ended(1)), logs: "Address already in use - bind(2) for \"0.0.0.0\" port 3000 (Errno::EADDRINUSE)",
			cause: "could not open its port", next: "second server process",
		},
		"it crashed": {
			probe: refused, container: state(ended(3)), logs: "FATAL: could not connect to database at db.internal:5432",
			cause: "ended instead of serving", next: "missing from `env`, or the database",
		},
		"it crashes again and again": {
			probe:     Probe{Err: errors.New("EOF")},
			container: state(func(s *container.State) { s.Status, s.Restarting, s.ExitCode = container.StateRestarting, true, 1 }),
			cause:     "ended instead of serving", next: "last log lines",
		},
		"force_ssl": {
			probe: Probe{Status: 301, Location: "https://0123456789ab:3000/up"}, container: running,
			cause: "redirects the health check to https", next: "assume_ssl",
		},
		"a log-in page": {
			probe: Probe{Status: 302, Location: "/login"}, container: running,
			cause: "redirects the health check", next: "healthcheck.path",
		},
		"host authorization of Rails": {
			probe: Probe{Status: 403, Body: rails}, container: running,
			cause: "does not accept the Host header", next: "healthcheck.host",
		},
		"host authorization of Rails, told in its log only": {
			probe: Probe{Status: 403}, container: running, logs: "[ActionDispatch::HostAuthorization::DefaultResponseApp] Blocked hosts: 0123456789ab:3000",
			cause: "does not accept the Host header", next: "healthcheck.host",
		},
		"ALLOWED_HOSTS of Django": {
			probe: Probe{Status: 400, Body: "<h1>Bad Request (400)</h1>"}, container: running, logs: "Invalid HTTP_HOST header: '0123456789ab:3000'. DisallowedHost",
			cause: "does not accept the Host header", next: "healthcheck.host",
		},
		"Rack::Attack": {
			probe: Probe{Status: 429, Body: "Retry later\n"}, container: running,
			cause: "refuses the health check", next: "throttling",
		},
		"an access rule": {
			probe: Probe{Status: 403, Body: "Forbidden"}, container: running,
			cause: "refuses the health check", next: "access rules",
		},
		"no such path": {
			probe: Probe{Status: 404}, container: running,
			cause: "nothing at the health check's path", next: "healthcheck.path",
		},
		"it says that it is ill": {
			probe: Probe{Status: 503, Body: "database is down"}, container: running,
			cause: "says itself that it is not healthy", next: "database or another service",
		},
		"another port": {
			probe: refused, container: running, ports: []string{"8080/tcp", "9090/tcp"},
			cause: "nothing in the container listens on app_port", next: "set app_port",
		},
		"the server swaps": {
			probe: refused, container: running, ports: []string{"3000/tcp"},
			facts: &fleet.Facts{Memory: 1 << 30, Available: 50 << 20, Swap: 1 << 30, SwapFree: 100 << 20},
			cause: "short of memory", next: "more memory",
		},
		"only on 127.0.0.1, or still booting": {
			probe: refused, container: running, ports: []string{"3000/tcp"},
			cause: "does not answer on app_port", next: "0.0.0.0",
		},
		"it hangs": {
			probe: Probe{Err: errors.New("no answer within 5s")}, container: running,
			cause: "does not answer on app_port", next: "deploy_timeout",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			facts := healthyServer
			if tt.facts != nil {
				facts = *tt.facts
			}
			s := &site{have: Observed{Snapshot: &fleet.Snapshot{Facts: facts}}}
			if tt.ports != nil {
				ports := map[string]any{}
				for _, p := range tt.ports {
					ports[p] = struct{}{}
				}
				s.image = &docker.Image{}
				parse(&s.image.InspectResponse, map[string]any{"Config": map[string]any{"ExposedPorts": ports}})
			}
			cause, next := diagnose(wanted(), s, tt.probe, evidence{container: tt.container, logs: tt.logs})
			first, _, _ := strings.Cut(cause, "\n")
			if !strings.Contains(first, tt.cause) {
				t.Errorf("cause %q, want %q", first, tt.cause)
			}
			if !strings.Contains(next, tt.next) {
				t.Errorf("next %q, want %q", next, tt.next)
			}
			if tt.logs != "" && !strings.Contains(cause, "    "+tt.logs) {
				t.Errorf("the log is not shown:\n%s", cause)
			}
		})
	}
}

func TestDiagnoseShowsWhatWasSeen(t *testing.T) {
	t.Parallel()
	s := &site{have: Observed{Snapshot: &fleet.Snapshot{Facts: fleet.Facts{Memory: 2 << 30, Available: 1 << 30, Swap: 512 << 20, SwapFree: 512 << 20}}}, image: &docker.Image{}}
	parse(&s.image.InspectResponse, map[string]any{"Config": map[string]any{"ExposedPorts": map[string]any{"9090/tcp": struct{}{}, "8080/tcp": struct{}{}}}})
	c := state(ended(3))
	c.RestartCount = 2
	cause, _ := diagnose(wanted(), s, Probe{Status: 503, Body: "down\nfor good"}, evidence{
		container: c, logs: strings.Repeat("early\n", 20) + "late\n", proxyLog: `{"msg":"Healthcheck failed"}`})
	want := `the container ended instead of serving.
  Health check (GET /up): 503
  It answered: down
  Container: exited, exit code 3, restarts 2
  kamal-proxy says: {"msg":"Healthcheck failed"}
  Server: 1024 MiB of 2048 MiB memory available, swap 512 MiB
  The image exposes 8080/tcp, app_port is 3000
  The container's last log lines:
` + strings.Repeat("    early\n", 14) + "    late"
	if cause != want {
		t.Errorf("cause\n%s\nwant\n%s", cause, want)
	}
	// Docker says of one that it is about to restart that it runs.
	c.State.Status, c.State.Running, c.State.Restarting = container.StateRestarting, true, true
	if cause, _ := diagnose(wanted(), s, Probe{}, evidence{container: c}); !strings.Contains(cause, "  Container: restarting, exit code 3, restarts 2\n") {
		t.Errorf("of one that restarts:\n%s", cause)
	}
}

func TestDiagnoseSaysNothingOfWhatNobodySaw(t *testing.T) {
	t.Parallel()
	s := &site{have: Observed{Snapshot: &fleet.Snapshot{Facts: healthyServer}}}
	if cause, next := diagnose(wanted(), s, Probe{}, evidence{}); cause != "" || next != "" {
		t.Errorf("%q, %q", cause, next)
	}
}

func TestDiagnoseOfAFailedVerifyDoesNotBlameTheApp(t *testing.T) {
	t.Parallel()
	s := &site{have: Observed{Snapshot: &fleet.Snapshot{Facts: healthyServer}}}
	cause, next := diagnose(wanted(), s, Probe{}, evidence{container: state(nil), logs: "listening"})
	if next != "" || strings.Contains(cause, "Health check") || !strings.HasPrefix(cause, "none that is known. What was seen:\n  Container: running") {
		t.Errorf("%q, %q", cause, next)
	}
}

// The texts are docker's and the registries' own.
func TestPullAdvice(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		stderr, want string
		login        bool
	}{
		"no such tag": {stderr: "Error response from daemon: manifest for registry.example.com/shop:v2 not found: manifest unknown: manifest unknown", want: "push registry.example.com/shop:v2 first"},
		"no such tag, says containerd's store": {stderr: "Error response from daemon: failed to resolve reference \"registry.example.com/shop:v2\": registry.example.com/shop:v2: not found",
			want: "push registry.example.com/shop:v2 first"},
		"a wrong password, says containerd's store": {stderr: "Error response from daemon: failed to resolve reference \"registry.example.com/shop:v2\": unexpected status from HEAD request to https://registry.example.com/v2/shop/manifests/v2: 401 Unauthorized",
			login: true, want: "check the username and the password"},
		"a token that has expired, says containerd's store": {stderr: "Error response from daemon: error from registry: Your authorization token has expired. Reauthenticate and try again.",
			login: true, want: "check the username and the password"},
		"a refusal without words": {stderr: "Error response from daemon: failed to resolve reference \"registry.example.com/shop:v2\": unexpected status from HEAD request to https://registry.example.com/v2/shop/manifests/v2: 403 Forbidden",
			login: true, want: "check the username and the password"},
		"no such repository":  {stderr: "Error response from daemon: pull access denied for shop, repository does not exist or may require 'docker login': denied: requested access to the resource is denied", want: "give the log-in for registry.example.com"},
		"no log-in":           {stderr: "Error response from daemon: Head \"https://registry.example.com/v2/shop/manifests/v2\": no basic auth credentials", want: "give the log-in for registry.example.com"},
		"a wrong password":    {stderr: "Error response from daemon: Head \"https://registry.example.com/v2/shop/manifests/v2\": unauthorized: authentication required", login: true, want: "check the username and the password of registries[\"registry.example.com\"]"},
		"an unknown registry": {stderr: "Error response from daemon: Get \"https://registry.example.com/v2/\": dial tcp: lookup registry.example.com: no such host", want: "check that 10.0.0.1 reaches the registry registry.example.com"},
		"a registry that is down": {stderr: "Error response from daemon: Get \"https://registry.example.com/v2/\": dial tcp 10.0.0.9:443: connect: connection refused",
			want: "check that 10.0.0.1 reaches"},
		"a full disk":    {stderr: "failed to register layer: write /usr/lib/x: no space left on device", want: "free disk space on 10.0.0.1"},
		"something else": {stderr: "Error response from daemon: toomanyrequests", want: "try it on the server: docker pull registry.example.com/shop:v2"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := fleet.New(sshexec.NewPool(nil, nil))
			if tt.login {
				f.Logins = docker.Logins{"registry.example.com": {Username: "u", Password: "p"}}
			}
			r := newRollout(f, Deployment{Spec: wanted(), Servers: []string{"10.0.0.1"}})
			got := docker.PullAdvice(r.Spec.Image, r.sites[0].name, r.fleet.Logins, &sshexec.StepError{StepResult: sshexec.StepResult{ExitCode: 1, Stderr: []byte(tt.stderr)}})
			if !strings.Contains(got, tt.want) {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
	r := newRollout(fleet.New(sshexec.NewPool(nil, nil)), Deployment{Spec: wanted(), Servers: []string{"10.0.0.1"}})
	if got := docker.PullAdvice(r.Spec.Image, r.sites[0].name, r.fleet.Logins, errors.New("cut")); got != "" {
		t.Errorf("on a lost connection: %q", got)
	}
}
