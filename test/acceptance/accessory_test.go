package acceptance

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/test/testbed"
)

const accessoryConfig = `
variable "image" { type = string }
variable "mood" { default = "calm" }
variable "password" {
  type      = string
  ephemeral = true
}
resource "kamal_accessory" "db" {
  server         = "{{server 0}}"
  service        = "shop"
  name           = "db"
  image          = var.image
  env            = { MOOD = var.mood }
  secrets        = { PASSWORD = var.password, TOKEN = "${var.password} as a file" }
  secrets_as_files = ["TOKEN"]
  ports          = ["5432:3000"]
  volumes        = ["shop-data:/data"]
  directories    = ["conf:/conf"]
  files          = [
    { path = "/etc/db.cnf", content = "mood = ${var.mood}\n", mode = "0640", owner = "1000:1000" },
    { path = "/etc/db.key", secret_content = "${var.password}\n in its own file\n\n", mode = "0400", owner = "1000:1000" },
  ]
  memory         = "128m"
  options        = { shm_size = "96m", ulimits = { nofile = "4096" }, init = true, cap_drop = ["NET_RAW"], tmpfs = { "/scratch" = "size=1m" }, restart = "always" }
  healthcheck    = { port = 3000 }
  deploy_timeout = "10s"
  stop_timeout   = "3s"
}
`

