package fleet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/kamal"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

// recorded is what a real docker said; docker's own tests tell which ones.
func recorded(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "docker", "testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

const factsOutput = "id\tdebian\nversion\t12\nname\tDebian GNU/Linux 12 (bookworm)\nkernel\t6.1.0-18-amd64\nmachine\tx86_64\n" +
	"machine_id\t0123456789abcdef0123456789abcdef\ncpus\t2\nMemTotal:\t2014424\nMemAvailable:\t1500000\nSwapTotal:\t0\nSwapFree:\t0\n" +
	"disk_free\t1\nclock\t1764115200\nswap /swapfile\t2097148\nfstab /swapfile\tswap\nswap /dev/sda2\t524284\nfstab UUID=x\tswap\nboot_id\t11111111-2222-3333-4444-555555555555\nhome\t/root\nuser\troot\n"

// observed is what a server with a docker of this version answers.
func observed(t *testing.T, version string) []sshexec.StepResult {
	t.Helper()
	steps := make([]sshexec.StepResult, len(observeSteps()))
	for i, s := range observeSteps() {
		steps[i] = sshexec.StepResult{Title: s.Title, Ran: true}
	}
	steps[stepFacts].Stdout = []byte(factsOutput)
	steps[stepDocker].Stdout = []byte("enabled\n" + version + "\tjson-file\tx86_64\tinactive\t/var/lib/docker\tBacking Filesystem extfs Supports d_type true \n" +
		"free\tAvailable\nfree\t7340032\n")
	short := strings.Join(strings.Split(version, ".")[:2], ".")
	// One inspect of both prints one list.
	both := bytes.TrimRight(recorded(t, "container-"+short), "]\n ")
	both = append(append(both, ','), bytes.TrimLeft(recorded(t, "image-"+short), "[\n ")...)
	steps[stepObjects].Stdout = objects("kamal", string(both), "")
	return steps
}

func objects(network, inspected, state string) []byte {
	return []byte(strings.Join([]string{network, inspected, state, "", ""}, objectsSeparator))
}

func TestSnapshotOfRealDockers(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"20.10.24+dfsg1", "26.1.5+dfsg1", "28.5.2+dfsg4", "29.8.1"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			steps := observed(t, version)
			steps[stepDaemon].Stdout = []byte(`{"log-opts": {"max-size": "10m"}}`)
			steps[stepMarks].Stdout = []byte("45\t" + `{"kind":"role","name":"shop-web","state":"creating","run":"run1","by":"me","at":"2026-11-23T12:00:00Z"}` + "\n3\tlock\tshop\trun1\n")
			steps[stepCertificates].Stdout = []byte(".kamal/proxy/apps-config/shop/tls/web/cert.pem\tQ0VSVAo=\n")
			s, err := parseSnapshot("10.0.0.1", steps)
			if err != nil {
				t.Fatal(err)
			}
			if want := (Docker{Installed: true, Running: true, Enabled: true, Version: version, Arch: "amd64", LoggingDriver: "json-file",
				DaemonJSON: `{"log-opts": {"max-size": "10m"}}`}); !reflect.DeepEqual(s.Docker, want) {
				t.Errorf("docker %+v", s.Docker)
			}
			if want := (Facts{MachineID: "0123456789abcdef0123456789abcdef", OS: "debian", OSVersion: "12", OSName: "Debian GNU/Linux 12 (bookworm)",
				Kernel: "6.1.0-18-amd64", Machine: "x86_64", Arch: "amd64", CPUs: 2, Memory: 2014424 << 10, Available: 1500000 << 10,
				DiskFree: 7340032 << 10, BootID: "11111111-2222-3333-4444-555555555555", Home: "/root", User: "root", Clock: time.Unix(1764115200, 0),
				Swaps: []Swap{{File: "/dev/sda2", Size: 512 << 20}, {File: "/swapfile", Size: 2 << 30, AtBoot: true}}}); !reflect.DeepEqual(s.Facts, want) {
				t.Errorf("facts %+v", s.Facts)
			}
			c := s.Container("shop-web-v1")
			if c == nil || s.Container(c.ID) != c || s.Container(c.ShortID()) != c || s.Container("shop-web") != nil {
				t.Fatalf("containers %+v", s.Containers)
			}
			if s.Image(c.InspectResponse.Image) == nil || s.Image("sha256:0") != nil {
				t.Errorf("images %+v", s.Images)
			}
			if !s.Network || s.Proxy.Container != nil || s.Proxy.State != "" {
				t.Errorf("network %t, proxy %+v", s.Network, s.Proxy)
			}
			m := s.Mark("role", "shop-web")
			if m == nil || m.State != kamal.MarkCreating || m.Age != 45*time.Second || !m.Unfinished() || s.Mark("role", "shop-jobs") != nil {
				t.Errorf("marks %+v", s.Marks)
			}
			if len(s.Locks) != 1 || s.Locks[0] != (kamal.LockHolder{App: "shop", Run: "run1", Age: 3 * time.Second}) {
				t.Errorf("locks %+v", s.Locks)
			}
			if s.Certificates[".kamal/proxy/apps-config/shop/tls/web/cert.pem"] != "CERT\n" {
				t.Errorf("certificates %v", s.Certificates)
			}
		})
	}
}

