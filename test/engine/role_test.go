package engine

import (
	"strings"
	"testing"
)

func TestRoleIsDeployedUpdatedAndGoesBack(t *testing.T) {
	onEngines(t, func(e *engine) {
		r := e.role()
		r.deploy("app:v1")
		if got := e.s.SSH(e, `docker ps --filter label=destination= --format '{{.Names}} {{.Label "role"}}'`); got != "shop-web-v1 web" {
			e.Errorf("running after the first apply: %q", got)
		}
		first := r.recorded[e.s.Address]
		r.deploy("app:v2")
		if r.recorded[e.s.Address] == first {
			e.Error("the container was not replaced")
		}
		r.fails("app:unhealthy", "Unable to deploy shop-web unhealthy on "+e.s.Address, "503", "the old version goes on as before, container shop-web-v2")
		if got := e.s.SSH(e, `docker ps --format '{{.Names}}'; ls .kamal`); strings.Contains(got, "unhealthy") || strings.Contains(got, "lock-shop") {
			e.Errorf("left after the failure: %s", got)
		}
		r.deploy("app:v1")
	})
}
