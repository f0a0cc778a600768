package approle

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/kamal"
)

// outline is a plan in words, containers by the names they have before it.
func outline(p Plan) string {
	names := func(list []docker.Container) string {
		var out []string
		for _, c := range list {
			out = append(out, c.ContainerName())
		}
		return strings.Join(out, " ")
	}
	var parts []string
	add := func(word, what string) {
		if what != "" {
			parts = append(parts, word+" "+what)
		}
	}
	add("because", strings.Join(p.Why, "; "))
	if p.Pull {
		parts = append(parts, "pull")
	}
	add("remove", names(p.Remove))
	if p.Rename != nil {
		add("rename", p.Rename.ContainerName())
	}
	if p.Swap {
		add("run", p.Name)
	}
	if p.Target != nil {
		add("point to", p.Target.ContainerName())
	}
	add("stop", names(p.Old))
	return strings.Join(parts, ", ")
}

func TestBuild(t *testing.T) {
	t.Parallel()
	const created = "the run that began to create it"
	creating := func(w *world) {
		w.marks = []kamal.Mark{{Kind: MarkKind, Name: "shop-web", State: kamal.MarkCreating, Run: thisRun, Age: time.Hour}}
	}
	recordedV1 := func(w *world) string { return w.containers[0].ID }
	for name, tt := range map[string]struct {
		world    func(*world)
		recorded func(*world) string
		spec     func(*Spec)
		want     string
	}{
		"nothing there": {
			world: func(*world) {},
			want:  "because there is no container of the role, pull, run shop-web-v2",
		},
		"nothing there but the image": {
			world: func(w *world) { w.pull(repository + ":v2") },
			want:  "because there is no container of the role, run shop-web-v2",
		},
		"the image is there and pull is always": {
			world: func(w *world) { w.pull(repository + ":v2") },
			spec:  func(s *Spec) { s.PullAlways = true },
			want:  "because there is no container of the role, pull, run shop-web-v2",
		},
		"it fits": {
			world: func(w *world) { w.serve(w.run(wanted())) },
			want:  "",
		},
		"it fits, and pull is always": {
			world: func(w *world) { w.serve(w.run(wanted())) },
			spec:  func(s *Spec) { s.PullAlways = true },
			want:  "",
		},
		"it fits, without a proxy": {
			world: func(w *world) { w.run(wanted()) },
			want:  "",
		},
		"another image": {
			world: func(w *world) { w.serve(w.run(wanted(image("v1")))) },
			want:  "because other image, pull, run shop-web-v2, stop shop-web-v1",
		},
		"back to an image that is kept": {
			world: func(w *world) {
				w.run(wanted(), stopped)
				w.serve(w.run(wanted(image("v3"))))
			},
			want: "because other image, rename shop-web-v2, run shop-web-v2, stop shop-web-v3",
		},
		"the same version with another env": {
			world: func(w *world) { w.serve(w.run(wanted(func(s *Spec) { s.Env = map[string]string{"A": "B"} }))) },
			want:  "because other env, rename shop-web-v2, run shop-web-v2, stop shop-web-v2",
		},
		"everything else differs": {
			world: func(w *world) {
				w.run(wanted(func(s *Spec) {
					s.Command, s.Labels, s.Volumes, s.LogDriver, s.LogOptions, s.Memory, s.CPUs = []string{"x"}, nil, nil, "local", nil, 0, 0
				}), func(c *docker.Container) { delete(c.NetworkSettings.Networks, kamal.Network) })
			},
			want: "because other command, labels, volumes, logging, memory, cpus, network, rename shop-web-v2, run shop-web-v2, stop shop-web-v2",
		},
		"stopped": {
			world: func(w *world) { w.serve(w.run(wanted(), stopped)) },
			want:  "because the container shop-web-v2 does not run, rename shop-web-v2, run shop-web-v2",
		},
		"an older one is stopped": {
			world: func(w *world) { w.run(wanted(image("v1")), stopped) },
			want:  "because the container shop-web-v1 does not run, pull, run shop-web-v2",
		},
		"a run died after it started the new one": {
			world: func(w *world) {
				w.serve(w.run(wanted(image("v1"))))
				w.run(wanted())
			},
			want: "because other image, remove shop-web-v2, run shop-web-v2, stop shop-web-v1",
		},
		"a run died while docker was making the new one": {
			world: func(w *world) {
				w.serve(w.run(wanted(image("v1"))))
				w.run(wanted(), stopped, func(c *docker.Container) { c.State.Status = "created" })
			},
			want: "because other image, remove shop-web-v2, run shop-web-v2, stop shop-web-v1",
		},
		"a run died after it started the new one, without a proxy": {
			world:    func(w *world) { w.run(wanted(image("v1"))); w.run(wanted()) },
			recorded: recordedV1,
			want:     "because other image, remove shop-web-v2, run shop-web-v2, stop shop-web-v1",
		},
		"a run died after it started the new one of the same version": {
			world: func(w *world) {
				w.serve(w.run(wanted(func(s *Spec) { s.Memory = 0 }), named("shop-web-v2_replaced_0123")))
				w.run(wanted())
			},
			want: "because other memory, remove shop-web-v2, run shop-web-v2, stop shop-web-v2_replaced_0123",
		},
		"a run died after the new one failed": {
			world: func(w *world) {
				w.serve(w.run(wanted(image("v1"))))
				w.run(wanted(), stopped)
			},
			want: "because other image, remove shop-web-v2, run shop-web-v2, stop shop-web-v1",
		},
		"a run died after the new one failed, without a proxy": {
			world:    func(w *world) { w.run(wanted(image("v1"))); w.run(wanted(), stopped) },
			recorded: recordedV1,
			want:     "because other image, remove shop-web-v2, run shop-web-v2, stop shop-web-v1",
		},
		"a run died after the new one failed, and had stopped the old one first": {
			world: func(w *world) {
				w.serve(w.run(wanted(image("v1")), stopped))
				w.run(wanted(), stopped)
			},
			recorded: recordedV1,
			want:     "because the container shop-web-v1 does not run, remove shop-web-v2, run shop-web-v2",
		},
		"Kamal went back to an older one": {
			world: func(w *world) {
				w.run(wanted(image("v1")))
				w.run(wanted(), stopped)
				w.change(w.containers[0].ID, func(c *docker.Container) { c.State.StartedAt = w.clock.Add(time.Minute).Format(time.RFC3339Nano) })
				w.serve(w.containers[0])
			},
			want: "because other image, rename shop-web-v2, run shop-web-v2, stop shop-web-v1",
		},
		"Kamal's own, stopped, is newer": {
			world: func(w *world) {
				w.serve(w.run(wanted(image("v1"))))
				w.run(wanted(), stopped, func(c *docker.Container) { delete(c.Config.Labels, kamal.LabelRun) })
			},
			want: "because other image, rename shop-web-v2, run shop-web-v2, stop shop-web-v1",
		},
		"a stopped one is newer, and the traffic goes elsewhere": {
			world: func(w *world) {
				w.run(wanted(image("v1")))
				w.run(wanted(), stopped)
				w.target = "0123456789ab:3000"
			},
			want: "because other image, rename shop-web-v2, run shop-web-v2, stop shop-web-v1",
		},
		"a run died before it stopped the old one": {
			world: func(w *world) { w.run(wanted(image("v1"))); w.serve(w.run(wanted())) },
			want:  "because another container of the role runs: shop-web-v1, stop shop-web-v1",
		},
		"a second container beside the one that differs": {
			world: func(w *world) { w.run(wanted(image("v0"))); w.serve(w.run(wanted(image("v1")))) },
			want:  "because other image, pull, run shop-web-v2, stop shop-web-v1 shop-web-v0",
		},
		"the proxy sends traffic elsewhere": {
			world: func(w *world) { w.run(wanted()); w.target = "0123456789ab:3000" },
			want:  "because kamal-proxy sends traffic elsewhere, point to shop-web-v2",
		},
		"the proxy sends traffic elsewhere, which is nothing to a role without a port": {
			world: func(w *world) { w.run(wanted(func(s *Spec) { s.AppPort = 0 })); w.target = "0123456789ab:3000" },
			spec:  func(s *Spec) { s.AppPort = 0 },
			want:  "",
		},
		"the proxy sends traffic to an older one that runs": {
			world: func(w *world) { w.serve(w.run(wanted(image("v1")))); w.run(wanted()) },
			// The entry tells which one was ready for traffic.
			want: "because other image, remove shop-web-v2, run shop-web-v2, stop shop-web-v1",
		},
		"a dead lock": {
			world: func(w *world) {
				w.serve(w.run(wanted()))
				w.locks = []kamal.LockHolder{{App: "shop", Run: "dead", Age: time.Hour}}
			},
			want: "because a run that died left its lock",
		},
		"a lock whose run lives, one of another app": {
			world: func(w *world) {
				w.serve(w.run(wanted()))
				w.locks = []kamal.LockHolder{{App: "shop", Run: "alive", Age: time.Second}, {App: "other", Run: "dead", Age: time.Hour}}
			},
			want: "",
		},
		"all that a run can leave": {
			world: func(w *world) {
				w.run(wanted(image("v1")))
				w.run(wanted())
				w.target = "0123456789ab:3000"
				w.locks = []kamal.LockHolder{{App: "shop", Run: "dead", Age: time.Hour}}
			},
			want: "because kamal-proxy sends traffic elsewhere; another container of the role runs: shop-web-v1; a run that died left its lock, " +
				"point to shop-web-v2, stop shop-web-v1",
		},
		"a create that died before it was through": {
			world: func(w *world) { w.run(wanted()); creating(w) },
			want:  "because a run that died did not finish creating it, remove shop-web-v2, run shop-web-v2",
		},
		"a create that died with another version": {
			world: func(w *world) { w.run(wanted(image("v1"))); creating(w) },
			want:  "because a run that died did not finish creating it, pull, remove shop-web-v1, run shop-web-v2",
		},
		"a create that died, and what it started too": {
			world: func(w *world) { w.run(wanted(), stopped); creating(w) },
			want:  "because a run that died did not finish creating it, remove shop-web-v2, run shop-web-v2",
		},
		"a create that died after the switch": {
			world: func(w *world) { w.serve(w.run(wanted())); creating(w) },
			want:  "",
		},
		"a create that died beside what somebody had stopped before": {
			world: func(w *world) {
				w.run(wanted(), stopped, func(c *docker.Container) { c.Config.Labels[kamal.LabelRun] = created })
				creating(w)
			},
			want: "because the container shop-web-v2 does not run, rename shop-web-v2, run shop-web-v2",
		},
		"others' containers": {
			world: func(w *world) {
				for _, r := range []kamal.Role{{Service: "shop", Role: "jobs"}, {Service: "shop", Role: "web", Destination: "staging"}, {Service: "blog", Role: "web"}} {
					w.run(wanted(func(s *Spec) { s.Role = r }))
				}
				w.serve(w.run(wanted()))
			},
			want: "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			tt.world(w)
			spec, recorded := wanted(), ""
			if tt.spec != nil {
				tt.spec(&spec)
			}
			if tt.recorded != nil {
				recorded = tt.recorded(w)
			}
			p := Build(spec, w.look(t, spec.Role, recorded))
			if got := outline(p); got != tt.want {
				t.Errorf("plan: %s\nwant: %s", got, tt.want)
			}
			if p.Converged() != (tt.want == "") {
				t.Errorf("converged: %t", p.Converged())
			}
		})
	}
}

