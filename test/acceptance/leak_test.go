package acceptance

import (
	"archive/zip"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// leakProvider and leakConfig take a secret at every place that takes one, and
// all of them as the docs recommend: from ephemeral variables, which are set in
// the environment. "fails" is what is there only to fail.
const (
	leakProvider = `
  ssh        = { private_key = var.ssh_key, known_hosts = %q, sudo_password = var.sudo_password }
  registries = { %q = { username = %q, password = var.registry_password } }
`
	leakConfig = `
locals {
  secrets = {
    PASSWORD     = var.password
    DATABASE_URL = provider::kamal::postgres_url("leak", var.password, "leak-db", 5432, "leak")
    BASIC        = base64encode("leak:${var.password}")
    TOKEN        = var.token
  }
  prints = ["app", "job", "/dev/null", "$PASSWORD|$DATABASE_URL|$BASIC|$TOKEN", "0", "3"]
}
variable "fails" { default = "" }
variable "image" { default = "{{image "app:v1"}}" }
resource "kamal_server" "web" {
  server = "{{server 0}}"
}
resource "kamal_proxy" "web" {
  server = kamal_server.web.server
  image  = "{{image "basecamp/kamal-proxy"}}"
}
resource "kamal_accessory" "db" {
  server           = kamal_server.web.server
  service          = "leak"
  name             = "db"
  image            = var.image
  secrets          = local.secrets
  secrets_as_files = ["TOKEN"]
  files            = [{ path = "/etc/app/secret.conf", secret_content = "password = ${var.password}\ntoken = ${var.token}\n" }]
}
resource "kamal_task" "migrate" {
  server           = kamal_server.web.server
  service          = "leak"
  name             = "migrate"
  image            = var.image
  command          = ["app", "job", "/dev/null", "$PASSWORD", "1", "0"]
  secrets          = local.secrets
  secrets_as_files = ["TOKEN"]
  secret_triggers  = ["PASSWORD"]
}
resource "kamal_app_role" "web" {
  service          = "leak"
  servers          = [kamal_proxy.web.server]
  image            = var.image
  secrets          = local.secrets
  secrets_as_files = ["TOKEN"]
  app_port         = 3000
  depends_on       = [kamal_task.migrate]
}
resource "kamal_proxy_route" "web" {
  target  = kamal_app_role.web.proxy
  servers = kamal_app_role.web.servers
  hosts   = ["leak.example.com"]
  tls     = { certificate_pem = var.cert, private_key_pem = var.key }
}
resource "kamal_accessory" "fails" {
  count            = var.fails == "apply" ? 1 : 0
  server           = "{{server 0}}"
  service          = "leak"
  name             = "fails"
  image            = var.image
  deploy_timeout   = "8s"
  command          = ["app", "cat", "/run/secrets/TOKEN"]
  secrets          = local.secrets
  secrets_as_files = ["TOKEN"]
}
resource "kamal_task" "fails" {
  count   = var.fails == "apply" ? 1 : 0
  server  = "{{server 0}}"
  service = "leak"
  name    = "fails"
  image   = var.image
  command = local.prints
  secrets = local.secrets
}
resource "kamal_app_role" "fails" {
  count   = var.fails == "apply" ? 1 : 0
  service = "leak"
  role    = "fails"
  servers = {{servers}}
  image   = var.image
  deploy_timeout = "8s"
  command = local.prints
  secrets = local.secrets
}
resource "kamal_app_role" "large" {
  count   = var.fails == "plan" ? 1 : 0
  service = "leak"
  role    = "large"
  servers = {{servers}}
  image   = var.image
  secrets = { LARGE = format("%s%140000s", var.password, "x") }
}
`
)

// leakSampler notes what `ps auxww` shows of arguments and what a lock holds,
// again and again, each line once; a unit, so that it can be ended.
const leakSampler = `systemd-run -q --unit=leak-sampler sh -c 'while :; do ps auxww; cat /root/.kamal/lock*/* 2>/dev/null; sleep 0.05; done |
  sed -u -E "s/^([^ ]+ +){3,4}[0-9.]+ +[0-9]+ +[0-9]+ .{9,30}[0-9]:[0-9]+ //" | awk "!seen[\$0]++ { print; fflush() }" >>/run/leak-samples'`

// leakFiles lists the files, changed since the test began, in which one of the
// patterns is, as a user sees them, and among them that of the patterns. What is
// in its own arguments is no leak: the sampler rests.
const leakFiles = `systemctl stop leak-sampler
cat >/run/leak-patterns <<'PATTERNS'
%sPATTERNS
chmod 644 /run/leak-patterns
find / \( -path /proc -o -path /sys \) -prune -o -type f -newer /run/leak-begin -print0 2>/dev/null |
  LC_ALL=C xargs -0r runuser -u %s -- grep -lasFf /run/leak-patterns || :
rm /run/leak-patterns
`

// TestNoSecretLeaks looks for every secret, in every form, wherever somebody
// who may not know it could look: in state, plans, logs at level TRACE and what
// the CLI says, in the server's process list, lock and files.
func TestNoSecretLeaks(t *testing.T) {
	t.Parallel()
	s := bed(t).Warm(t, newest)
	w := newWorkspace(t, s)
	cert, key := selfSigned(t, 1, "leak.example.com")
	sshKey, err := os.ReadFile(w.Bed.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	secrets := map[string]string{
		"password": `Tr0ub4dor 'quo"ted' $HOME \ 100%+/ü`, "token": "first line of it\nsecond=$line & `tick`\n",
		"registry_password": w.Bed.Registry.Password, "sudo_password": "sudo-s3cret", "key": key, "ssh_key": string(sshKey),
	}
	config := ""
	for _, name := range slices.Sorted(maps.Keys(secrets)) {
		config += "variable \"" + name + "\" {\n  type = string\n  ephemeral = true\n}\n"
		w.Setenv("TF_VAR_"+name, secrets[name])
	}
	w.Write("main.tf", config+"variable \"cert\" {}\n"+leakConfig)
	w.Provider(fmt.Sprintf(leakProvider, w.Bed.KnownHostsFile, w.Bed.Registry.Address, w.Bed.Registry.Username))
	w.Setenv("TF_VAR_cert", cert)
	w.Setenv("TF_LOG", "TRACE")
	w.Setenv("TF_LOG_PROVIDER", "TRACE")

	s.SSH(t, "touch /run/leak-begin\n"+leakSampler)
	w.Apply()
	secrets["new password"] = `rotated 'quo"ted' $HOME \ 100%+/ü`
	w.Setenv("TF_VAR_password", secrets["new password"])
	secrets["next registry password"] = `n3xt 'registry' $pass` // is no change of anything
	w.Setenv("TF_VAR_registry_password", secrets["next registry password"])
	p := w.Plan()
	if got := p.NotEmpty(); !slices.Equal(got, []string{"update kamal_accessory.db", "update kamal_app_role.web", "update kamal_task.migrate"}) {
		t.Errorf("plan of a rotation: %q", got)
	}
	w.Setenv("TF_VAR_registry_password", secrets["registry_password"])
	w.Apply(p.File)

	leaks := newLeaks(slices.Collect(maps.Values(secrets)))
	patterns := strings.Join(slices.DeleteFunc(slices.Sorted(maps.Keys(leaks.forms)), func(form string) bool { return strings.Contains(form, "\n") }), "\n") + "\n"
	search := func(user string) []string {
		t.Helper()
		files := strings.Fields(s.SSH(t, fmt.Sprintf(leakFiles, patterns, user)+leakSampler))
		control := slices.Index(files, "/run/leak-patterns")
		if control < 0 {
			t.Fatalf("the search finds nothing that %s can read, only %q", user, files)
		}
		return slices.Delete(files, control, control+1)
	}
	if got := search("nobody"); len(got) != 0 {
		t.Errorf("everybody on the server can read secrets in %q", got)
	}
	// What root finds: the place of each is known.
	const containerd = "/var/lib/containerd/io.containerd.metadata.v1.bolt/meta.db"
	places := regexp.MustCompile(`^(/root/\.kamal/(apps/leak/(env|secrets)/|proxy/apps-config/leak/tls/web/key\.pem$)` +
		`|/root/leak-db/|` + containerd + `|/var/lib/docker/containers/[0-9a-f]{64}/(config\.v2\.json|[0-9a-f]{64}-json\.log)$|/run/(docker/)?containerd/)`)
	found := search("root")
	if len(found) < 5 {
		t.Errorf("root finds secrets only in %q", found)
	}
	for _, file := range found {
		if !places.MatchString(file) {
			t.Errorf("a secret is in %s", file)
		}
	}

	// Failures: what the app prints, and what cannot be logged in with.
	w.Setenv("TF_VAR_fails", "apply")
	w.ApplyFails("Unable to create the accessory leak-fails", "Unable to run the task leak/fails", "Unable to deploy leak-fails v1", "exit code 3")
	w.Setenv("TF_VAR_fails", "plan")
	w.ApplyFails("LARGE has 140040 bytes")
	w.Setenv("TF_VAR_fails", "")
	secrets["wrong registry password"], secrets["other key"] = `wr0ng 'registry' $pass`, func() string { _, key := selfSigned(t, 2, "leak.example.com"); return key }()
	w.Setenv("TF_VAR_key", secrets["other key"])
	w.ApplyFails("private key does not match public key")
	w.Setenv("TF_VAR_key", key)
	w.Setenv("TF_VAR_registry_password", secrets["wrong registry password"])
	w.Setenv("TF_VAR_image", w.Bed.Image("app:v2"))
	w.ApplyFails("check the username and the password", w.Bed.Registry.Address)
	w.Setenv("TF_VAR_registry_password", secrets["registry_password"])
	w.Destroy()
	// containerd's database keeps what was in it, environments too, until it needs the room.
	if got := slices.DeleteFunc(search("root"), func(file string) bool { return file == containerd }); len(got) != 0 {
		t.Errorf("after destroy, secrets are in %q", got)
	}

	leaks = newLeaks(slices.Collect(maps.Values(secrets)))
	leaks.files(t, w.Dir, w.logs)
	if log, err := os.ReadFile(w.lastLog); err != nil || !strings.Contains(string(log), "[TRACE]") || !strings.Contains(string(log), "terraform-provider-kamal") {
		t.Errorf("the log has no level TRACE: %v", err)
	}
	for name, content := range unzip(t, p.File) {
		leaks.text(t, "plan file: "+name, content)
	}
	samples := s.SSH(t, "systemctl stop leak-sampler; cat /run/leak-samples")
	leaks.text(t, "ps auxww or the lock", samples)
	for _, want := range []string{"docker run ", "docker exec kamal-proxy kamal-proxy deploy leak-web", "app job /dev/null $PASSWORD"} {
		if !strings.Contains(samples, want) {
			t.Errorf("the samples of ps auxww don't have %q", want)
		}
	}
}

// unzip returns the files of a plan, which is a zip archive on both CLIs.
func unzip(t *testing.T, path string) map[string]string {
	t.Helper()
	archive, err := zip.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	files := map[string]string{}
	for _, f := range archive.File {
		file, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(file)
		if err != nil {
			t.Fatal(err)
		}
		files[f.Name] = string(content)
	}
	if files["tfplan"] == "" {
		t.Errorf("%s has the files %q", path, slices.Sorted(maps.Keys(files)))
	}
	return files
}
