package acceptance

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/test/testbed"
)

// webConfig is a role with a port; what else it has is in the variable more,
// by way of a file of its own.
const webConfig = `
variable "image" { type = string }
resource "kamal_app_role" "web" {
  service        = "shop"
  servers        = {{servers}}
  image          = var.image
  app_port       = 3000
  deploy_timeout = "8s"
}
`

// footprint is what there is on a server of what an apply could change, images
// apart: a failed deploy leaves the image that it pulled.
func footprint(t *testing.T, s *testbed.Server) string {
	t.Helper()
	return s.SSH(t, `docker ps --all --no-trunc --format '{{.ID}} {{.Names}} {{.State}}' | sort
docker network ls --format '{{.Name}}' | sort
[ ! -d .kamal ] || find .kamal ! -name .kamal ! -name '*.flock' -printf '%p %y %s %m\n' | sort`)
}

func images(t *testing.T, s *testbed.Server) string {
	t.Helper()
	return s.SSH(t, `docker images --no-trunc --format '{{.Repository}}:{{.Tag}} {{.ID}}' | sort`)
}

// wantSame fails the test if what was changed.
func wantSame(t *testing.T, what, before, after string) {
	t.Helper()
	if before != after {
		t.Errorf("%s changed.\nBefore:\n%s\nAfter:\n%s", what, before, after)
	}
}

