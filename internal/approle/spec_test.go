package approle

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/kamal"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/secret"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/workload"
)

// kamalRun is what Kamal 2.12 runs for a role with a port (seen on a server),
// in Kamal's order; the secrets' --env-file is left out.
const kamalRun = `docker run
--detach
--restart unless-stopped
--name shop-web-staging-v1
--network kamal
--hostname 10.0.0.1-0123456789ab
--env KAMAL_CONTAINER_NAME=shop-web-staging-v1
--env KAMAL_VERSION=v1
--env KAMAL_HOST=10.0.0.1
--env KAMAL_DESTINATION=staging
--env RAILS_ENV=production
--log-opt max-size=10m
--volume data:/data
--label service=shop
--label role=web
--label destination=staging
--label team=shop
registry.example.com/shop:v1 bin/jobs`

func TestRunIsKamals(t *testing.T) {
	t.Parallel()
	spec := Spec{
		Spec: workload.Spec{
			Image: repository + ":v1", Env: map[string]string{"RAILS_ENV": "production"}, Labels: map[string]string{"team": "shop"},
			Volumes: []string{"data:/data"}, LogDriver: "json-file", LogOptions: map[string]string{"max-size": "10m"},
			Command: []string{"bin/jobs"},
		},
		Role: kamal.Role{Service: "shop", Role: "web", Destination: "staging"}, AppPort: 3000,
	}
	argv := spec.run("10.0.0.1", home, "shop-web-staging-v1", "0123456789ab", "run1", secret.Mount{}).Argv()
	golden := []string{"docker", "run", "--detach", "--sig-proxy=false", "--restart", "unless-stopped", "--name", "shop-web-staging-v1", "--network", "kamal",
		"--hostname", "10.0.0.1-0123456789ab",
		"--env", "KAMAL_CONTAINER_NAME=shop-web-staging-v1", "--env", "KAMAL_DESTINATION=staging", "--env", "KAMAL_HOST=10.0.0.1", "--env", "KAMAL_VERSION=v1",
		"--env", "RAILS_ENV=production", "--log-driver", "json-file", "--log-opt", "max-size=10m", "--volume", "data:/data",
		"--label", "destination=staging", "--label", "kamal-terraform.run=run1", "--label", "role=web", "--label", "service=shop", "--label", "team=shop",
		"registry.example.com/shop:v1", "bin/jobs"}
	if !slices.Equal(argv, golden) {
		t.Errorf("argv\n%s", strings.Join(argv, "\n"))
	}

	// The same flags as Kamal's, and nothing more than the driver that is
	// docker's default, our own label, and what is the client's alone.
	ours := pairs(argv)
	kamals := pairs(strings.Fields(kamalRun))
	for flag := range kamals {
		if !ours[flag] {
			t.Errorf("Kamal has %s", flag)
		}
	}
	for flag := range ours {
		if !kamals[flag] && flag != "--sig-proxy=false" && flag != "--log-driver json-file" && flag != "--label kamal-terraform.run=run1" {
			t.Errorf("Kamal hasn't %s", flag)
		}
	}
}

func pairs(argv []string) map[string]bool {
	out := map[string]bool{}
	for i := 0; i < len(argv); i++ {
		word := argv[i]
		if strings.HasPrefix(word, "--") && word != "--detach" && word != "--sig-proxy=false" {
			i++
			word += " " + argv[i]
		}
		out[word] = true
	}
	return out
}

func TestRunWithoutADestination(t *testing.T) {
	t.Parallel()
	r := wanted().run("10.0.0.1", home, "shop-web-v2", "0123456789ab", "run1", secret.Mount{})
	if v, ok := r.Labels["destination"]; !ok || v != "" {
		t.Error("the label destination must be there and empty, or Kamal doesn't see the container")
	}
	if _, ok := r.Env["KAMAL_DESTINATION"]; ok {
		t.Error("KAMAL_DESTINATION is set")
	}
}