func TestSnapshotWithAProxy(t *testing.T) {
	t.Parallel()
	steps := observed(t, "26.1.5+dfsg1")
	steps[stepObjects].Stdout = bytes.ReplaceAll(steps[stepObjects].Stdout, []byte("/shop-web-v1"), []byte("/kamal-proxy"))
	steps[stepObjects].Stdout = bytes.Replace(steps[stepObjects].Stdout, []byte(objectsSeparator+objectsSeparator), []byte(objectsSeparator+"[]"+objectsSeparator), 1)
	s, err := parseSnapshot("10.0.0.1", steps)
	if err != nil {
		t.Fatal(err)
	}
	// sha256sum of "[]"
	if s.Proxy.Container == nil || s.Proxy.State != "[]" || s.Proxy.Sum != "4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945" {
		t.Errorf("proxy %+v", s.Proxy)
	}
}

// Where docker does not answer, an empty list of containers must not be taken for none.
func TestSnapshotWithoutDocker(t *testing.T) {
	t.Parallel()
	const cannot = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"
	for name, tt := range map[string]struct {
		out, err string
		code     int
		want     Docker
	}{
		"absent":              {"absent\n", "", 0, Docker{}},
		"stopped":             {"installed\n", cannot + "\n", 1, Docker{Installed: true, Failure: cannot}},
		"stopped and enabled": {"enabled\n", cannot + "\n", 1, Docker{Installed: true, Enabled: true, Failure: cannot}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			steps := observed(t, "26.1.5")
			steps[stepDocker] = sshexec.StepResult{Ran: true, Stdout: []byte(tt.out), Stderr: []byte(tt.err), ExitCode: tt.code}
			steps[stepObjects] = sshexec.StepResult{Ran: true, ExitCode: 127, Stderr: []byte("docker: not found")}
			s, err := parseSnapshot("10.0.0.1", steps)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(s.Docker, tt.want) || len(s.Containers) > 0 {
				t.Errorf("docker %+v, %d containers", s.Docker, len(s.Containers))
			}
		})
	}
}