func TestAccessoryKeepsItsDataThroughReplacements(t *testing.T) {
	aboutServers(t)
	t.Parallel()
	s := bed(t).Server(t, testbed.Debian12)
	w := newWorkspace(t, s)
	const secret = "p4ss$w0rd'\n-x\\ \"quoted\""
	w.Write("main.tf", accessoryConfig)
	w.Setenv("TF_VAR_image", w.Bed.Image("app:v1"))
	w.Setenv("TF_VAR_password", secret)
	w.Apply()
	inspect := func(format string) string {
		return strings.TrimSpace(s.SSH(t, `docker inspect -f '`+format+`' shop-db`))
	}
	const data = `/var/lib/docker/volumes/shop-data/_data/row`
	s.SSH(t, `echo precious > `+data+`; echo kept > shop-db/conf/kept`)
	if got := s.SSH(t, `docker port shop-db`); strings.TrimSpace(got) != "3000/tcp -> 127.0.0.1:5432" {
		t.Errorf("published: %q", got)
	}
	if got := s.SSH(t, `docker exec shop-db app env PASSWORD; echo .`); got != secret+"." {
		t.Errorf("the secret arrived as %q", got)
	}
	if got := inspect(`{{index .Config.Labels "service"}} {{.HostConfig.RestartPolicy.Name}} {{.HostConfig.ShmSize}} {{.HostConfig.Init}} {{.HostConfig.CapDrop}} {{.HostConfig.Tmpfs}}`); got != "shop-db always 100663296 true [NET_RAW] map[/scratch:size=1m]" {
		t.Errorf("container: %q", got)
	}
	file := func() string {
		return s.SSH(t, `f=$(docker inspect -f '{{range .HostConfig.Binds}}{{println .}}{{end}}' shop-db | sed -n 's,:/etc/db.cnf$,,p'); stat -c '%a %u:%g' "$f"; cat "$f"`)
	}
	if got := file(); got != "640 1000:1000\nmood = calm" {
		t.Errorf("file: %q", got)
	}
	if got := s.SSH(t, `stat -c %a .kamal/apps/shop/env/accessories/db.env`); strings.TrimSpace(got) != "600" {
		t.Errorf("mode of the env file: %s", got)
	}

	wantSecretFiles := func(secret string) {
		t.Helper()
		if got := s.SSH(t, `docker exec shop-db app cat /run/secrets/TOKEN; docker exec shop-db app env TOKEN_FILE; docker exec shop-db app cat /etc/db.key; echo .`); got != secret+" as a file/run/secrets/TOKEN"+secret+"\n in its own file\n\n." {
			t.Errorf("the secret files hold %q", got)
		}
		if got := s.SSH(t, `docker inspect shop-db | grep -c -e "as a file" -e "in its own file" || :`); got != "0" {
			t.Errorf("docker inspect shows secret files %s times", got)
		}
		if got := s.SSH(t, `ls .kamal/apps/shop/secrets | wc -l; stat -c %a .kamal/apps/shop/secrets; ! runuser -u deploy -- ls -R .kamal/apps/shop/secrets 2>/dev/null`); got != "2\n700" {
			t.Errorf("places of secret files: %q", got)
		}
	}
	wantSecretFiles(secret)

	// A change of what it is made of replaces it; data and directory stay.
	first := dig(w.State("kamal_accessory.db"), "container")
	w.Setenv("TF_VAR_mood", "lively")
	w.Apply()
	second := dig(w.State("kamal_accessory.db"), "container")
	if second == first {
		t.Error("the container was not replaced")
	}
	if got := s.SSH(t, `docker exec shop-db app env MOOD; cat `+data+` shop-db/conf/kept; ls shop-db/files | wc -l`); got != "livelyprecious\nkept\n1" {
		t.Errorf("after the replacement: %q", got)
	}

	// A version that never gets ready: the old container is put back, with its own file.
	w.Setenv("TF_VAR_mood", "broken")
	w.Setenv("TF_VAR_image", w.Bed.Image("app:crash"))
	w.ApplyFails("Unable to replace the accessory shop-db on "+s.Address, "exit code 3", "could not connect to database", "the old container was put back and is ready")
	if got := s.SSH(t, `docker ps -a --format '{{.Names}}'; docker exec shop-db app env MOOD; cat `+data+`; ls .kamal`); !strings.HasPrefix(got, "shop-db\nlivelyprecious\n") || strings.Contains(got, "lock-shop") {
		t.Errorf("after a broken version: %q", got)
	}
	if got := inspect("{{.Id}}"); got != second {
		t.Errorf("another container than the old one runs: %s", got)
	}
	if got := file(); got != "640 1000:1000\nmood = lively" {
		t.Errorf("file after a broken version: %q", got)
	}
	wantSecretFiles(secret)
	w.Setenv("TF_VAR_mood", "lively")
	w.Setenv("TF_VAR_image", w.Bed.Image("app:v1"))
	w.PlanEmpty()

	// A secret file that is changed by hand shows by its name, and a rotation reaches all.
	s.SSH(t, `f=$(docker inspect -f '{{range .HostConfig.Binds}}{{println .}}{{end}}' shop-db | sed -n 's,:/etc/db.key$,,p'); chmod 600 "$f"; echo tampered > "$f"`)
	if p := w.Plan(); p.Actions("kamal_accessory.db") != "update" || !says(p.Text, `~ "/etc/db.key"`) || says(p.Text, `~ "TOKEN"`) {
		t.Errorf("plan after a secret file was changed by hand:\n%s", p.Text)
	}
	w.Setenv("TF_VAR_password", "rotated")
	w.Apply()
	wantSecretFiles("rotated")

	// What somebody does by hand shows, and an apply mends it.
	s.SSH(t, `docker stop -t 1 shop-db`)
	if p := w.Plan(); p.Actions("kamal_accessory.db") != "update" || p.Before("kamal_accessory.db", "running") != false {
		t.Errorf("plan after docker stop:\n%s", p.Text)
	}
	w.Apply()
	s.SSH(t, `docker rm -f shop-db`)
	if p := w.Plan(); p.Actions("kamal_accessory.db") != "create" {
		t.Errorf("plan after docker rm: %s", p.Actions("kamal_accessory.db"))
	}
	w.Apply()
	if got := s.SSH(t, `cat `+data); got != "precious" {
		t.Errorf("data after docker rm: %q", got)
	}

	// Another state is refused, and can take it over.
	w.CLI("state", "rm", "kamal_accessory.db")
	before := inspect("{{.Id}}")
	w.ApplyFails("the accessory is there already", "tofu import ADDRESS 'shop/db@"+s.Address+"'")
	w.Import("kamal_accessory.db", "shop/db@"+s.Address)
	if p := w.Plan(); strings.Contains(strings.Join(p.Changed("kamal_accessory.db"), " "), "container") || len(object(p.Before("kamal_accessory.db", "secret_digests"))) != 3 {
		t.Errorf("the import would be replaced: %q\n%s", p.Changed("kamal_accessory.db"), p.Text)
	}
	w.Apply() // no container tells its timeouts, but that replaces none
	if got := inspect("{{.Id}}"); got != before {
		t.Error("the import replaced the container")
	}

	out := w.Destroy()
	if !says(out, "volume shop-data") || !says(out, "/shop-db/conf") {
		t.Errorf("no word of what was kept:\n%s", out)
	}
	if got := s.SSH(t, `docker ps -aq; cat `+data+` shop-db/conf/kept; ls -A .kamal/terraform .kamal/apps/shop 2>/dev/null || :; ls -d .kamal/apps/shop/secrets 2>/dev/null || :`); got != "precious\nkept" {
		t.Errorf("after destroy: %q", got)
	}

	// delete_data takes what this resource created, and nothing that was there before.
	w.Write("main.tf", strings.Replace(strings.Replace(accessoryConfig, `"shop-data:/data"`, `"shop-data:/data", "fresh-data:/fresh"`, 1), "memory ", "delete_data = true\n  memory ", 1))
	w.Apply()
	out = w.Destroy()
	if got := s.SSH(t, `docker volume ls -q; cat shop-db/conf/kept`); got != "shop-data\nkept" || !says(out, "volume shop-data") {
		t.Errorf("after destroy with delete_data: %q\n%s", got, out)
	}
}