func TestRunLetsTheUserHaveTheLastWord(t *testing.T) {
	t.Parallel()
	spec := wanted(func(s *Spec) {
		s.Env["KAMAL_HOST"] = "mine"
		s.Labels = map[string]string{"service": "not theirs"}
	})
	r := spec.run("10.0.0.1", home, "shop-web-v2", "0123456789ab", "run1", secret.Mount{})
	if r.Env["KAMAL_HOST"] != "mine" || r.Labels["service"] != "shop" {
		t.Errorf("env %v, labels %v", r.Env, r.Labels)
	}
	if len(spec.Labels) != 1 || len(spec.Env) != 3 {
		t.Error("the spec was changed")
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	const sum = "@sha256:16854097c3673cb811ac926d0a9904abae8e7638815b9840735e0518bc0a6d16"
	for image, want := range map[string]string{
		"shop:v1":                                "v1",
		"registry.example.com:5000/shop:1.2-rc3": "1.2-rc3",
		"shop" + sum:                             "16854097c367",
		"shop:v1" + sum:                          "v1",
		"shop":                                   "latest",
		"Not An Image":                           "",
	} {
		if got := Version(image); got != want {
			t.Errorf("%s: %s", image, got)
		}
	}
}

func TestBootGroups(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		boot    Boot
		servers string
		want    string
	}{
		{Boot{}, "a b c", "[[a b c]]"},
		{Boot{Limit: 1}, "a b c", "[[a] [b] [c]]"},
		{Boot{Limit: 2}, "a b c", "[[a b] [c]]"},
		{Boot{Limit: 9}, "a b c", "[[a b c]]"},
		{Boot{Percent: 50}, "a b c d", "[[a b] [c d]]"},
		{Boot{Percent: 25}, "a b c", "[[a] [b] [c]]"},
		{Boot{Percent: 34}, "a b c", "[[a] [b] [c]]"},
		{Boot{Percent: 100}, "a b c", "[[a b c]]"},
		{Boot{Limit: 1}, "", "[]"},
	} {
		if got := fmt.Sprint(tt.boot.groups(strings.Fields(tt.servers))); got != tt.want {
			t.Errorf("%+v of %s: %s", tt.boot, tt.servers, got)
		}
	}
}

func TestStopGrace(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		spec Spec
		want int
	}{
		"with a port: docker's own":   {Spec{AppPort: 3000, DrainTimeout: 30 * time.Second}, 0},
		"with a port, as configured":  {Spec{AppPort: 3000, DrainTimeout: 30 * time.Second, StopTimeout: 5 * time.Second}, 5},
		"without a port: as draining": {Spec{DrainTimeout: 30 * time.Second}, 30},
		"without, as configured":      {Spec{DrainTimeout: 30 * time.Second, StopTimeout: 90 * time.Second}, 90},
	} {
		if got := tt.spec.stopGrace(); got != tt.want {
			t.Errorf("%s: %d", name, got)
		}
	}
}

