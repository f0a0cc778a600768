package acceptance

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kamal-terraform/terraform-provider-kamal/test/byhand"
)

// What Kamal has deployed is imported with a configuration that the CLI
// generates: it plans empty once filled in, restarts nothing, and the next
// change damages nothing.
func TestGeneratedConfigurationOfWhatKamalDeployed(t *testing.T) {
	t.Parallel()
	s := bed(t).Warm(t, newest)
	w := newWorkspace(t, s)
	s.LogIn(t)
	s.SSH(t, `docker network create kamal >/dev/null; mkdir -p shop-db/etc shop-db/data
printf 'mood = calm\n' > shop-db/etc/db.cnf; echo precious > shop-db/data/row
docker run --detach --restart unless-stopped --name shop-db --network kamal --log-opt max-size=10m --label service=shop-db --publish 127.0.0.1:5432:3000 \
  --env MOOD=calm --volume $PWD/shop-db/etc/db.cnf:/etc/db.cnf --volume $PWD/shop-db/data:/data `+w.Bed.Image("app:v1"))
	s.SSH(t, kamalRun(w, s, "shop-web-v1", "--memory 256m --shm-size 128m --ulimit nofile=4096:8192 --init"))
	byhand.RouteWeb(t, w.Bed, s)
	running := func() string {
		t.Helper()
		return s.SSH(t, "docker ps --no-trunc --format '{{.ID}} {{.Names}}' | sort; docker inspect --format '{{.State.StartedAt}}' shop-db shop-web-v1 kamal-proxy")
	}
	before := running()

	resources := map[string]string{
		"kamal_server.web": s.Address, "kamal_proxy.web": s.Address, "kamal_app_role.web": "shop/web@" + s.Address,
		"kamal_accessory.db": "shop/db@" + s.Address, "kamal_proxy_route.web": "shop-web@" + s.Address,
	}
	imports := ""
	for to, id := range resources {
		imports += fmt.Sprintf("import {\n  to = %s\n  id = %q\n}\n", to, id)
	}
	w.Write("import.tf", imports)
	// The configuration that is generated lacks what may be secret, and says so.
	out := w.fails(w.run("plan", "-no-color", "-generate-config-out=generated.tf"), []string{
		"the content of /etc/db.cnf is only on the server, in ~/shop-db/etc/db.cnf", "cat ~/shop-db/etc/db.cnf"})
	if strings.Count(out, "Error:") != 1 {
		t.Errorf("more errors than that:\n%s", out)
	}
	file := filepath.Join(w.Dir, "generated.tf")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	filled := 0
	for i, line := range lines {
		if strings.Contains(line, "(content not seen: ") {
			lines[i] = `    content = "mood = calm\n"`
			filled++
		}
	}
	if filled != 1 {
		t.Fatalf("%d contents to fill in:\n%s", filled, text)
	}
	w.write(file, strings.Join(lines, "\n"))
	for _, want := range []string{`shm_size`, `"128m"`, `nofile`, `"256m"`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the generated configuration lacks %s", want)
		}
	}
	// Nothing but what has been filled in, and what kamal_server gives daemon.json
	// where it says nothing of logs: no container is disturbed by either.
	p := w.Plan()
	want := map[string]string{"kamal_accessory.db": "[files]", "kamal_server.web": "[docker]"}
	for to := range resources {
		if got := fmt.Sprint(p.Changed(to)); got != cmp.Or(want[to], "[]") {
			t.Errorf("the plan changes %s of %s", got, to)
		}
	}
	w.Apply(p.File)
	w.Remove("import.tf")
	w.PlanEmpty()
	if after := running(); after != before {
		t.Errorf("something was restarted:\n%s\nbefore\n%s", after, before)
	}

	// The next change keeps what was there.
	w.write(file, strings.Replace(strings.Join(lines, "\n"), "app:v1", "app:v2", 1))
	w.Apply()
	if got := s.SSH(t, "cat shop-db/data/row shop-db/etc/db.cnf; docker exec shop-db app cat /etc/db.cnf 2>/dev/null || :"); !strings.HasPrefix(got, "precious\nmood = calm") {
		t.Errorf("after the change: %q", got)
	}
}