func TestSnapshotIsRefusedWhereAnAnswerMakesNoSense(t *testing.T) {
	t.Parallel()
	for _, i := range []int{stepFacts, stepDaemon, stepMarks, stepCertificates, stepObjects, stepFirewall} {
		steps := observed(t, "20.10.24")
		steps[i].ExitCode, steps[i].Stderr = 1, []byte("out of luck")
		_, err := parseSnapshot("10.0.0.1", steps)
		var step *sshexec.StepError
		if !errors.As(err, &step) || step.Title != observeSteps()[i].Title || step.Server != "10.0.0.1" || !strings.Contains(err.Error(), "out of luck") {
			t.Errorf("%s: %v", observeSteps()[i].Title, err)
		}
	}
	for _, tt := range []struct {
		step int
		text string
	}{
		{stepObjects, ""}, {stepObjects, "kamal" + objectsSeparator + "[]"}, {stepObjects, strings.TrimSuffix(string(objects("", "[]", "")), objectsSeparator) + "[" + objectsSeparator},
		{stepObjects, string(objects("", "[{", ""))}, {stepObjects, string(objects("", "[1]", ""))}, {stepObjects, string(objects("", "no JSON", ""))},
		{stepMarks, "5\t{broken"},
	} {
		steps := observed(t, "20.10.24")
		steps[tt.step].Stdout = []byte(tt.text)
		if _, err := parseSnapshot("10.0.0.1", steps); err == nil {
			t.Errorf("%s: %q is accepted", observeSteps()[tt.step].Title, tt.text)
		}
	}
}

func TestMarksAndLocksThatAreJustBeingWrittenAreNone(t *testing.T) {
	t.Parallel()
	marks, locks, err := parseMarks("0\t\n0\tlock\tshop\t\n\n2\tlock\tother\trun1\n")
	if err != nil || len(marks) != 0 || len(locks) != 1 || locks[0].Run != "run1" {
		t.Errorf("marks %+v, locks %+v, %v", marks, locks, err)
	}
}

func TestArchitecturesAreGos(t *testing.T) {
	t.Parallel()
	for machine, want := range map[string]string{"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386", "riscv64": "riscv64", "s390x": "s390x"} {
		if got := goArch(machine); got != want {
			t.Errorf("%s: %s", machine, got)
		}
	}
}

// sh runs a script with programs of the test's own before those of the PATH.
func sh(t *testing.T, script string, programs map[string]string) (stdout, stderr string, code int) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range programs {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+text), 0o755); err != nil { //nolint:gosec // a program
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	command := exec.CommandContext(ctx, "/bin/sh", "-s")
	command.Dir = dir
	command.Env = []string{"PATH=" + dir + ":" + os.Getenv("PATH"), "HOME=" + dir, "LC_ALL=C"}
	command.Stdin = strings.NewReader("(\n:\n" + script + "\n)\nexit $?\n")
	var out, errs bytes.Buffer
	command.Stdout, command.Stderr = &out, &errs
	err := command.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), errs.String(), command.ProcessState.ExitCode()
}

// Where Docker keeps its data is Docker's to say, and containerd's if its store is used.
func TestFreeDiskIsThatOfDockersData(t *testing.T) {
	t.Parallel()
	const (
		classic    = "20.10.24+dfsg1\tjson-file\tx86_64\tinactive\t/srv/my docker\tBacking Filesystem extfs Supports d_type true Native Overlay Diff false userxattr false "
		containerd = "29.8.1\tjson-file\tx86_64\tinactive\t/srv/my docker\tdriver-type io.containerd.snapshotter.v1 "
		df         = `case $2 in "/srv/my docker") n=900;; /var/lib/containerd) n=500;; /srv/containerd) n=700;; *) exit 1;; esac
			echo "Filesystem 1024-blocks Used Available Capacity Mounted on"; echo "/dev/vda 1000 100 $n 1% $2"`
	)
	for name, tt := range map[string]struct {
		info, config string
		want         int64
	}{
		"Docker's own store":            {classic, "", 900},
		"containerd's store":            {containerd, "", 500},
		"containerd's, moved":           {containerd, "version = 2\nroot = \"/srv/containerd\" # the big disk\n[plugins]\nroot = \"/nowhere\"\n", 700},
		"containerd's, not moved":       {containerd, "version = 3\n[plugins]\nroot = \"/nowhere\"\n", 500},
		"containerd's, on no disk":      {containerd, "root = '/nowhere'\n", 900},
		"nowhere that can be looked at": {strings.ReplaceAll(classic, "/srv", "/nowhere"), "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := filepath.Join(t.TempDir(), "config.toml")
			if err := os.WriteFile(config, []byte(tt.config), 0o600); err != nil {
				t.Fatal(err)
			}
			out, errs, code := sh(t, strings.Replace(dockerScript, containerdConfig, config, 1), map[string]string{
				"systemctl": "exit 0", "df": df, "docker": "printf '%s\\n' " + sshexec.Quote(tt.info),
			})
			free, ok := parseFree(out)
			if code != 0 || free != tt.want<<10 || ok != (tt.want > 0) {
				t.Errorf("%d bytes, %t; want %d KiB; exit code %d, %q, %q", free, ok, tt.want, code, out, errs)
			}
			if d := parseDocker(sshexec.StepResult{Ran: true, Stdout: []byte(out)}); !d.Running || !d.Enabled || d.Version != strings.SplitN(tt.info, "\t", 2)[0] || d.Swarm {
				t.Errorf("docker %+v", d)
			}
		})
	}
}

