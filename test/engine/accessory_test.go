package engine

import (
	"strings"
	"testing"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/accessory"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/secret"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/workload"
)

// database is an accessory as a database is: with data, secrets and files.
func database(mood, password string) func(*accessory.Spec) {
	return func(s *accessory.Spec) {
		s.Env = map[string]string{"MOOD": mood}
		s.Secrets = secret.Set{"PASSWORD": password, "TOKEN": password + " as a file"}
		s.AsFiles = []string{"TOKEN"}
		s.Ports, s.Volumes, s.Directories = []string{"5432:3000"}, []string{"shop-data:/data"}, []string{"conf:/conf"}
		s.Files = []accessory.File{
			{Path: "/etc/db.cnf", Content: "mood = " + mood + "\n", Mode: "0640", Owner: "1000:1000"},
			{Path: "/etc/db.key", Content: password + "\n in its own file\n\n", Secret: true, Mode: "0400", Owner: "1000:1000"},
		}
		s.Memory = 128 << 20
		s.Options = docker.Options{ShmSize: 96 << 20, Ulimits: map[string]string{"nofile": "4096"}, Init: true, CapDrop: []string{"NET_RAW"},
			Tmpfs: map[string]string{"/scratch": "size=1m"}, Restart: "always"}
		s.Ready.Port = 3000
	}
}