// random makes a server on which anything may have happened to the role.
func random(r *rand.Rand) (w *world, recorded string) {
	w = newWorld()
	if r.IntN(3) == 0 {
		w.daemon = `{"log-opts":{"max-file":"3","max-size":"20m"}}`
	}
	for i := range r.IntN(5) {
		spec := wanted(image(fmt.Sprintf("v%d", r.IntN(4))))
		switch r.IntN(4) {
		case 0:
			spec.Env = map[string]string{"GREETING": "other"}
		case 1:
			spec.Memory = 0
		}
		var changes []func(*docker.Container)
		if r.IntN(2) == 0 {
			changes = append(changes, stopped)
		}
		name := spec.Role.ContainerName(spec.Version())
		if slices.ContainsFunc(w.containers, func(c docker.Container) bool { return c.ContainerName() == name }) {
			name += fmt.Sprintf("_replaced_%d", i)
		}
		c := w.runAs(spec, name, fmt.Sprintf("run%d", r.IntN(2)), changes...)
		if r.IntN(3) == 0 {
			w.serve(c)
		}
		if r.IntN(3) == 0 {
			recorded = c.ID
		}
	}
	if r.IntN(5) == 0 {
		w.target = "ffffffffffff:3000"
	}
	if r.IntN(4) == 0 {
		w.locks = []kamal.LockHolder{{App: "shop", Run: "dead", Age: time.Hour}}
	}
	if r.IntN(4) == 0 {
		state := []string{kamal.MarkCreating, kamal.MarkOwned}[r.IntN(2)]
		w.marks = []kamal.Mark{{Kind: MarkKind, Name: "shop-web", State: state, Run: "run1", Age: time.Hour}}
	}
	w.run(wanted(func(s *Spec) { s.Role.Destination = "staging" }))
	return w, recorded
}