// The stubs say what the clients of both versions were seen to say and how they exit.
func TestDockersWithoutADaemonSayWhatIsWrong(t *testing.T) {
	t.Parallel()
	const cannot = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"
	for version, info := range map[string]string{
		"20.10": `echo 'template: :1:2: executing "" at <.ServerVersion>: reflect: indirection through nil pointer to embedded struct field Info' >&2; exit 1`,
		"26.1":  `printf '\t\t\t\n'; echo '` + cannot + `' >&2`,
	} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			out, errs, code := sh(t, dockerScript, map[string]string{
				"systemctl": "exit 1",
				"docker":    "case $1 in info) " + info + ";; *) echo '" + cannot + "' >&2; exit 1;; esac",
			})
			d := parseDocker(sshexec.StepResult{Ran: true, Stdout: []byte(out), Stderr: []byte(errs), ExitCode: code})
			if !reflect.DeepEqual(d, Docker{Installed: true, Failure: cannot}) {
				t.Errorf("%+v", d)
			}
		})
	}
}

func TestObjectsThatGoWhileTheyAreListedAreNoFailure(t *testing.T) {
	t.Parallel()
	for _, goes := range []string{"ps", "image ls"} {
		docker := `echo x >> calls
case "$*" in
  "` + goes + `"*) [ $(wc -l < calls) -gt 3 ] || echo "gone|||";;
  "ps "*) echo "1|kamal|shop-web|Up 2 hours"; echo "2||old|Exited (0)";;
  "image ls"*) echo sha256:a; echo sha256:b; echo sha256:a;;
  "inspect "*gone*) echo '[]'; echo "Error: No such object: gone" >&2; exit 1;;
  "inspect "*) shift; echo "[\"$*\"]";;
  "network ls"*) ;;
  *) echo "unexpected: $*" >&2; exit 9;;
esac`
		want := map[string]string{"ps": string(objects("", `["sha256:a sha256:b"]`, "")), "image ls": string(objects("kamal", `["1 2"]`, ""))}[goes]
		if out, errs, code := sh(t, objectsScript, map[string]string{"docker": docker}); code != 0 || out != want {
			t.Errorf("%s: exit code %d, %q, want %q, %q", goes, code, out, want, errs)
		}
		never := `case "$*" in "` + goes + `"*) echo gone;; inspect*) echo "Error: broken" >&2; exit 1;; esac`
		if _, errs, code := sh(t, objectsScript, map[string]string{"docker": never}); code == 0 || !strings.Contains(errs, "broken") {
			t.Errorf("%s: exit code %d, %q", goes, code, errs)
		}
	}
	if out, errs, code := sh(t, objectsScript, map[string]string{"docker": "exit 0"}); code != 0 || out != string(objects("", "", "")) {
		t.Errorf("with none: exit code %d, %q, %q", code, out, errs)
	}
	if _, errs, code := sh(t, objectsScript, map[string]string{"docker": "echo down >&2; exit 1"}); code == 0 || !strings.Contains(errs, "down") {
		t.Errorf("with no daemon: exit code %d, %q", code, errs)
	}
}

