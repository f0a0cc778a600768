package acceptance

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/test/load"
	"github.com/kamal-terraform/terraform-provider-kamal/test/testbed"
)

// railsSecrets are hard to carry, so that what breaks on a quote breaks here.
var railsSecrets = map[string]string{
	"postgres_password": `post gres'"$p\w/1`, "database_password": `blue'"$p\w:@/?#[] %41`, "redis_password": `re"dis'$p\w:@/#`,
	"secret_key_base": "key$base\nof two lines\\\n",
}

// newRails is a workspace with examples/rails, but for its provider block: the
// images are the testbed's, with real Postgres and Redis, and an app that uses both.
func newRails(t *testing.T, s *testbed.Server) *workspace {
	t.Helper()
	w := newWorkspace(t, s)
	files, err := filepath.Glob("../../examples/rails/*.tf")
	if err != nil || len(files) == 0 {
		t.Fatalf("examples/rails: %q, %v", files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if name := filepath.Base(file); name != "provider.tf" {
			w.write(filepath.Join(w.Dir, name), string(text))
		}
	}
	untagged := func(image string) string { return strings.TrimSuffix(w.Bed.Image(image+":x"), ":x") }
	for name, value := range map[string]string{
		"server": s.Address, "image": untagged("shop"), "release": "v1", "hosts": `["shop.example.com"]`,
		"migrate_command": `["shop", "migrate"]`, "job_command": `["shop", "worker"]`, "env": `{ MIGRATE_SLEEP = "0" }`,
		"postgres_image": w.Bed.Image("postgres:15.1"), "redis_image": w.Bed.Image("redis:7"), "proxy_image": untagged("basecamp/kamal-proxy"),
	} {
		w.Setenv("TF_VAR_"+name, value)
	}
	for name, value := range railsSecrets {
		w.Setenv("TF_VAR_"+name, value)
	}
	return w
}

// railsRequest asks the app through kamal-proxy, and wants a status.
func railsRequest(t *testing.T, s *testbed.Server, method, path, body string, status int) map[string]any {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, "http://"+s.Address+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Host = "shop.example.com"
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != status {
		t.Fatalf("%s %s: status %d, want %d: %v\n%s", method, path, response.StatusCode, status, err, text)
	}
	var out map[string]any
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatalf("%s %s: %v\n%s", method, path, err, text)
	}
	return out
}

// order makes an order and waits until the job role has processed it; its id.
func order(t *testing.T, s *testbed.Server, note, processedBy string) string {
	t.Helper()
	id := fmt.Sprint(railsRequest(t, s, http.MethodPost, "/orders", fmt.Sprintf(`{"note": %q}`, note), http.StatusCreated)["id"])
	eventually(t, 20*time.Second, "order "+id+" is processed by "+processedBy, func() bool {
		got := railsRequest(t, s, http.MethodGet, "/orders/"+id, "", http.StatusOK)
		return got["note"] == note && got["processed_by"] == processedBy
	})
	return id
}

// sql asks the database as its superuser.
func sql(t *testing.T, s *testbed.Server, query string) string {
	t.Helper()
	return strings.TrimSpace(s.SSH(t, `docker exec -i -u postgres shop-db psql -At -d shop <<'SQL'`+"\n"+query+"\nSQL"))
}