// After the plan's effects there is nothing left to do, whatever was there,
// and what isn't the role's is as it was.
func TestPlansConverge(t *testing.T) {
	t.Parallel()
	empty := 0
	for seed := range uint64(800) {
		r := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // the same worlds each time
		w, recorded := random(r)
		want := wanted()
		if r.IntN(4) == 0 {
			want.AppPort, w.target = 0, noEntry
		}
		p := Build(want, w.look(t, want.Role, recorded))
		if p.Converged() {
			empty++
		}
		foreign := w.containers[len(w.containers)-1]
		first := outline(p)
		w.carryOut(p, want)

		have := w.look(t, want.Role, recorded)
		if again := Build(want, have); !again.Converged() {
			t.Fatalf("seed %d: after %q there is still to do: %s", seed, first, outline(again))
		}
		in, ok := have.Instance(want, want.Differs(have))
		if !ok || !in.Running || in.Image != want.Image || len(in.Drift) > 0 {
			t.Fatalf("seed %d: after %q: %+v", seed, first, in)
		}
		if !slices.ContainsFunc(w.containers, func(c docker.Container) bool { return reflect.DeepEqual(c, foreign) }) {
			t.Fatalf("seed %d: %q touched another role's container", seed, first)
		}
	}
	if empty == 0 || empty > 400 {
		t.Errorf("%d of 800 worlds had nothing to do: the worlds don't test much", empty)
	}
}