func TestAccessoryKeepsItsDataThroughReplacements(t *testing.T) {
	onEngines(t, func(e *engine) {
		const password = "p4ss$w0rd'\n-x\\ \"quoted\""
		a := e.accessory(database("calm", password))
		a.deploy()
		e.s.SSH(e, `echo precious > `+dbData+`; echo kept > shop-db/conf/kept`)
		if got := e.s.SSH(e, `docker port shop-db`); got != "3000/tcp -> 127.0.0.1:5432" {
			e.Errorf("published: %q", got)
		}
		if got := e.s.SSH(e, `docker exec shop-db app env PASSWORD; echo .`); got != password+"." {
			e.Errorf("the secret arrived as %q", got)
		}
		got := inspect(e, e.s, "shop-db", `index .Config.Labels "service"}} {{.HostConfig.RestartPolicy.Name}} {{.HostConfig.ShmSize}} {{.HostConfig.Memory}} {{.HostConfig.Init}} {{.HostConfig.CapDrop}} {{.HostConfig.Tmpfs`)
		if strings.Replace(got, "CAP_", "", 1) != "shop-db always 100663296 134217728 true [NET_RAW] map[/scratch:size=1m]" {
			e.Errorf("container: %q", got)
		}
		file := func() string {
			return e.s.SSH(e, `f=$(docker inspect -f '{{range .HostConfig.Binds}}{{println .}}{{end}}' shop-db | sed -n 's,:/etc/db.cnf$,,p'); stat -c '%a %u:%g' "$f"; cat "$f"`)
		}
		if got := file(); got != "640 1000:1000\nmood = calm" {
			e.Errorf("file: %q", got)
		}
		if got := e.s.SSH(e, `stat -c %a .kamal/apps/shop/env/accessories/db.env; grep -c '^PASSWORD=' .kamal/apps/shop/env/accessories/db.env`); got != "600\n1" {
			e.Errorf("mode of the env file, and passwords in it: %q", got)
		}
		wantSecretFiles := func(secret string) {
			e.Helper()
			if got := e.s.SSH(e, `docker exec shop-db app cat /run/secrets/TOKEN; docker exec shop-db app env TOKEN_FILE; docker exec shop-db app cat /etc/db.key; echo .`); got != secret+" as a file/run/secrets/TOKEN"+secret+"\n in its own file\n\n." {
				e.Errorf("the secret files hold %q", got)
			}
			if got := e.s.SSH(e, `docker inspect shop-db | grep -c -e "as a file" -e "in its own file" || :`); got != "0" {
				e.Errorf("docker inspect shows secret files %s times", got)
			}
			if got := e.s.SSH(e, `ls .kamal/apps/shop/secrets | wc -l; stat -c %a .kamal/apps/shop/secrets; ! runuser -u deploy -- ls -R .kamal/apps/shop/secrets 2>/dev/null`); got != "2\n700" {
				e.Errorf("places of secret files: %q", got)
			}
		}
		wantSecretFiles(password)

		// A change of what it is made of replaces it; data and directory stay.
		first := a.state.Container
		database("lively", password)(&a.spec)
		a.deploy()
		second := a.state.Container
		if second == first {
			e.Error("the container was not replaced")
		}
		if got := e.s.SSH(e, `docker exec shop-db app env MOOD; cat `+dbData+` shop-db/conf/kept; ls shop-db/files | wc -l`); got != "livelyprecious\nkept\n1" {
			e.Errorf("after the replacement: %q", got)
		}

		// A version that never gets ready: the old container is put back, with its own file.
		database("broken", password)(&a.spec)
		a.spec.Image = e.image("app:crash")
		a.fails("Unable to replace the accessory shop-db on "+e.s.Address, "exit code 3", "could not connect to database", "the old container was put back and is ready")
		if got := e.s.SSH(e, `docker ps -a --format '{{.Names}}'; docker exec shop-db app env MOOD; cat `+dbData+`; ls .kamal`); !strings.HasPrefix(got, "shop-db\nlivelyprecious\n") || strings.Contains(got, "lock-shop") {
			e.Errorf("after a broken version: %q", got)
		}
		if got := inspect(e, e.s, "shop-db", ".Id"); got != second || a.state.Container != second {
			e.Errorf("another container than the old one runs: %s, and the state has %s", got, a.state.Container)
		}
		if got := file(); got != "640 1000:1000\nmood = lively" {
			e.Errorf("file after a broken version: %q", got)
		}
		wantSecretFiles(password)
		database("lively", password)(&a.spec)
		a.spec.Image = e.image("app:v1")
		a.wantConverged()

		// A secret file that is changed by hand shows by its name, and a rotation reaches all.
		e.s.SSH(e, `f=$(docker inspect -f '{{range .HostConfig.Binds}}{{println .}}{{end}}' shop-db | sed -n 's,:/etc/db.key$,,p'); chmod 600 "$f"; echo tampered > "$f"`)
		o, p := a.plan()
		values := o.Snapshot.Secrets(*o.Current)
		if why := strings.Join(p.Why, "; "); why != "other secrets" || !p.Replace || values["/etc/db.key"] == a.spec.Files[1].Content || values["TOKEN"] != a.spec.Secrets["TOKEN"] {
			e.Errorf("plan after a secret file was changed by hand: %q", why)
		}
		database("lively", "rotated")(&a.spec)
		a.deploy()
		wantSecretFiles("rotated")

		// What somebody does by hand shows, and an apply mends it.
		e.s.SSH(e, `docker stop -t 1 shop-db`)
		if o, p := a.plan(); o.Running() || strings.Join(p.Why, "; ") != "the container shop-db does not run" || a.state.Running {
			e.Errorf("plan after docker stop: %q", p.Why)
		}
		a.deploy()
		e.s.SSH(e, `docker rm -f shop-db`)
		if _, p := a.plan(); strings.Join(p.Why, "; ") != "there is no container shop-db" || a.state != nil {
			e.Errorf("plan after docker rm: %q", p.Why)
		}
		a.deploy()
		if got := e.s.SSH(e, `cat `+dbData); got != "precious" {
			e.Errorf("data after docker rm: %q", got)
		}

		// Another state is refused, and can take it over: an import replaces nothing.
		before := e.life("shop-db")
		other := *a
		other.state = nil
		other.fails("the accessory is there already", "tofu import ADDRESS 'shop/db@"+e.s.Address+"'")
		o = a.observe()
		shown := accessory.FromContainer(o, accessory.Spec{Spec: workload.Spec{LogDriver: "json-file", LogOptions: a.spec.LogOptions, Secrets: secret.Set{"PASSWORD": "", "TOKEN": ""}}, Service: "shop", Name: "db"})
		if changes := a.spec.Changes(shown); len(changes) > 0 {
			e.Errorf("the import would be replaced: %q", changes)
		}
		if strings.Join(o.SecretNames, " ") != "PASSWORD" || strings.Join(o.Snapshot.SecretNames(*o.Current), " ") != "TOKEN" || len(o.Snapshot.SecretMounts(*o.Current)) != 2 {
			e.Errorf("an import sees the secrets %q and %q", o.SecretNames, o.Snapshot.SecretNames(*o.Current))
		}
		a.deploy()
		if e.life("shop-db") != before {
			e.Error("the container was replaced")
		}

		out := a.destroy()
		if !says(out, "volume shop-data") || !says(out, "/shop-db/conf") {
			e.Errorf("no word of what was kept:\n%s", out)
		}
		if got := e.s.SSH(e, `docker ps -aq; cat `+dbData+` shop-db/conf/kept; ls -A .kamal/terraform .kamal/apps/shop 2>/dev/null || :; ls -d .kamal/apps/shop/secrets 2>/dev/null || :`); got != "precious\nkept" {
			e.Errorf("after destroy: %q", got)
		}

		// delete_data takes what this resource created, and nothing that was there before.
		a.spec.Volumes, a.spec.DeleteData = []string{"shop-data:/data", "fresh-data:/fresh"}, true
		a.deploy()
		out = a.destroy()
		if got := e.s.SSH(e, `docker volume ls -q; cat shop-db/conf/kept`); got != "shop-data\nkept" || !says(out, "volume shop-data") {
			e.Errorf("after destroy with delete_data: %q\n%s", got, out)
		}
	})
}
