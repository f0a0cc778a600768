package acceptance

import (
	"archive/zip"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kamal-terraform/terraform-provider-kamal/test/testbed"
)

const registriesConfig = `
variable "web" { type = string }
variable "db" { type = string }
variable "password" {
  type      = string
  ephemeral = true
}
variable "token" {
  type      = string
  ephemeral = true
}
resource "kamal_app_role" "web" {
  service         = "shop"
  servers         = {{servers}}
  image           = var.web
  readiness_delay = "1s"
}
resource "kamal_accessory" "db" {
  server  = "{{server 0}}"
  service = "shop"
  name    = "db"
  image   = var.db
}
`

func TestTwoRegistriesWithTokens(t *testing.T) {
	aboutServers(t)
	t.Parallel()
	s := bed(t).Warm(t, testbed.Debian12)
	w := newWorkspace(t, s)
	first := w.Bed.Registry
	second := newTokenRegistry(t, w.Bed, "t0ken-number-one")
	s.SSH(t, fmt.Sprintf("mkdir -p /etc/docker/certs.d/%[1]s; echo %[2]s | base64 -d > /etc/docker/certs.d/%[1]s/ca.crt", second.Address, base64.StdEncoding.EncodeToString(second.ca)))
	own := fmt.Sprintf("%q = { username = %q, password = var.password }", first.Address, first.Username)
	provider := "ssh = {{ssh}}\nregistries = { " + own + ", " + fmt.Sprintf("%q = { username = %q, password = var.token }", second.Address, robot) + " }"
	w.Provider(provider)
	w.Write("main.tf", registriesConfig)
	set := func(values map[string]string) {
		for name, value := range values {
			w.Setenv("TF_VAR_"+name, value)
		}
	}
	set(map[string]string{"web": second.Address + "/app:v1", "db": first.Address + "/team/other:v1", "password": first.Password, "token": "t0ken-number-one"})

	// In the middle of a pull, the log-in is in a file in memory, and nowhere else.
	var seen string
	var failed error
	second.during = func() {
		seen, failed = s.Run(context.Background(), `ps auxww
for e in /proc/[0-9]*/environ; do tr '\0' '\n' < "$e" 2>/dev/null || :; done
echo '== config'; stat -c '%a %U %n' /dev/shm/docker-config.* /dev/shm/docker-config.*/config.json`)
	}
	w.Apply()
	argv, config, _ := strings.Cut(seen, "== config\n")
	if failed != nil || !strings.Contains(argv, "docker pull") || !strings.HasPrefix(config, "700 root /dev/shm/") || !strings.Contains(config, "\n600 root /dev/shm/") {
		t.Errorf("during a pull: %v, files %q", failed, config)
	}
	wantNoLogin(t, "a process during a pull", argv, first.Username+":"+first.Password, robot+":t0ken-number-one")
	second.wantHeard(t, robot+":t0ken-number-one")
	if got := names(t, s); got != "shop-db shop-web-v1" {
		t.Errorf("running: %q", got)
	}

	// Another token is no change of anything, and the next pull has it.
	second.rotate("t0ken-number-two", http.StatusUnauthorized)
	set(map[string]string{"token": "t0ken-number-two"})
	w.PlanEmpty()
	set(map[string]string{"web": second.Address + "/app:v2"})
	w.Apply()
	second.wantHeard(t, robot+":t0ken-number-two")

	// What fails to be pulled leaves alone what runs.
	before := footprint(t, s)
	fails := func(values map[string]string, texts ...string) {
		t.Helper()
		set(values)
		w.ApplyFails(texts...)
		wantSame(t, "the server", before, footprint(t, s))
	}
	const still = "Running now: the old version goes on as before, container shop-web-v2"
	for _, status := range []int{http.StatusUnauthorized, http.StatusForbidden} {
		second.rotate("t0ken-number-three", status)
		fails(map[string]string{"web": second.Address + "/app:v3"}, "Unable to deploy shop-web v3 on "+s.Address,
			`check the username and the password of registries["`+second.Address+`"]`, still)
		second.wantHeard(t, robot+":t0ken-number-two")
	}
	second.rotate("t0ken-number-three", http.StatusUnauthorized)
	set(map[string]string{"token": "t0ken-number-three"})
	w.Apply()
	second.wantHeard(t, robot+":t0ken-number-three")

	before = footprint(t, s)
	const nothing = "Running now: what ran before, nothing was changed"
	w.Provider("ssh = {{ssh}}\nregistries = { " + own + " }")
	fails(map[string]string{"db": second.Address + "/app:withhealth"}, "Unable to replace the accessory shop-db on "+s.Address,
		"give the log-in for "+second.Address+" in the provider's registries", nothing)
	nobody := second.Address[:strings.LastIndex(second.Address, ":")] + ":1"
	fails(map[string]string{"db": nobody + "/app:v1"}, "Unable to replace the accessory shop-db on "+s.Address,
		"check that "+s.Address+" reaches the registry "+nobody, nothing)
	w.Provider(provider)
	set(map[string]string{"db": first.Address + "/team/other:v1"})
	w.PlanEmpty()

	logins := []string{first.Username + ":" + first.Password, robot + ":t0ken-number-one", robot + ":t0ken-number-two", robot + ":t0ken-number-three"}
	patterns := ""
	for _, l := range logins {
		patterns += " -e " + strings.Join(loginForms(l), " -e ")
	}
	if got := s.SSH(t, `ls -A /dev/shm; ls -d /root/.docker 2>/dev/null || :; grep -rlF `+patterns+` /root /home /tmp /var/tmp /dev/shm /run /etc /var/log /var/lib/docker 2>/dev/null || :`); got != "" {
		t.Errorf("left on the server:\n%s", got)
	}
	w.Plan("-var", "db="+first.Address+"/app:v1")
	for name, content := range workFiles(t, w) {
		wantNoLogin(t, name, content, logins...)
	}
}