func TestPlansDoNotDependOnTheOrderOfDockersAnswer(t *testing.T) {
	t.Parallel()
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 2)) //nolint:gosec // the same worlds each time
		w, recorded := random(r)
		if r.IntN(2) == 0 { // containers of the same moment
			for i := range w.containers {
				w.containers[i].Created = w.containers[0].Created
			}
		}
		want := wanted()
		p := Build(want, w.look(t, want.Role, recorded))
		for range 3 {
			r.Shuffle(len(w.containers), func(i, j int) { w.containers[i], w.containers[j] = w.containers[j], w.containers[i] })
			r.Shuffle(len(w.images), func(i, j int) { w.images[i], w.images[j] = w.images[j], w.images[i] })
			if again := Build(want, w.look(t, want.Role, recorded)); !reflect.DeepEqual(p, again) {
				t.Fatalf("seed %d: %s\nthen: %s", seed, outline(p), outline(again))
			}
		}
	}
}

func TestBuildDoesNotChangeWhatItIsGiven(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.run(wanted(image("v1")))
	w.serve(w.run(wanted(image("v3"))))
	have := w.look(t, wanted().Role, "")
	before := w.look(t, wanted().Role, "")
	Build(wanted(), have)
	if !reflect.DeepEqual(have, before) {
		t.Error("the observation was changed")
	}
}

func TestFindImage(t *testing.T) {
	t.Parallel()
	w := newWorld()
	const sum = "sha256:16854097c3673cb811ac926d0a9904abae8e7638815b9840735e0518bc0a6d16"
	w.pull(repository + ":v1")
	w.pull(repository + "@" + sum)
	w.pull("nginx:1.27")
	for ref, found := range map[string]bool{
		repository + ":v1":             true,
		repository + ":v2":             false,
		repository + "@" + sum:         true,
		repository + ":any@" + sum:     true, // the digest alone counts, as in docker
		"other/shop@" + sum:            false,
		"registry.example.com/shop":    false, // :latest
		"docker.io/library/nginx:1.27": true,
		"nginx:1.27":                   true,
		"Not An Image":                 false,
	} {
		if got := docker.FindImage(ref, w.images) != nil; got != found {
			t.Errorf("%s: found %t", ref, got)
		}
	}
}
