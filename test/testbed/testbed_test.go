package testbed

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// open opens the bed for tests of the bed itself. They start real servers, so
// they run only on request.
func open(t *testing.T) *Bed {
	t.Helper()
	if os.Getenv("TESTBED_TEST") != "1" && os.Getenv("TF_ACC") != "1" {
		t.Skip("starts real servers: set TESTBED_TEST=1 or TF_ACC=1, as root")
	}
	return Open(t)
}

// overSSH logs in as a person would, strictly with the bed's known_hosts.
func overSSH(b *Bed, destination, command string, options ...string) (string, error) {
	args := []string{"-F", "none", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=yes",
		"-o", "GlobalKnownHostsFile=none", "-o", "UserKnownHostsFile=" + b.KnownHostsFile, "-i", b.KeyFile}
	args = append(append(args, options...), destination, command)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return run(ctx, nil, "ssh", args...)
}

func TestServersAreMachinesOfTheirOwn(t *testing.T) {
	b := open(t)
	for _, kind := range testedKinds(t) {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			start := time.Now()
			s := b.Server(t, kind)
			t.Logf("a fresh %s took %s", kind, time.Since(start).Round(time.Millisecond))

			if state := s.SSH(t, "systemctl is-system-running || { systemctl --failed; journalctl --boot --priority err --no-pager; }"); state != "running" {
				t.Errorf("system is %s", state)
			}
			release := "13"
			if kind == Debian12 {
				release = "12"
			}
			if got := s.SSH(t, ". /etc/os-release; echo $VERSION_ID"); got != release {
				t.Errorf("Debian %s, want %s", got, release)
			}
			if e, ok := EngineOf(kind); ok {
				isEngine(t, b, s, e)
			} else if out, err := s.Run(t.Context(), "command -v docker dockerd"); err == nil {
				t.Errorf("Docker on a bare server: %s", out)
			}
			if got := s.SSH(t, "cat /etc/docker/daemon.json 2>/dev/null || :"); got != strings.TrimSpace(kind.daemonJSON()) {
				t.Errorf("a new server's daemon.json: %s", got)
			}

			out, err := overSSH(b, s.Destination(), "id -un; cat /etc/machine-id")
			if err != nil {
				t.Fatal(err)
			}
			user, id, _ := strings.Cut(out, "\n")
			other := b.Shared("web-1")
			if user != "root" || len(id) != 32 || id == other.SSH(t, "cat /etc/machine-id") {
				t.Errorf("logged in as %q on the machine %q", user, id)
			}
			if s.HostKey == other.HostKey || s.Address == other.Address {
				t.Errorf("%s shares host key or address with %s", s.Name, other.Name)
			}
			out, err = overSSH(b, User+"@"+s.Address, "id -Gn; sudo -n id -un")
			if want := "deploy\nroot"; err != nil || out != want {
				t.Errorf("deploy's groups and sudo: %q, %v; want %q", out, err, want)
			}
			if s.Address6 != "" {
				if _, err := overSSH(b, "root@"+s.Address6, "true"); err != nil {
					t.Errorf("over IPv6: %v", err)
				}
			}
		})
	}
}

