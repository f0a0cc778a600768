package acceptance

import (
	"strings"
	"testing"
)

// webConfig is a role with a port; what else it has is in the variable more,
// by way of a file of its own.
const webConfig = `
variable "image" { type = string }
resource "kamal_app_role" "web" {
  service        = "shop"
  servers        = {{servers}}
  image          = var.image
  app_port       = 3000
  deploy_timeout = "8s"
}
`

func TestAppRoleCreateThatFailsLeavesNothing(t *testing.T) {
	t.Parallel()
	s := bed(t).Warm(t, oldest)
	w := newWorkspace(t, s)
	w.Write("main.tf", webConfig)
	before := s.SSH(t, `docker ps --all --quiet; ls -A`)
	for image, want := range map[string]string{"app:crash": "exit code 3", "app:unhealthy": "database is down", "app:missing": "manifest unknown"} {
		w.Setenv("TF_VAR_image", w.Bed.Image(image))
		w.ApplyFails("Unable to deploy shop-web "+strings.TrimPrefix(image, "app:")+" on "+s.Address, want,
			"Running now: nothing of this role ran before, and nothing does now", "What to do: ")
		if left := w.Addresses(); len(left) > 0 {
			t.Errorf("%s: in the state: %q", image, left)
		}
		if left := s.SSH(t, `docker ps --all --quiet; find .kamal \( -name 'lock-*' -o -name '*.json' \)`); left != "" {
			t.Errorf("%s: left on the server:\n%s", image, left)
		}
	}
	wantSame(t, "the server", before, strings.TrimSuffix(s.SSH(t, `docker ps --all --quiet; ls -A | grep -vx .kamal`), "\n"))
	w.Setenv("TF_VAR_image", w.Bed.Image("app:v1"))
	w.Apply()

	// What somebody had stopped before is there as it was after a failed create.
	w.Destroy()
	s.SSH(t, `docker run --detach --name shop-web-unhealthy --network kamal --label service=shop --label role=web --label destination `+w.Bed.Image("app:v1")+`
docker stop shop-web-unhealthy`)
	kept := s.SSH(t, `docker ps --all --no-trunc --format '{{.ID}} {{.Names}} {{.State}}'`)
	w.Setenv("TF_VAR_image", w.Bed.Image("app:unhealthy"))
	w.ApplyFails("database is down")
	wantSame(t, "the stopped container", kept, s.SSH(t, `docker ps --all --no-trunc --format '{{.ID}} {{.Names}} {{.State}}'`))
}

func TestAppRolePlanErrors(t *testing.T) {
	story(t)
	t.Parallel()
	w := newWorkspace(t)
	for name, tt := range map[string]struct {
		body string
		says []string
	}{
		"a health-check interval of 0":      {`healthcheck = { interval = "0s" }`, []string{"Invalid duration", `"0s" is not a duration of at least 1ms`}},
		"a health-check path with a query":  {`healthcheck = { path = "/up?x=1" }`, []string{"must begin with / and have no query"}},
		"a malformed server":                {`servers = ["root@:22"]`, []string{"Invalid server address", "[user@]address[:port]"}},
		"a server twice":                    {`servers = ["10.0.0.1", "10.0.0.1"]`, []string{"duplicate", "10.0.0.1"}},
		"no server":                         {`servers = []`, []string{"servers is empty", "destroy the resource"}},
		"an image without a tag":            {`image = "registry.example.com/shop"`, []string{"Image without a version", "has neither a tag nor a digest"}},
		"a host with a port and no tag":     {`image = "registry.example.com:5000/shop"`, []string{"Image without a version"}},
		"no image reference":                {`image = "Shop:v1"`, []string{"Invalid image", `"Shop:v1" is not an image reference`}},
		"a bad amount of memory":            {`memory = "lots"`, []string{"Invalid amount of memory", `"lots" is not an amount of memory`}},
		"too little memory":                 {`memory = "1m"`, []string{"Invalid amount of memory", "at least 6m"}},
		"a reserved label":                  {`labels = { service = "x" }`, []string{"service"}},
		"a label that docker would cut":     {`labels = { "a=b" = "c" }`, []string{"is no name for a label"}},
		"a name that is none":               {`env = { "A B" = "c" }`, []string{"is no name for an environment variable"}},
		"a volume without a path":           {`volumes = ["data"]`, []string{"must be NAME:/path"}},
		"a bad duration":                    {`deploy_timeout = "30"`, []string{"Invalid duration", `"30" is not a duration`}},
		"a port out of range":               {`app_port = 70000`, []string{"between 1 and 65535"}},
		"no containers kept":                {`retain_containers = 0`, []string{"at least 1"}},
		"a limit of 0":                      {`boot = { limit = "0" }`, []string{"must be a number of servers, or a percentage"}},
		"an order that nobody knows":        {`boot = { order = "both" }`, []string{"start_first", "stop_first"}},
		"a service that can't be in a name": {`service = "my shop"`, []string{"may have letters, digits, - and _ only"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			attributes := map[string]string{"service": `"shop"`, "servers": `["10.0.0.1"]`, "image": `"registry.example.com/shop:v1"`}
			config := "resource \"kamal_app_role\" \"web\" {\n"
			for a, v := range attributes {
				if !strings.HasPrefix(tt.body, a+" ") {
					config += "  " + a + " = " + v + "\n"
				}
			}
			w.Write("main.tf", config+"  "+tt.body+"\n}\n")
			out := w.PlanFails(tt.says...)
			attribute, _, _ := strings.Cut(tt.body, " ")
			if !strings.Contains(out, attribute) {
				t.Errorf("the attribute %s is not named:\n%s", attribute, out)
			}
			if calls := w.Calls(); len(calls) > 0 {
				t.Errorf("a server was called: %v", calls)
			}
		})
	}
}