// The files of containers that lie below the home are seen by their sums; what is
// secret, a directory, or elsewhere is not.
func TestMountedFilesAreSeenByTheirSums(t *testing.T) {
	t.Parallel()
	docker := `case "$*" in
  "ps "*) echo "1|kamal|shop-db|Up 2 hours";;
  "image ls"*) ;;
  "inspect "*) cat <<JSON
[
    {
        "HostConfig": {
            "Binds": [
                "$PWD/shop-db/init.sql:/init.sql",
                "$PWD/shop-db/conf:/conf",
                "$PWD/.kamal/apps/shop/secrets/x/A:/run/secrets/A",
                "$PWD/gone:/gone",
                "/etc/hostname:/etc/host:ro"
            ],
            "ContainerIDFile": "$PWD/shop-db/other"
        }
    }
]
JSON
;;
esac`
	out, errs, code := sh(t, "mkdir -p shop-db/conf .kamal/apps/shop/secrets/x; echo hello > shop-db/init.sql; chmod 640 shop-db/init.sql; echo x > shop-db/other; echo s > .kamal/apps/shop/secrets/x/A\n"+objectsScript,
		map[string]string{"docker": docker})
	s := &Snapshot{}
	if err := parseObjects([]byte(out), s); code != 0 || errs != "" || err != nil {
		t.Fatalf("exit code %d, %q, %v", code, errs, err)
	}
	if len(s.MountedFiles) != 1 {
		t.Errorf("%v", s.MountedFiles)
	}
	for name, f := range s.MountedFiles {
		// sha256sum of "hello\n"
		if want := (MountedFile{Sum: "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03", Mode: "640"}); !strings.HasSuffix(name, "/shop-db/init.sql") || f != want {
			t.Errorf("%s: %+v", name, f)
		}
	}
}

// Another resource of the same apply removes it, say: it is no proxy without routes, and no failure.
func TestAProxyThatGoesWhileItIsListedIsNone(t *testing.T) {
	t.Parallel()
	docker := strings.Replace(stateDocker, `case "$*" in`, `
case "$*" in
  "ps "*) echo x >> lists; echo "1|bridge|shop-db|Up 2 hours"; [ $(wc -l < lists) -gt 1 ] || echo "2|kamal|kamal-proxy|Up 2 hours";;
  "image ls"*) ;;
  "inspect "*) shift; echo "[\"$*\"]";;
  "network ls"*) ;;`, 1)
	out, errs, code := sh(t, "touch none\n"+StatePrelude+objectsScript, map[string]string{"docker": docker, "sleep": ":"})
	if want := string(objects("", `["1"]`, "")); code != 0 || out != want {
		t.Errorf("exit code %d, %q, want %q, %q", code, out, want, errs)
	}
	always := strings.ReplaceAll(docker, "[ $(wc -l < lists) -gt 1 ] || ", "")
	if out, errs, code := sh(t, "touch none\n"+StatePrelude+objectsScript, map[string]string{"docker": always, "sleep": ":"}); code != 70 {
		t.Errorf("a proxy that is listed and not there: exit code %d, %q, %q", code, out, errs)
	}
}

// Each start of docker's client costs: five are enough for a whole server.
func TestObjectsAreListedInFewCalls(t *testing.T) {
	t.Parallel()
	docker := strings.Replace(stateDocker, `case "$*" in`, `echo "$*" >> calls
case "$*" in
  "ps "*) echo "1|bridge,kamal|kamal-proxy|Up 2 hours";;
  "image ls"*) echo sha256:a;;
  "inspect 1 sha256:a") echo "[]";;`, 1)
	out, errs, code := sh(t, "printf '[]' > state.last\n"+StatePrelude+"("+objectsScript+"\n); wc -l < calls", map[string]string{"docker": docker})
	if want := string(objects("kamal", "[]", "[]")) + "4\n"; code != 0 || out != want {
		t.Errorf("exit code %d, %q, want %q, %q", code, out, want, errs)
	}
}