// TestRailsExample applies the example, deploys a version with a slow
// migration, rotates the database's password, all under load, and goes back to
// a dump.
func TestRailsExample(t *testing.T) {
	t.Parallel()
	s := bed(t).Warm(t, newest)
	w := newRails(t, s)
	w.Apply()
	if got := strings.Fields(names(t, s)); !slices.Equal(slices.Sorted(slices.Values(got)), []string{"kamal-proxy", "shop-backup", "shop-db", "shop-job-v1", "shop-redis", "shop-web-v1"}) {
		t.Errorf("running: %q", got)
	}
	kept := order(t, s, "the first", "v1")
	if got := railsRequest(t, s, http.MethodGet, "/", "", http.StatusOK); got["db_user"] != "shop_blue" {
		t.Errorf("the app is logged in as %v", got["db_user"])
	}

	// Migrations first: no container of the new version runs before they have ended.
	l := startLoad(t, s)
	w.Setenv("TF_VAR_release", "v2")
	w.Setenv("TF_VAR_env", `{ MIGRATE_SLEEP = "3" }`)
	w.Setenv("TF_VAR_backup_seconds", "86399") // the first dump was made before any order; the next one has it
	first := latestDump(t, s)
	w.Apply()
	wantNoneFailed(t, l, "deploy with a migration")
	eventually(t, 30*time.Second, "another dump", func() bool { return latestDump(t, s) != first })
	dump := latestDump(t, s)
	order(t, s, "the second", "v2")
	if got := sql(t, s, `SELECT DISTINCT role || ' ' || version || ' ' || schema_version FROM boots ORDER BY 1`); got != "server v1 1\nserver v2 2\nworker v1 1\nworker v2 2" {
		t.Errorf("who started on which schema: %q", got)
	}
	if got := sql(t, s, `SELECT count(*) FROM boots WHERE version = 'v2' AND at < (SELECT at FROM schema_version WHERE version = 2)`); got != "0" {
		t.Errorf("%s containers of v2 started before its migrations had run", got)
	}

	onServers(t, w, "a migration that fails, a rotation, a restore", func(t *testing.T, w *workspace) {
		later := railsFailsAndRotates(t, w, l)
		l.Stop()
		// What came after the dump goes, what was before comes back.
		if got := sql(t, s, "DELETE FROM orders WHERE id = "+kept); got != "DELETE 1" {
			t.Fatalf("deleting an order: %q", got)
		}
		w.Setenv("TF_VAR_restore", dump)
		w.Apply()
		railsRequest(t, s, http.MethodGet, "/orders/"+kept, "", http.StatusOK)
		railsRequest(t, s, http.MethodGet, "/orders/"+later, "", http.StatusNotFound)
		order(t, s, "made after the restore", "v2")
	})
	l.Stop()
	wantNoSecrets(t, w, s)
	w.Destroy()
	if got := names(t, s); got != "" {
		t.Errorf("running after destroy: %q", got)
	}
}

// latestDump is the name of the newest dump of the database.
func latestDump(t *testing.T, s *testbed.Server) string {
	t.Helper()
	return strings.TrimSpace(s.SSH(t, `docker exec shop-backup sh -c 'cd /backups && ls *.dump' | tail -n 1`))
}

// railsFailsAndRotates tries a broken migration, then rotates the database's
// password, under load. It returns the id of an order that came last.
func railsFailsAndRotates(t *testing.T, w *workspace, l *load.Load) string {
	t.Helper()
	s := w.Servers[0]
	// A migration that fails leaves every role on the old version, and the schema as it was.
	w.Setenv("TF_VAR_env", `{ MIGRATE_SLEEP = "0" }`)
	w.Apply()
	wantNoneFailed(t, l, "another variable")
	w.Setenv("TF_VAR_release", "v3bad")
	w.ApplyFails("Unable to run the task shop/migrate on "+s.Address, "exit code 1", "was rolled back", `column "price" does not exist`)
	wantNoneFailed(t, l, "a migration that fails")
	if got := names(t, s); !strings.Contains(got, "shop-web-v2") || !strings.Contains(got, "shop-job-v2") || strings.Contains(got, "v3bad") {
		t.Errorf("running after a migration that failed: %q", got)
	}
	w.Setenv("TF_VAR_release", "v2")
	w.PlanEmpty()

	// A rotation in one apply: another user with a new password, and the roles follow.
	w.Setenv("TF_VAR_database_user", "shop_green")
	w.Setenv("TF_VAR_database_password", `green'"$p\w:@/?#[] %41`)
	p := w.Plan()
	if got := p.NotEmpty(); !slices.Equal(got, []string{"update kamal_app_role.job", "update kamal_app_role.web", "update kamal_task.database_user"}) {
		t.Errorf("plan of a rotation: %q\n%s", got, p.Text)
	}
	w.Apply()
	wantNoneFailed(t, l, "a rotation of the database's password")
	if got := railsRequest(t, s, http.MethodGet, "/", "", http.StatusOK); got["db_user"] != "shop_green" {
		t.Errorf("after the rotation the app is logged in as %v", got["db_user"])
	}
	return order(t, s, "the third", "v2")
}

// wantNoSecrets looks for the example's secrets in what everybody may read.
func wantNoSecrets(t *testing.T, w *workspace, s *testbed.Server) {
	t.Helper()
	leaks := newLeaks(slices.Collect(maps.Values(railsSecrets)))
	leaks.files(t, w.Dir, w.logs)
	leaks.text(t, "the server's audit logs, marks and locks", s.SSH(t, `cat .kamal/*.log .kamal/terraform/* .kamal/lock*/* 2>/dev/null || :`))
}
