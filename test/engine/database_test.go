package engine

import (
	"strings"
	"testing"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/accessory"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/secret"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/workload"
)

// The database of examples/rails, with a real Postgres: upgraded on its data,
// and put back on it when a new image does not come up.
func TestDatabaseIsUpgradedAndPutBackOnItsData(t *testing.T) {
	onEngines(t, func(e *engine) {
		s := e.s
		password := `post gres'"$p\w/1`
		c := accessory.Change{Server: s.Address, Create: true, Spec: accessory.Spec{
			Spec: workload.Spec{
				Image: e.image("postgres:15.1"), Network: "kamal", Env: map[string]string{"POSTGRES_DB": "shop"},
				Secrets: secret.Set{"POSTGRES_PASSWORD": password}, AsFiles: []string{"POSTGRES_PASSWORD"},
				Volumes: []string{"shop-db:/var/lib/postgresql/data"}, Options: docker.Options{ShmSize: 256 << 20},
				LogDriver: "json-file", LogOptions: map[string]string{"max-size": "10m"},
			},
			Service: "shop", Name: "db",
			Ready:       accessory.Ready{Command: []string{"pg_isready", "--host", "127.0.0.1", "--username", "postgres"}},
			StopTimeout: 30 * time.Second, DeployTimeout: time.Minute, DrainTimeout: 30 * time.Second,
		}}
		apply := func(image string) error {
			c.Spec.Image = e.image(image)
			r := e.newRun()
			r.fleet.AddSecret(password)
			state, _, err := accessory.Apply(e.ctx(), r.fleet, c)
			if state != nil {
				c.Create, c.MachineID = false, state.MachineID
			}
			r.log.mustNotHold(e, password)
			return err
		}
		wantConverged := func(image string) {
			e.Helper()
			c.Spec.Image = e.image(image)
			have, err := accessory.Observe(e.snapshot(s.Address), "shop", "db")
			e.must(err)
			if plan := accessory.Build(c.Spec, have); !plan.Converged() {
				e.Errorf("the plan is not empty: %q", plan.Why)
			}
		}
		sql := func(query string) string {
			return strings.TrimSpace(s.SSH(e, `docker exec -i -u postgres shop-db psql -At -d shop <<'SQL'`+"\n"+query+"\nSQL"))
		}
		e.must(apply("postgres:15.1"))
		wantConverged("postgres:15.1")
		sql("CREATE TABLE orders (note text); INSERT INTO orders VALUES ('kept')")

		e.must(apply("postgres:15.2"))
		wantConverged("postgres:15.2")
		if got := strings.TrimSpace(s.SSH(e, `docker exec shop-db sh -c 'echo $PG_IMAGE'`)); got != "15.2" {
			e.Errorf("after the upgrade Postgres' image is %q", got)
		}
		if got := sql("SELECT note FROM orders"); got != "kept" {
			e.Errorf("after the upgrade the table has %q", got)
		}

		old := inspect(e, s, "shop-db", ".Id")
		e.wantFailure(apply("postgres:broken"), "Unable to replace the accessory shop-db on "+s.Address, "FATAL", "the old container was put back and is ready")
		if got := sql("SELECT note FROM orders"); got != "kept" || inspect(e, s, "shop-db", ".Id") != old {
			e.Errorf("after the image that is broken the table has %q", got)
		}
		wantConverged("postgres:15.2")
	})
}