// Docker 29's client leaves images without a tag out of its list. What a container
// runs on is asked for then, and only then.
func TestImagesThatTheListLeavesOutAreFoundByTheirContainers(t *testing.T) {
	t.Parallel()
	const inspected = `[
    {
        "Id": "1",
        "Image": "sha256:b",
        "Config": {
            "Image": "postgres:15.1"
        },
        "HostConfig": {}
    },
    {
        "Id": "sha256:a",
        "Config": {
            "Image": "sha256:c"
        }
    }
]
`
	listed := `echo "$*" >> calls
case "$*" in
  "ps "*) echo "1|kamal|shop-db|Up 2 hours";;
  "image ls"*) echo sha256:a;;
  "inspect 1 sha256:a") printf %s ` + sshexec.Quote(inspected) + `;;
  "image inspect sha256:b") `
	for name, tt := range map[string]struct {
		docker, left string
		calls        int
	}{
		"untagged":         {listed + `echo '[{"Id":"sha256:b"}]';; esac`, `[{"Id":"sha256:b"}]`, 4},
		"removed by force": {listed + `echo '[]'; echo 'Error: No such image' >&2; exit 1;; esac`, "[]", 4},
		"listed": {strings.Replace(strings.Replace(listed, "echo sha256:a", "echo sha256:a; echo sha256:b", 1),
			`"inspect 1 sha256:a"`, `"inspect 1 sha256:a sha256:b"`, 1) + `exit 9;; esac`, "", 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, errs, code := sh(t, "("+objectsScript+"\n); r=$?; printf '|%s' $(wc -l < calls); exit $r", map[string]string{"docker": tt.docker})
			want := "kamal" + objectsSeparator + strings.TrimRight(inspected, "\n") + objectsSeparator + objectsSeparator + tt.left + objectsSeparator
			if full := fmt.Sprintf("%s|%d", want, tt.calls); code != 0 || out != full || errs != "" {
				t.Fatalf("exit code %d, %q, want %q, %q", code, out, full, errs)
			}
			s := &Snapshot{}
			if err := parseObjects([]byte(want), s); err != nil {
				t.Fatal(err)
			}
			if found := s.Image("sha256:b") != nil; found != (name == "untagged") || len(s.Containers) != 1 || s.Image("sha256:a") == nil {
				t.Errorf("containers %+v, images %+v", s.Containers, s.Images)
			}
		})
	}
}

// stateDocker is a docker whose kamal-proxy has the state file $1; each read of
// it takes the next of the files state.1, state.2 … if there are some.
const stateDocker = `
case "$*" in
  "cp kamal-proxy:/home/kamal-proxy/.config/kamal-proxy/kamal-proxy.state -")
    echo x >> reads; n=$(wc -l < reads); f=state.$n; [ -f $f ] || f=state.last
    [ -f $f ] || exit 1
    cp $f kamal-proxy.state; tar -cf - kamal-proxy.state;;
  "cp kamal-proxy:/home/kamal-proxy/.config/kamal-proxy -") mkdir -p kamal-proxy; [ ! -f none ] || exit 1; [ ! -f state.last ] || touch kamal-proxy/kamal-proxy.state; tar -cf - kamal-proxy;;
  "container inspect kamal-proxy") [ ! -f none ];;
  *) echo "unexpected: $*" >&2; exit 9;;
esac`

func TestStateOfTheProxyIsReadWhole(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		files map[string]string
		out   string
		code  int
	}{
		"as it is":               {map[string]string{"state.last": `[{"name":"a b"}]`}, `[{"name":"a b"}]`, 0},
		"null is no services":    {map[string]string{"state.last": "null\n"}, "null", 0},
		"empty, then whole":      {map[string]string{"state.1": "", "state.2": `[{"na`, "state.last": "[]"}, "[]", 0},
		"a new proxy without it": {map[string]string{}, "[]", 0},
		"no proxy":               {map[string]string{"none": ""}, "", 0},
		"never whole":            {map[string]string{"state.last": ""}, "", 71},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var setup strings.Builder
			for f, content := range tt.files {
				setup.WriteString("printf %s " + sshexec.Quote(content) + " > " + f + "\n")
			}
			out, errs, code := sh(t, setup.String()+StatePrelude+"proxystate; r=$?; [ $r != 70 ] || exit 0; exit $r", map[string]string{"docker": stateDocker, "sleep": ":"})
			if out != tt.out || code != tt.code {
				t.Errorf("exit code %d, %q, %q", code, out, errs)
			}
		})
	}
}