func TestPrunable(t *testing.T) {
	t.Parallel()
	other := kamal.Role{Service: "blog", Role: "web"}
	for name, tt := range map[string]struct {
		retain int
		world  func(*world)
		ids    string // names of the containers
		refs   string // tags of the images
	}{
		"nothing old": {1, func(w *world) { w.serve(w.run(wanted())) }, "", ""},
		"one is kept, the one that served before the swap": {1, func(w *world) {
			w.run(wanted(image("v0")), stopped)
			w.serve(w.run(wanted(image("v1"))))
		}, "v0", "v0"},
		"two are kept": {2, func(w *world) {
			w.run(wanted(image("v0")), stopped)
			w.run(wanted(image("v1")), stopped)
			w.serve(w.run(wanted(image("v3"))))
		}, "v0", "v0"},
		"the newest are kept": {1, func(w *world) {
			w.run(wanted(image("v0")), stopped)
			w.run(wanted(image("v1")), stopped)
			w.serve(w.run(wanted()))
		}, "v0", "v0"},
		"an image that another role uses stays": {1, func(w *world) {
			w.run(wanted(image("v0"), func(s *Spec) { s.Role = other }), stopped)
			w.run(wanted(image("v0")), stopped)
			w.serve(w.run(wanted(image("v1"))))
		}, "v0", ""},
		"an image that a kept container uses stays": {1, func(w *world) {
			w.run(wanted(image("v1"), func(s *Spec) { s.Memory = 0 }), stopped, named("shop-web-v1_replaced_0"))
			w.serve(w.run(wanted(image("v1"))))
		}, "v1_replaced_0", ""},
		"the image that is deployed stays": {1, func(w *world) {
			w.run(wanted(), stopped)
			w.serve(w.run(wanted(image("v1"))))
		}, "v2", ""},
		"two of one image": {1, func(w *world) {
			w.run(wanted(image("v0"), func(s *Spec) { s.Memory = 0 }), stopped, named("shop-web-v0_replaced_0"))
			w.run(wanted(image("v0")), stopped)
			w.serve(w.run(wanted(image("v1"))))
		}, "v0 v0_replaced_0", "v0"},
		"what the plan removes doesn't count": {1, func(w *world) {
			w.run(wanted(image("v0")), stopped)
			w.serve(w.run(wanted(image("v1"))))
			w.run(wanted()) // half-booted
		}, "v0", "v0"},
		"others' containers are not counted and not pruned": {1, func(w *world) {
			for i := range 3 {
				w.run(wanted(image(fmt.Sprint("v", i)), func(s *Spec) { s.Role = other }), stopped)
			}
			w.serve(w.run(wanted()))
		}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			tt.world(w)
			spec := wanted(func(s *Spec) { s.Retain = tt.retain })
			have := w.look(t, spec.Role, "")
			ids, refs := prunable(spec, have, Build(spec, have))
			for i, id := range ids {
				c := have.Snapshot.Container(id)
				ids[i] = strings.TrimPrefix(c.ContainerName(), "shop-web-")
			}
			for i, ref := range refs {
				refs[i] = Version(ref)
			}
			if got := strings.Join(ids, " "); got != tt.ids {
				t.Errorf("containers %q, want %q", got, tt.ids)
			}
			if got := strings.Join(refs, " "); got != tt.refs {
				t.Errorf("images %q, want %q", got, tt.refs)
			}
		})
	}
}

func TestMineAreTheRecordedContainerAndTheKeptOnes(t *testing.T) {
	t.Parallel()
	list := func(cs []docker.Container) string {
		var out []string
		for _, c := range cs {
			out = append(out, strings.TrimPrefix(c.ContainerName(), "shop-web-"))
		}
		return strings.Join(out, " ")
	}
	w := newWorld()
	w.run(wanted(image("v0")), stopped)
	recorded := w.run(wanted(image("v1")))
	have := w.look(t, wanted().Role, recorded.ID)
	if mine, others := mine(have, recorded.ID); list(mine) != "v1 v0" || len(others) != 0 {
		t.Errorf("mine %q, others %q", list(mine), list(others))
	}
	// create_before_destroy: the new role's container runs beside, and needs the kept ones.
	w.run(wanted())
	have = w.look(t, wanted().Role, recorded.ID)
	if mine, others := mine(have, recorded.ID); list(mine) != "v1" || list(others) != "v2" {
		t.Errorf("beside a newer one: mine %q, others %q", list(mine), list(others))
	}
	// Somebody else deployed a newer version, and the recorded one is gone.
	if mine, others := mine(have, "gone"); list(mine) != "" || list(others) != "v1 v2" && list(others) != "v2 v1" {
		t.Errorf("the recorded one is gone: mine %q, others %q", list(mine), list(others))
	}
}