func TestServerRefusesStrangers(t *testing.T) {
	b := open(t)
	s := b.Shared("web-1")
	dir := t.TempDir()
	otherKey, otherHosts := *b, *b
	otherKey.KeyFile = filepath.Join(dir, "key")
	if _, err := run(t.Context(), nil, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", otherKey.KeyFile); err != nil {
		t.Fatal(err)
	}
	if _, err := overSSH(&otherKey, s.Destination(), "true"); err == nil || !strings.Contains(err.Error(), "Permission denied (publickey") {
		t.Errorf("with another key: %v", err)
	}
	otherHosts.KnownHostsFile = filepath.Join(dir, "known_hosts")
	if err := os.WriteFile(otherHosts.KnownHostsFile, []byte(b.Shared("web-2").KnownHostsLine()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := overSSH(&otherHosts, s.Destination(), "true"); err == nil || !strings.Contains(err.Error(), "Host key verification failed") {
		t.Errorf("with a known_hosts that lacks the server: %v", err)
	}
}

func TestKnownHostsFollowsTheServers(t *testing.T) {
	b := open(t)
	started := make(chan string, 3)
	t.Run("while they run", func(t *testing.T) {
		for i := range cap(started) {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				s := b.Server(t, Debian13Bare)
				content, err := os.ReadFile(b.KnownHostsFile)
				if err != nil || !strings.Contains(string(content), s.KnownHostsLine()+"\n") {
					t.Errorf("known_hosts lacks %q (%v):\n%s", s.KnownHostsLine(), err, content)
				}
				started <- s.KnownHostsLine()
			})
		}
	})
	close(started)
	content, err := os.ReadFile(b.KnownHostsFile)
	if err != nil {
		t.Fatal(err)
	}
	for line := range started {
		if strings.Contains(string(content), line) {
			t.Errorf("known_hosts still has %q", line)
		}
	}
}

func TestRegistryWantsLogIn(t *testing.T) {
	b := open(t)
	for _, engine := range testedEngines(t) {
		t.Run(string(engine.Kind), func(t *testing.T) {
			t.Parallel()
			s := b.Server(t, engine.Kind)
			for _, c := range []struct{ script, want string }{
				{"docker pull " + b.Image("app:v1"), "no basic auth credentials"},
				{"echo wrong | docker login --username kamal --password-stdin " + b.Registry.Address, "401 Unauthorized"},
			} {
				if _, err := s.Run(t.Context(), c.script); err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("%s: %v, want %q", c.script, err, c.want)
				}
			}
			s.LogIn(t)
			s.SSH(t, "docker pull "+b.Image("app:v1"))
			if _, err := s.Run(t.Context(), "docker pull "+b.Image("app:missing")); err == nil || !strings.Contains(err.Error(), "not found") {
				t.Errorf("a tag that isn't there: %v", err)
			}
		})
	}
}