func TestRoutesAreEndsACallWhenSomebodyChangedThem(t *testing.T) {
	t.Parallel()
	const before, now = `[{"name":"a"}]`, `[{"name":"b"}]`
	step := RoutesAre(Proxy{}.NewProxyState(before).Sum)
	docker := map[string]string{"docker": stateDocker, "sleep": ":"}
	run := func(state string) (string, int) {
		out, _, code := sh(t, "printf %s "+sshexec.Quote(state)+" > state.last\n"+StatePrelude+step.Script+"\necho went on", docker)
		return out, code
	}
	if out, code := run(before); code != 0 || out != "went on\n" {
		t.Errorf("unchanged: exit code %d, %q", code, out)
	}
	if out, code := run(now); code != RoutesChanged || out != now {
		t.Errorf("changed: exit code %d, %q", code, out)
	}
	if out, _, code := sh(t, "touch none\n"+StatePrelude+step.Script+"\necho went on", docker); code != 70 || out != "" {
		t.Errorf("no proxy: exit code %d, %q", code, out)
	}
}

// Nothing of ours here, and the SSH user's docker goes to another daemon of the
// server: what we made may be there.
func TestSnapshotWhereTheUsersDockerGoesElsewhere(t *testing.T) {
	t.Parallel()
	const rootless, tcp = "unix:///run/user/1000/docker.sock (DOCKER_HOST)", "tcp://192.0.2.1:2375 (DOCKER_HOST)"
	const owned, creating = `0	{"kind":"role","name":"shop-web","state":"owned"}`, `0	{"kind":"role","name":"shop-web","state":"creating"}`
	for _, tt := range []struct {
		name, elsewhere, marks string
		here, down, runs       bool
	}{
		{name: "nowhere else, removed by hand", marks: owned, runs: true},
		{name: "elsewhere, but here", elsewhere: rootless, marks: owned, here: true, runs: true},
		{name: "elsewhere, and nothing here", elsewhere: rootless, marks: owned},
		{name: "elsewhere, and nothing made yet", elsewhere: rootless, marks: creating, runs: true},
		{name: "another machine", elsewhere: tcp, marks: owned, runs: true},
		{name: "elsewhere, and none runs here", elsewhere: tcp, down: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			steps := observed(t, "26.1.5+dfsg1")
			steps[stepFacts].Stdout = append(steps[stepFacts].Stdout, []byte("elsewhere\t"+tt.elsewhere+"\n")...)
			steps[stepMarks].Stdout = []byte(tt.marks)
			if !tt.here {
				steps[stepObjects].Stdout = objects("kamal", "[]", "")
			}
			if tt.down {
				steps[stepDocker] = sshexec.StepResult{Ran: true, ExitCode: 1, Stdout: []byte("enabled\n"), Stderr: []byte("Cannot connect")}
			}
			snap, err := parseSnapshot("192.0.2.9", steps)
			if err != nil {
				t.Fatal(err)
			}
			if snap.Docker.Running != tt.runs || (snap.NoDocker() == nil) != tt.runs {
				t.Errorf("running %t: %s", snap.Docker.Running, snap.Docker.Failure)
			}
			if f := snap.NoDocker(); !tt.runs && (!strings.Contains(f.Cause, "own docker goes to "+tt.elsewhere) || !strings.Contains(f.Next, "works with no other daemon")) {
				t.Errorf("%s\n%s", f.Cause, f.Next)
			}
		})
	}
}
