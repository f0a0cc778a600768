package acceptance

import (
	"fmt"
	"testing"
)

// What plans and states keep of a role whose server, or whose Docker, does not
// answer. What an apply does then is in the engine tests.
func TestAppRoleThatCannotBeSeen(t *testing.T) {
	aboutServers(t)
	t.Parallel()
	s := bed(t).Warm(t, oldest)
	w := newWorkspace(t, s)
	w.Write("main.tf", webConfig)
	w.Setenv("TF_VAR_image", w.Bed.Image("app:v1"))
	lost := fmt.Sprintf("ssh = { private_key_file = %q, known_hosts = %q, port = 1 }\nregistries = {{registries}}", w.Bed.KeyFile, w.Bed.KnownHostsFile)
	const right = "ssh = {{ssh}}\nregistries = {{registries}}"

	w.Provider(lost)
	w.ApplyFails("Unable to deploy shop-web v1 on "+s.Address, "cannot reach "+s.Address, "connection refused", "What to do: ")
	if left := w.Addresses(); len(left) > 0 {
		t.Errorf("in the state: %q", left)
	}
	w.Provider(right)
	w.Apply()
	id := w.container(web, s)

	s.SSH(t, "systemctl stop docker.socket docker")
	p := w.Plan()
	if p.Actions(web) != "update" || !says(p.Text, "Docker does not answer there: Cannot connect to the Docker daemon") {
		t.Errorf("plan: %s", p.Text)
	}
	second := newWorkspace(t, s)
	second.Write("main.tf", webConfig)
	second.Setenv("TF_VAR_image", w.Bed.Image("app:v1"))
	second.ImportFails(web, "shop/web@"+s.Address, "docker does not answer")
	s.SSH(t, "systemctl start docker")

	w.Provider(lost)
	w.PlanFails("Unable to read kamal_app_role shop/web on "+s.Address, "cannot reach "+s.Address, "Running now: not known")
	w.Provider(lost + "\non_unreachable = \"keep\"")
	p = w.Plan()
	if !p.Empty() || !says(p.Text, "could not be refreshed on "+s.Address) || !says(p.Text, `on_unreachable is "keep"`) {
		t.Errorf("plan with on_unreachable = keep: %s", p.Text)
	}
	w.Provider(right)
	w.PlanEmpty()
	if got := w.container(web, s); got != id {
		t.Errorf("the state lost the container: %q, was %s", got, id)
	}

	w.Provider(lost + "\non_unreachable = \"keep\"")
	if out := w.Destroy(); !says(out, "The role shop-web was forgotten there") {
		t.Errorf("destroy says nothing of what is left:\n%s", out)
	}
	if left := w.Addresses(); len(left) > 0 {
		t.Errorf("in the state: %q", left)
	}
	if got := names(t, s); got != "shop-web-v1" {
		t.Errorf("running: %q", got)
	}
}