// TestAccessoryKilledMidway kills the provider in the middle of replacements
// and applies again.
func TestAccessoryKilledMidway(t *testing.T) {
	aboutServers(t)
	t.Parallel()
	s := bed(t).Server(t, testbed.Debian13)
	w := newWorkspace(t, s)
	w.Write("main.tf", strings.Replace(accessoryConfig, "healthcheck    = { port = 3000 }", "", 1))
	w.Setenv("TF_VAR_password", "secret-of-the-day")
	w.Setenv("TF_VAR_image", w.Bed.Image("app:withhealth"))
	w.Apply()
	const data = `/var/lib/docker/volumes/shop-data/_data/row`
	s.SSH(t, `echo precious > `+data)

	moments := []struct{ name, mood, seen string }{
		{"once the old container was told to stop", "one", `docker events --since 60s --until 0s --filter event=kill --filter container=shop-db | grep -q . && ls .kamal/lock-shop >/dev/null`},
		{"while the new container starts", "two", `docker ps --format '{{.Names}} {{.Status}}' | grep -q '^shop-db .*starting' && docker ps -a --format '{{.Names}}' | grep -q _replaced_`},
	}
	for _, m := range moments {
		w.Setenv("TF_VAR_mood", m.mood)
		p := w.Start()
		eventually(t, time.Minute, m.name, func() bool {
			_, err := s.Run(context.Background(), m.seen)
			return err == nil || !p.Running()
		})
		if !p.Running() {
			t.Fatalf("%s: the apply was over before it could be killed:\n%s", m.name, p.Output())
		}
		p.KillProvider()
		p.Wait()
		t.Logf("killed %s: %s", m.name, s.SSH(t, `docker ps -a --format '{{.Names}} {{.Status}}'`))
		w.Apply()
		if got := s.SSH(t, `docker ps -a --format '{{.Names}}'; docker exec shop-db app env MOOD; cat `+data+`; ls .kamal`); !strings.HasPrefix(got, "shop-db\n"+m.mood+"precious\n") || strings.Contains(got, "lock-shop") {
			t.Errorf("killed %s, after the next apply: %q", m.name, got)
		}
	}
}

// TestAccessoryIsFollowedByItsRoute also shows what is refused.
func TestAccessoryIsFollowedByItsRoute(t *testing.T) {
	aboutServers(t)
	t.Parallel()
	s := bed(t).Server(t, testbed.Debian12)
	w := newWorkspace(t, s)
	const config = `
variable "image" { type = string }
resource "kamal_accessory" "search" {
  server   = "{{server 0}}"
  service  = "shop"
  name     = "search"
  image    = var.image
  app_port = 3000
  deploy_timeout = "5s"
  ports    = ["0.0.0.0:7700:3000"]
}
`
	w.Setenv("TF_VAR_image", w.Bed.Image("app:unhealthy"))
	w.Write("main.tf", strings.Replace(config, `ports `, "healthcheck = { command = [\"app\", \"healthcheck\"] }\n  volumes = [\"search-data:/data\"]\n  ports ", 1))
	w.ApplyFails("Unable to create the accessory shop-search on "+s.Address, "503", "did not get ready in time")
	if got := s.SSH(t, `docker ps -aq; docker volume ls -q; ls .kamal/terraform 2>/dev/null || :`); got != "" || len(w.Addresses()) != 0 {
		t.Errorf("left of a failed create: %q, state %q", got, w.Addresses())
	}

	s.SSH(t, `docker run -d --name shop-search --network kamal `+w.Bed.Image("app:unhealthy"))
	w.Setenv("TF_VAR_image", w.Bed.Image("app:v1"))
	w.Write("main.tf", config)
	w.ApplyFails("a container that is not an accessory has the name shop-search")
	w.ImportFails("kamal_accessory.search", "shop/search@"+s.Address, "Nothing to import")
	s.SSH(t, `docker rm -f shop-search`)

	bootProxy(t, s)
	w.Write("route.tf", `
resource "kamal_proxy_route" "search" {
  target  = kamal_accessory.search.proxy
  servers = [kamal_accessory.search.server]
  hosts   = ["search.example.com"]
}
`)
	if out := w.Apply(); !says(out, "Restrict them with kamal_firewall") {
		t.Errorf("no warning of a public port:\n%s", out)
	}
	wantVersion(t, s, "http://search.example.com/", "v1")
	w.Setenv("TF_VAR_image", w.Bed.Image("app:v2"))
	w.Apply()
	wantVersion(t, s, "http://search.example.com/", "v2")
	w.Setenv("TF_VAR_image", w.Bed.Image("app:unhealthy"))
	w.ApplyFails("the old container was put back and is ready")
	wantVersion(t, s, "http://search.example.com/", "v2")
}