func TestAppImagesBehaveAsTheirTagsSay(t *testing.T) {
	b := open(t)
	s := b.Server(t, Debian13)
	s.LogIn(t)
	for _, c := range []struct {
		tag, run, want string
	}{
		{"v1", "curl -s $app/", `{"hostname":"c-v1","version":"v1"}`},
		{"v2", "curl -s $app/slow?ms=5", "v2 slept 5 ms"},
		{"v3", "curl -s $app/env/APP_VERSION", "v3"},
		{"unhealthy", "curl -s -o /dev/null -w '%{http_code}' $app/up", "503"},
		{"redirect", "curl -s -o /dev/null -w '%{http_code} %{redirect_url}' -H 'Host: c-redirect:3000' $app/up", "301 https://c-redirect:3000/up"},
		{"blocked", "curl -s -o /dev/null -w '%{http_code} ' $app/up; curl -s -H 'Host: app.example.com' $app/up", "403 ok"},
		{"withhealth", "until docker inspect -f {{.State.Health.Status}} c-withhealth | grep healthy; do sleep 0.2; done", "healthy"},
	} {
		t.Run(c.tag, func(t *testing.T) {
			t.Parallel()
			got := s.SSH(t, fmt.Sprintf(`
				docker run --quiet --detach --name c-%[1]s --hostname c-%[1]s %[2]s >/dev/null
				app=$(docker inspect -f '{{.NetworkSettings.Networks.bridge.IPAddress}}' c-%[1]s):3000
				for i in $(seq 100); do curl -s -o /dev/null $app/status && break; sleep 0.05; done
				%[3]s`, c.tag, b.Image("app:"+c.tag), c.run))
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
	for _, c := range []struct{ name, script, want string }{
		{"crash exits 3 and says why", "docker run --quiet --rm $crash || echo $?", "3"},
		{"nocmd has no command", "docker run --quiet --rm $nocmd 2>&1 || echo exit $?", "docker: Error response from daemon: no command specified.\nSee 'docker run --help'.\nexit 125"},
		{"arm64 is for another CPU", "docker pull -q $arm64 >/dev/null; docker image inspect -f '{{.Os}}/{{.Architecture}}' $arm64", "linux/arm64"},
		{"worker ticks without a port", "docker run --quiet --detach --name ticks $v1 app worker >/dev/null; until docker logs ticks | grep 'tick 1$'; do sleep 0.1; done; docker stop ticks >/dev/null; docker logs ticks | tail -n 1", "worker v1 tick 1\nworker stopped"},
		{"slow listens after 8 seconds", "id=$(docker run --quiet -d $slow); until docker logs $id | grep -q listening; do sleep 0.2; done; docker logs $id", "booting, ready in 8s\napp slow listening on :3000"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			vars := ""
			for _, tag := range []string{"crash", "nocmd", "arm64", "v1", "slow"} {
				vars += tag + "=" + b.Image("app:"+tag) + "\n"
			}
			if got := s.SSH(t, vars+c.script); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestAppFinishesRequestsBeforeItStops(t *testing.T) {
	b := open(t)
	s := b.Server(t, Debian12)
	s.LogIn(t)
	out := s.SSH(t, `docker run --detach --name web --publish 3000:3000 `+b.Image("app:v1")+` >/dev/null 2>&1
		until curl -sf -o /dev/null 127.0.0.1:3000/up; do sleep 0.05; done
		curl -s 127.0.0.1:3000/slow?ms=2000 & sleep 0.5; docker stop -t 10 web >/dev/null; wait
		docker inspect -f '{{.State.ExitCode}}' web`)
	if want := "v1 slept 2000 ms\n0"; out != want {
		t.Errorf("got %q, want %q", out, want)
	}
}

func TestProxyRoutesAndSurvivesReboot(t *testing.T) {
	b := open(t)
	for _, engine := range testedEngines(t) {
		t.Run(string(engine.Kind), func(t *testing.T) {
			t.Parallel()
			s := b.Server(t, engine.Kind)
			s.LogIn(t)
			s.SSH(t, fmt.Sprintf(`docker network create kamal
				docker run -d --name kamal-proxy --network kamal --restart unless-stopped --publish 80:80 --publish 443:443 \
					--volume kamal-proxy-config:/home/kamal-proxy/.config/kamal-proxy %s
				docker run -d --name web-v1 --network kamal --restart unless-stopped %s
				docker exec kamal-proxy kamal-proxy deploy web --target web-v1:3000 --health-check-interval 1s
				iptables -I DOCKER-USER -s 203.0.113.1 -j DROP`, b.Image("basecamp/kamal-proxy:v0.9.2"), b.Image("app:v1")))
			if got := version(t, s); got != "v1" {
				t.Fatalf("the proxy serves %q, want v1", got)
			}

			start := time.Now()
			s.Reboot(t)
			t.Logf("reboot took %s", time.Since(start).Round(time.Millisecond))
			deadline := time.Now().Add(20 * time.Second)
			for version(t, s) != "v1" {
				if time.Now().After(deadline) {
					t.Fatalf("after the reboot the proxy does not serve:\n%s", s.SSH(t, "docker ps -a"))
				}
				time.Sleep(100 * time.Millisecond)
			}
			if rules := s.SSH(t, "iptables -S DOCKER-USER"); strings.Contains(rules, "203.0.113.1") {
				t.Errorf("a rule made by hand survived the reboot:\n%s", rules)
			}
			if _, err := overSSH(b, s.Destination(), "true"); err != nil {
				t.Errorf("after the reboot: %v", err)
			}
		})
	}
}

// version is what the app answers through port 80; "" if it doesn't.
func version(t *testing.T, s *Server) string {
	t.Helper()
	client := http.Client{Timeout: 5 * time.Second}
	response, err := client.Get("http://" + s.Address + "/")
	if err != nil {
		return ""
	}
	defer response.Body.Close()
	var answer struct{ Version string }
	if json.NewDecoder(response.Body).Decode(&answer) != nil {
		return "" // say, the proxy's own page for "no such service"
	}
	return answer.Version
}

func TestBareServerInstallsDockerByApt(t *testing.T) {
	b := open(t)
	s := b.Server(t, Debian13Bare)
	s.SSH(t, "apt-get -qq update; DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends docker.io docker-cli")
	s.LogIn(t)
	if got := s.SSH(t, "docker run --quiet --rm "+b.Image("app:v1")+" app env APP_VERSION"); got != "v1" {
		t.Errorf("got %q, want v1", got)
	}
}

func TestServerCanBeMadeUnreachable(t *testing.T) {
	b := open(t)
	s := b.Server(t, Debian13Bare)
	s.Pause(t)
	if _, err := overSSH(b, s.Destination(), "true", "-o", "ConnectTimeout=1"); err == nil {
		t.Error("a paused server answers")
	}
	s.Unpause(t)
	if _, err := overSSH(b, s.Destination(), "true"); err != nil {
		t.Error(err)
	}
	s.Stop(t)
	if _, err := overSSH(b, s.Destination(), "true", "-o", "ConnectTimeout=1"); err == nil {
		t.Error("a stopped server answers")
	}
	s.Start(t)
	if _, err := overSSH(b, s.Destination(), "true"); err != nil {
		t.Error(err)
	}
}

func TestUpRemovesServersOfKilledTests(t *testing.T) {
	b := open(t)
	dead := exec.Command("true")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("left-over-%d", dead.Process.Pid)
	if _, err := b.start(t.Context(), name, Debian13Bare, dead.Process.Pid); err != nil {
		t.Fatal(err)
	}
	Open(t)
	servers, err := b.servers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range servers {
		if s.Name == name {
			t.Errorf("%s is still there", name)
		}
	}
}

func TestDownLeavesNothing(t *testing.T) {
	open(t)
	options := Options{Name: fmt.Sprintf("down-%d", os.Getpid()), Logf: t.Logf}
	volumesBefore, err := docker(t.Context(), "volume", "ls", "--quiet")
	if err != nil {
		t.Fatal(err)
	}
	b, err := Up(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	mounts, err := docker(t.Context(), "ps", "--all", "--no-trunc", "--filter", "label="+labelBed+"="+b.Name, "--format", "{{.Mounts}}")
	if err != nil || mounts == "" {
		t.Fatalf("mounts: %q, %v", mounts, err)
	}
	if err := Down(t.Context(), options); err != nil {
		t.Fatal(err)
	}
	left, err := docker(t.Context(), "ps", "--all", "--quiet", "--filter", "label="+labelBed+"="+b.Name)
	if left != "" || err != nil {
		t.Errorf("containers left: %q, %v", left, err)
	}
	left, err = docker(t.Context(), "network", "ls", "--quiet", "--filter", "name=^testbed."+b.Name+"$")
	if left != "" || err != nil {
		t.Errorf("network left: %q, %v", left, err)
	}
	volumes, err := docker(t.Context(), "volume", "ls", "--quiet")
	if err != nil {
		t.Fatal(err)
	}
	for _, volume := range lines(volumes) {
		if strings.Contains(mounts, volume) && !strings.Contains(volumesBefore, volume) {
			t.Errorf("volume left: %s", volume)
		}
	}
	if files, err := filepath.Glob(b.Dir + "*"); len(files) > 0 || err != nil {
		t.Errorf("files left: %q, %v", files, err)
	}
	if _, err := Find(t.Context(), options); err == nil {
		t.Error("the bed is still found")
	}
}
