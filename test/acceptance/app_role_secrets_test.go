package acceptance

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const secretsConfig = `
variable "password" {
  type      = string
  ephemeral = true
}
variable "key" {
  type      = string
  ephemeral = true
}
variable "image" { type = string }
resource "kamal_app_role" "web" {
  service = "shop"
  servers = {{servers}}
  image   = var.image
  readiness_delay = "1s"
  deploy_timeout = "5s"
  secrets = {
    PASSWORD   = var.password
    MASTER_KEY = var.key
    "foo.bar"  = "${substr(var.password, 0, 6)}-dotted"
    TOKEN      = "${var.password}\nas a file\n"
  }
  secrets_as_files = ["TOKEN"]
}
`

func TestAppRoleSecretsArriveAndStayHidden(t *testing.T) {
	story(t)
	t.Parallel()
	s := bed(t).Warm(t, oldest)
	w := newWorkspace(t, s)
	w.Write("main.tf", secretsConfig)
	key := "-----BEGIN KEY-----\nmulti$line `tick` \\ \"quoted\" 'single'\n-----END KEY-----\n\n"
	w.Setenv("TF_VAR_password", "p4ss$wörd'\"\\ -x")
	w.Setenv("TF_VAR_key", key)
	w.Setenv("TF_VAR_image", w.Bed.Image("app:v1"))
	w.Setenv("TF_LOG", "TRACE")
	w.Setenv("TF_LOG_PATH", filepath.Join(w.Dir, "trace.log"))
	first := w.Apply()

	container := func(name string) string {
		b, err := base64.StdEncoding.DecodeString(strings.TrimSpace(s.SSH(t, `docker exec $(docker ps -q --filter name='^shop-web-') app env `+name+` | base64 -w0`)))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for name, want := range map[string]string{"PASSWORD": "p4ss$wörd'\"\\ -x", "MASTER_KEY": key, "foo.bar": "p4ss$w-dotted"} {
		if got := container(name); got != want {
			t.Errorf("%s arrived as %q, want %q", name, got, want)
		}
	}
	if got := s.SSH(t, `stat -c %a .kamal/apps/shop/env/roles/web.env`); strings.TrimSpace(got) != "600" {
		t.Errorf("mode of the env file: %s", got)
	}

	wantFile := func(want string, containers int) {
		t.Helper()
		if got := s.SSH(t, `c=$(docker ps -q --filter name='^shop-web-'); docker exec $c app cat /run/secrets/TOKEN; docker exec $c app env TOKEN_FILE; docker exec $c app env TOKEN; echo .`); got != want+"\nas a file\n/run/secrets/TOKEN." {
			t.Errorf("the file holds %q, want %q", got, want)
		}
		// Each container that is kept has its own.
		if got := s.SSH(t, `ls .kamal/apps/shop/secrets | wc -l; docker inspect $(docker ps -q) | grep -c "as a file" || :`); got != fmt.Sprintf("%d\n0", containers) {
			t.Errorf("places of secret files, and how often docker inspect shows them: %q", got)
		}
	}
	wantFile("p4ss$wörd'\"\\ -x", 1)

	// A changed secret shows by its name, and replaces the container.
	w.Setenv("TF_VAR_password", "r0tated-secret")
	p := w.Plan()
	if p.Actions("kamal_app_role.web") != "update" || !says(p.Text, `~ "PASSWORD"`) || says(p.Text, `~ "MASTER_KEY"`) {
		t.Errorf("plan of a rotation:\n%s", p.Text)
	}
	// So it does beside another change.
	w.Setenv("TF_VAR_image", w.Bed.Image("app:v2"))
	if p := w.Plan(); !p.Unknown("kamal_app_role.web", "secret_digests", "PASSWORD") || p.Unknown("kamal_app_role.web", "secret_digests", "MASTER_KEY") {
		t.Errorf("plan of a rotation with another image:\n%s", p.Text)
	}
	w.Setenv("TF_VAR_image", w.Bed.Image("app:v1"))
	second := w.Apply()
	if got := container("PASSWORD"); got != "r0tated-secret" {
		t.Errorf("after the rotation: %q", got)
	}
	wantFile("r0tated-secret", 2)
	// A failed deploy tells a lot, but no secret.
	w.Setenv("TF_VAR_image", w.Bed.Image("app:crash"))
	third := w.ApplyFails("exit code 3")
	wantFile("r0tated-secret", 2)
	w.Setenv("TF_VAR_image", w.Bed.Image("app:v1"))
	w.Apply()

	state, err := os.ReadFile(filepath.Join(w.Dir, "terraform.tfstate"))
	if err != nil {
		t.Fatal(err)
	}
	trace, err := os.ReadFile(filepath.Join(w.Dir, "trace.log"))
	if err != nil {
		t.Fatal(err)
	}
	logs := ""
	files, _ := filepath.Glob(filepath.Join(w.logs, "*"))
	for _, f := range files {
		b, _ := os.ReadFile(f)
		logs += string(b)
	}
	server := s.SSH(t, `cat .kamal/*.log .kamal/terraform/* 2>/dev/null; grep -rl r0tated /root /tmp /dev/shm /run 2>/dev/null | grep -v -e /apps/shop/env/ -e /apps/shop/secrets/ || :`)
	for _, value := range []string{"p4ss$wörd", "r0tated-secret", "multi$line", "p4ss$w-dotted"} {
		for what, text := range map[string]string{"state": string(state), "trace log": string(trace), "logs and plan files": logs, "server": server, "output": first + second + third} {
			for how, form := range map[string]string{"plain": value, "base64": strings.TrimRight(base64.StdEncoding.EncodeToString([]byte(value)), "=")[:12], "URL-encoded": url.QueryEscape(value)} {
				if strings.Contains(text, form) {
					t.Errorf("%s holds %q (%s)", what, value, how)
				}
			}
		}
	}

	// Taken over by another state, the same secrets plan empty; without them, a warning names them.
	w.CLI("state", "rm", "kamal_app_role.web")
	before := s.SSH(t, `docker ps --quiet`)
	w.Import("kamal_app_role.web", "shop/web@"+s.Address)
	w.Apply() // no container tells its readiness_delay, but that changes none
	if after := s.SSH(t, `docker ps --quiet`); after != before {
		t.Errorf("the import with the same secrets replaced the container: %s, was %s", after, before)
	}
	if got := w.State("kamal_app_role.web")["secrets_as_files"]; !slices.Equal(got.([]any), []any{"TOKEN"}) {
		t.Errorf("imported secrets_as_files: %v", got)
	}
	w.Write("main.tf", strings.Replace(secretsConfig, "MASTER_KEY", "#", 1))
	if p := w.Plan(); !says(p.Text, "doesn't have them: MASTER_KEY") {
		t.Errorf("no warning of a lost secret:\n%s", p.Text)
	}
}