func TestAppRoleFailuresSayWhyAndLeaveTheServerAlone(t *testing.T) {
	aboutServers(t)
	t.Parallel()
	s := bed(t).Server(t, testbed.Debian12)
	w := newWorkspace(t, s)
	w.Write("main.tf", webConfig)
	w.Setenv("TF_VAR_image", w.Bed.Image("app:v1"))
	w.Apply()
	registry := w.Bed.Registry.Address
	const goesOn = "the old version goes on as before, container shop-web-v1"

	for _, tt := range []struct {
		name, provider, image string
		before, after         string // scripts on the server
		says                  []string
		running               string // default: goesOn
		pulls                 bool   // an image that is then of no use
	}{
		{name: "an image that is not there", image: "app:missing",
			says: []string{"Step: pull " + w.Bed.Image("app:missing"), "Exit code: 1", "manifest unknown", "push " + w.Bed.Image("app:missing") + " first, or mend the tag"}},
		{name: "a wrong password", image: "app:v2",
			provider: `ssh = {{ssh}}` + "\nregistries = { \"" + registry + `" = { username = "kamal", password = "not-the-password" } }`,
			says:     []string{"unauthorized", `check the username and the password of registries["` + registry + `"]`}},
		{name: "no log-in", image: "app:v2", provider: `ssh = {{ssh}}`,
			says: []string{"no basic auth credentials", "give the log-in for " + registry + " in the provider's registries"}},
		{name: "a registry out of reach", image: "app:v2",
			before: "iptables -I OUTPUT -p tcp --dport 5000 -j REJECT", after: "iptables -D OUTPUT -p tcp --dport 5000 -j REJECT",
			says: []string{"connection refused", "check that " + s.Address + " reaches the registry " + registry}},
		{name: "no command", image: "app:nocmd", pulls: true,
			says: []string{"Step: check the image before it is run", "has neither a CMD nor an ENTRYPOINT", "mend the image or the command"}},
		{name: "another CPU", image: "app:arm64", pulls: true,
			says: []string{"is built for linux/arm64, the server is amd64", "docker build --platform linux/amd64"}},
		{name: "force_ssl", image: "app:redirect", pulls: true,
			says: []string{"wait up to 8s for the new container to get healthy", "redirects the health check to https", "301, redirects to https://", "config.assume_ssl = true"}},
		{name: "host authorization", image: "app:blocked", pulls: true,
			says: []string{"does not accept the Host header of the health check", "It answered: Blocked hosts: ", ":3000", "set healthcheck.host"}},
		{name: "a crash at the start", image: "app:crash", pulls: true,
			says: []string{"the container ended instead of serving", "exit code 3", "FATAL: could not connect to database at db.internal:5432", "missing from `env`"}},
		{name: "somebody else's container of that name", image: "app:v2",
			before: "docker create --name shop-web-v2 " + w.Bed.Image("app:v1"), after: "docker rm shop-web-v2",
			says: []string{"a container that is not the role's has the name of the new one: shop-web-v2", "docker rename shop-web-v2"}},
		{name: "a lock of Kamal's", image: "app:v2",
			before:  `mkdir .kamal/lock-shop; printf 'Locked by: Ann at 2026-11-20T10:00:00Z\nVersion: abc\nMessage: migrating by hand' | base64 > .kamal/lock-shop/details`,
			after:   "rm -r .kamal/lock-shop",
			running: "what ran before, nothing was changed",
			says:    []string{"take the deploy lock of shop", "Locked by: Ann", "migrating by hand", "kamal lock release"}},
	} {
		if tt.running == "" {
			tt.running = goesOn
		}
		t.Run(tt.name, func(t *testing.T) {
			if tt.before != "" {
				s.SSH(t, tt.before)
			}
			before, kept := footprint(t, s), images(t, s)
			w := w.in(t)
			if tt.provider != "" {
				w.Provider(tt.provider)
			}
			w.Setenv("TF_VAR_image", w.Bed.Image(tt.image))
			out := w.ApplyFails(append(tt.says, "Unable to deploy shop-web "+strings.TrimPrefix(tt.image, "app:")+" on "+s.Address, "Running now: "+tt.running, "What to do: ")...)
			if strings.Contains(out, w.Bed.Registry.Password) {
				t.Error("the registry's password is in the output")
			}
			wantSame(t, "the server", before, footprint(t, s))
			if !tt.pulls {
				wantSame(t, "the images", kept, images(t, s))
			}
			w.Provider("ssh = {{ssh}}\nregistries = {{registries}}")
			if tt.after != "" {
				s.SSH(t, tt.after)
			}
		})
	}
	w.Setenv("TF_VAR_image", w.Bed.Image("app:v1"))
	w.PlanEmpty()

	t.Run("verify", func(t *testing.T) {
		w := w.in(t)
		before := footprint(t, s)
		w.Write("main.tf", strings.Replace(webConfig, "app_port ", `verify = ["app", "get", "http://127.0.0.1:3000/status?code=500"]
  app_port `, 1))
		w.Setenv("TF_VAR_image", w.Bed.Image("app:v2"))
		w.ApplyFails("run the verify command in the new container", "status 500", "500 Internal Server Error", "Running now: "+goesOn, "What to do: ")
		wantSame(t, "the server", before, footprint(t, s))
		w.Write("main.tf", strings.Replace(webConfig, "app_port ", `verify = ["app", "get", "http://127.0.0.1:3000/up"]
  app_port `, 1))
		w.Apply()
		if got := names(t, s); got != "shop-web-v2" {
			t.Errorf("running: %q", got)
		}
	})

	t.Run("host authorization with healthcheck.host", func(t *testing.T) {
		w := w.in(t)
		w.Write("main.tf", strings.Replace(webConfig, "app_port ", `healthcheck = { host = "app.example.com" }
  app_port `, 1))
		w.Setenv("TF_VAR_image", w.Bed.Image("app:blocked"))
		w.Apply()
	})

	t.Run("an app that boots slowly", func(t *testing.T) {
		w := w.in(t)
		w.Write("main.tf", strings.Replace(webConfig, `"8s"`, `"4s"`, 1))
		w.Setenv("TF_VAR_image", w.Bed.Image("app:slow"))
		w.ApplyFails("wait up to 4s for the new container to get healthy", "does not answer on app_port", "raise deploy_timeout", "booting, ready in 8s")
		w.Write("main.tf", strings.Replace(webConfig, `"8s"`, `"60s"`, 1))
		w.Apply()
		if got := names(t, s); got != "shop-web-slow" {
			t.Errorf("running: %q", got)
		}
	})
}