// loginForms are the ways in which tools write a log-in down.
func loginForms(login string) []string {
	_, password, _ := strings.Cut(login, ":")
	return []string{password, base64.StdEncoding.EncodeToString([]byte(login))}
}

func wantNoLogin(t *testing.T, where, text string, logins ...string) {
	t.Helper()
	for _, l := range logins {
		for _, form := range loginForms(l) {
			if strings.Contains(text, form) {
				t.Errorf("%s holds %s", where, form)
			}
		}
	}
}

// workFiles are the state, the provider's logs and what is in plan files, by name.
func workFiles(t *testing.T, w *workspace) map[string]string {
	t.Helper()
	out := map[string]string{}
	logs, _ := filepath.Glob(filepath.Join(w.logs, "*"))
	plans := 0
	for _, file := range append(logs, filepath.Join(w.Dir, "terraform.tfstate")) {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		out[filepath.Base(file)] = string(content)
		if !strings.HasSuffix(file, ".tfplan") {
			continue
		}
		plans++
		archive, err := zip.OpenReader(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, member := range archive.File {
			opened, err := member.Open()
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(opened)
			if err != nil {
				t.Fatal(err)
			}
			out[filepath.Base(file)+"/"+member.Name] = string(b)
		}
		archive.Close()
	}
	if plans == 0 || len(out) < 10 {
		t.Fatalf("only %d files, %d plans", len(out), plans)
	}
	return out
}

// A log-in under a name that no image has would never be used.
func TestRegistriesUnderWrongNames(t *testing.T) {
	t.Parallel()
	w := newWorkspace(t)
	body := "ssh = {{ssh}}\nregistries = {\n"
	var texts []string
	for given, meant := range map[string]string{
		"https://registry.example.com": "registry.example.com", "registry.example.com:5000/shop": "registry.example.com:5000",
		"https://index.docker.io/v1/": "docker.io", "hub.docker.com": "docker.io", "shop": "", "": "",
	} {
		body += fmt.Sprintf("  %q = { username = \"u\", password = \"p\" }\n", given)
		texts = append(texts, fmt.Sprintf("registries: %q is not a registry's host as in image references", given))
		if meant != "" {
			texts = append(texts, fmt.Sprintf("for Docker Hub. Write %q.", meant))
		}
	}
	slices.Sort(texts)
	w.Provider(body + "}")
	w.Write("main.tf", `
resource "kamal_accessory" "db" {
  server  = "10.0.0.1"
  service = "shop"
  name    = "db"
  image   = "registry.example.com/db:v1"
}
`)
	w.PlanFails(texts...)
	if calls := w.Calls(); len(calls) > 0 {
		t.Errorf("a server was called: %v", calls)
	}
}