// The way to the server itself. Nothing can be changed there, and nothing is
// kept in the state.
func TestAppRoleSSHErrors(t *testing.T) {
	aboutServers(t)
	t.Parallel()
	s := bed(t).Server(t, testbed.Debian13)
	// OpenSSH turns away for a while who has failed to log in: that comes at the end.
	s.SSH(t, `echo 'PerSourcePenalties no' > /etc/ssh/sshd_config.d/patient.conf; systemctl reload ssh`)
	w := newWorkspace(t, s)
	w.Write("main.tf", webConfig)
	w.Setenv("TF_VAR_image", w.Bed.Image("app:v1"))
	key := filepath.Join(t.TempDir(), "stranger")
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	public, err := os.ReadFile(key + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	wrong := strings.Join(strings.Fields(string(public))[:2], " ")
	wrongKnownHosts := filepath.Join(t.TempDir(), "known_hosts")
	if err := os.WriteFile(wrongKnownHosts, []byte(s.Address+" "+wrong+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	empty := filepath.Join(t.TempDir(), "none")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	right := fmt.Sprintf("private_key_file = %q, known_hosts = %q", w.Bed.KeyFile, w.Bed.KnownHostsFile)
	bad := []struct {
		name, provider string
		says           []string
	}{
		{"a key that is refused", fmt.Sprintf("ssh = { private_key_file = %q, known_hosts = %q }", key, w.Bed.KnownHostsFile),
			[]string{s.Address + ` refused to log in user "root"`, "check the user and the key in the provider's ssh block"}},
		{"another host key", fmt.Sprintf("ssh = { private_key_file = %q, known_hosts = %q }", w.Bed.KeyFile, wrongKnownHosts),
			[]string{"the host key of " + s.Address + " is not the known one", fingerprint(t, s.HostKey), fingerprint(t, wrong)}},
		{"no host key", fmt.Sprintf("ssh = { private_key_file = %q, known_hosts = %q }", w.Bed.KeyFile, empty),
			[]string{"the host key of " + s.Address + " is not known", fingerprint(t, s.HostKey)}},
		{"a pinned key that is wrong", fmt.Sprintf("ssh = { %s }\nserver_overrides = { %q = { host_key = %q } }", right, s.Address, wrong),
			[]string{"the host key of " + s.Address + " is not the known one", fingerprint(t, wrong)}},
		{"a port on which nobody listens", fmt.Sprintf("ssh = { %s, port = 1 }", right),
			[]string{"cannot reach " + s.Address, "connection refused"}},
	}
	before := footprint(t, s)
	for _, tt := range bad {
		t.Run("create with "+tt.name, func(t *testing.T) {
			w := w.in(t)
			w.Provider(tt.provider)
			w.ApplyFails(append(tt.says, "Unable to deploy shop-web v1 on "+s.Address, "What to do: ")...)
			if left := w.Addresses(); len(left) > 0 {
				t.Errorf("in the state: %q", left)
			}
		})
	}
	wantSame(t, "the server", before, footprint(t, s))

	w.Provider("ssh = {{ssh}}\nregistries = {{registries}}")
	w.Apply()
	state := w.State("kamal_app_role.web")
	before = footprint(t, s)
	for _, tt := range bad {
		t.Run("refresh with "+tt.name, func(t *testing.T) {
			w := w.in(t)
			w.Provider(tt.provider)
			w.PlanFails(append(tt.says, "kamal_app_role shop/web")...)
		})
	}
	wantSame(t, "the server", before, footprint(t, s))
	w.Provider("ssh = {{ssh}}\nregistries = {{registries}}")
	w.PlanEmpty()
	if got := dig(w.State("kamal_app_role.web"), "instances", s.Address, "container"); got != dig(state, "instances", s.Address, "container") {
		t.Errorf("the state lost the container: %v", got)
	}

	s.SSH(t, `rm /etc/ssh/sshd_config.d/patient.conf; systemctl reload ssh`)
	eventually(t, time.Minute, "sshd turns this machine away", func() bool {
		c, err := net.Dial("tcp", net.JoinHostPort(s.Address, "22"))
		if err != nil {
			return false // sshd is starting anew
		}
		defer c.Close()
		line, _ := bufio.NewReader(c).ReadString('\n')
		return strings.HasPrefix(line, "Not allowed at this time")
	})
	w.PlanFails("cannot reach "+s.Address, "wait a minute and try again", "PerSourcePenalties", "Running now: not known")
}

// fingerprint is SHA256:… of a public key.
func fingerprint(t *testing.T, key string) string {
	t.Helper()
	command := exec.Command("ssh-keygen", "-l", "-f", "-")
	command.Stdin = strings.NewReader(key + "\n")
	out, err := command.Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(out))[1]
}

func TestAppRoleCreateThatFailsLeavesNothing(t *testing.T) {
	t.Parallel()
	s := bed(t).Server(t, testbed.Debian12)
	w := newWorkspace(t, s)
	w.Write("main.tf", webConfig)
	before := s.SSH(t, `docker ps --all --quiet; ls -A`)
	for image, want := range map[string]string{"app:crash": "exit code 3", "app:unhealthy": "database is down", "app:missing": "manifest unknown"} {
		w.Setenv("TF_VAR_image", w.Bed.Image(image))
		w.ApplyFails("Unable to deploy shop-web "+strings.TrimPrefix(image, "app:")+" on "+s.Address, want,
			"Running now: nothing of this role ran before, and nothing does now", "What to do: ")
		if left := w.Addresses(); len(left) > 0 {
			t.Errorf("%s: in the state: %q", image, left)
		}
		if left := s.SSH(t, `docker ps --all --quiet; find .kamal \( -name 'lock-*' -o -name '*.json' \)`); left != "" {
			t.Errorf("%s: left on the server:\n%s", image, left)
		}
	}
	wantSame(t, "the server", before, strings.TrimSuffix(s.SSH(t, `docker ps --all --quiet; ls -A | grep -vx .kamal`), "\n"))
	w.Setenv("TF_VAR_image", w.Bed.Image("app:v1"))
	w.Apply()

	// What somebody had stopped before is there as it was after a failed create.
	w.Destroy()
	s.SSH(t, `docker run --detach --name shop-web-unhealthy --network kamal --label service=shop --label role=web --label destination `+w.Bed.Image("app:v1")+`
docker stop shop-web-unhealthy`)
	kept := s.SSH(t, `docker ps --all --no-trunc --format '{{.ID}} {{.Names}} {{.State}}'`)
	w.Setenv("TF_VAR_image", w.Bed.Image("app:unhealthy"))
	w.ApplyFails("database is down")
	wantSame(t, "the stopped container", kept, s.SSH(t, `docker ps --all --no-trunc --format '{{.ID}} {{.Names}} {{.State}}'`))
}

func TestAppRolePlanErrors(t *testing.T) {
	story(t)
	t.Parallel()
	w := newWorkspace(t)
	for name, tt := range map[string]struct {
		body string
		says []string
	}{
		"a health-check interval of 0":      {`healthcheck = { interval = "0s" }`, []string{"Invalid duration", `"0s" is not a duration of at least 1ms`}},
		"a health-check path with a query":  {`healthcheck = { path = "/up?x=1" }`, []string{"must begin with / and have no query"}},
		"a malformed server":                {`servers = ["root@:22"]`, []string{"Invalid server address", "[user@]address[:port]"}},
		"a server twice":                    {`servers = ["10.0.0.1", "10.0.0.1"]`, []string{"duplicate", "10.0.0.1"}},
		"no server":                         {`servers = []`, []string{"at least 1"}},
		"an image without a tag":            {`image = "registry.example.com/shop"`, []string{"Image without a version", "has neither a tag nor a digest"}},
		"a host with a port and no tag":     {`image = "registry.example.com:5000/shop"`, []string{"Image without a version"}},
		"no image reference":                {`image = "Shop:v1"`, []string{"Invalid image", `"Shop:v1" is not an image reference`}},
		"a bad amount of memory":            {`memory = "lots"`, []string{"Invalid amount of memory", `"lots" is not an amount of memory`}},
		"too little memory":                 {`memory = "1m"`, []string{"Invalid amount of memory", "at least 6m"}},
		"a reserved label":                  {`labels = { service = "x" }`, []string{"service"}},
		"a label that docker would cut":     {`labels = { "a=b" = "c" }`, []string{"is no name for a label"}},
		"an empty env":                      {`env = {}`, []string{"at least 1"}},
		"a name that is none":               {`env = { "A B" = "c" }`, []string{"is no name for an environment variable"}},
		"a volume without a path":           {`volumes = ["data"]`, []string{"must be NAME:/path"}},
		"a bad duration":                    {`deploy_timeout = "30"`, []string{"Invalid duration", `"30" is not a duration`}},
		"a port out of range":               {`app_port = 70000`, []string{"between 1 and 65535"}},
		"no containers kept":                {`retain_containers = 0`, []string{"at least 1"}},
		"a limit of 0":                      {`boot = { limit = "0" }`, []string{"must be a number of servers, or a percentage"}},
		"an order that nobody knows":        {`boot = { order = "both" }`, []string{"start_first", "stop_first"}},
		"a service that can't be in a name": {`service = "my shop"`, []string{"may have letters, digits, - and _ only"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			attributes := map[string]string{"service": `"shop"`, "servers": `["10.0.0.1"]`, "image": `"registry.example.com/shop:v1"`}
			config := "resource \"kamal_app_role\" \"web\" {\n"
			for a, v := range attributes {
				if !strings.HasPrefix(tt.body, a+" ") {
					config += "  " + a + " = " + v + "\n"
				}
			}
			w.Write("main.tf", config+"  "+tt.body+"\n}\n")
			out := w.PlanFails(tt.says...)
			attribute, _, _ := strings.Cut(tt.body, " ")
			if !strings.Contains(out, attribute) {
				t.Errorf("the attribute %s is not named:\n%s", attribute, out)
			}
			if calls := w.Calls(); len(calls) > 0 {
				t.Errorf("a server was called: %v", calls)
			}
		})
	}
}
