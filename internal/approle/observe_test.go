package approle

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/kamal"
)

func TestObserveFindsTheContainerThatIsTheRole(t *testing.T) {
	t.Parallel()
	v := func(w *world, tag string, change ...func(*docker.Container)) docker.Container {
		return w.run(wanted(image(tag)), change...)
	}
	for name, tt := range map[string]struct {
		world    func(*world)
		recorded string // its name
		want     string
	}{
		"none":                          {func(*world) {}, "", ""},
		"the newest that runs":          {func(w *world) { v(w, "v1"); v(w, "v2"); v(w, "v3", stopped) }, "", "v2"},
		"the one that gets the traffic": {func(w *world) { w.serve(v(w, "v1")); v(w, "v2") }, "", "v1"},
		"the one that gets the traffic, not recorded": {func(w *world) { v(w, "v1"); w.serve(v(w, "v2")); v(w, "v3") }, "v1", "v2"},
		"the recorded one, if it runs":                {func(w *world) { v(w, "v1"); v(w, "v2") }, "v1", "v1"},
		"one that runs, if the recorded one doesn't":  {func(w *world) { v(w, "v1", stopped); v(w, "v2") }, "v1", "v2"},
		"the recorded one, if none runs":              {func(w *world) { v(w, "v1", stopped); v(w, "v2", stopped) }, "v1", "v1"},
		"the newest, if none runs":                    {func(w *world) { v(w, "v1", stopped); v(w, "v2", stopped) }, "", "v2"},
		"a stopped one that gets the traffic is none": {func(w *world) { w.serve(v(w, "v1", stopped)); v(w, "v2") }, "", "v2"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			tt.world(w)
			recorded := ""
			for _, c := range w.containers {
				if tt.recorded != "" && c.ContainerName() == "shop-web-"+tt.recorded {
					recorded = c.ID
				}
			}
			o := w.look(t, wanted().Role, recorded)
			got := ""
			if o.Current != nil {
				got = strings.TrimPrefix(o.Current.ContainerName(), "shop-web-")
			}
			if got != tt.want {
				t.Errorf("current %q, want %q", got, tt.want)
			}
			for i, c := range o.Others {
				if c.ID == o.Current.ID || i > 0 && c.CreatedAt().After(o.Others[i-1].CreatedAt()) {
					t.Errorf("others are not the others, newest first: %d %s", i, c.ContainerName())
				}
			}
			if total := len(o.Others) + len(slices.Collect(func(yield func(int) bool) {
				if o.Current != nil {
					yield(1)
				}
			})); total != len(w.containers) {
				t.Errorf("%d containers of %d", total, len(w.containers))
			}
		})
	}
}

func TestObserveRefusesAStateFileThatMakesNoSense(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.serve(w.run(wanted()))
	snap := w.snapshot()
	for _, state := range []string{"", `[{"name":`} {
		snap.Proxy = snap.Proxy.NewProxyState(state)
		if _, err := Observe(snap, wanted().Role, ""); err == nil || !strings.Contains(err.Error(), "kamal-proxy") {
			t.Errorf("%q: %v", state, err)
		}
	}
}

func TestInstanceTellsWhatIsNotAsItShouldBe(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		world   func(*world)
		spec    func(*Spec)
		differs []string
		want    []string
	}{
		"all well": {world: func(w *world) { w.serve(w.run(wanted())) }},
		"attributes that differ": {world: func(w *world) { w.run(wanted()) }, differs: []string{"env", "memory"},
			want: []string{"other env", "other memory"}},
		"a second container": {world: func(w *world) { w.run(wanted(image("v1"))); w.serve(w.run(wanted())) },
			want: []string{"another container of the role runs: shop-web-v1"}},
		"traffic elsewhere": {world: func(w *world) { w.run(wanted()); w.target = "0123456789ab:3000" },
			want: []string{"kamal-proxy sends traffic to 0123456789ab:3000"}},
		"traffic elsewhere, of a role without a port": {world: func(w *world) { w.run(wanted()); w.target = "0123456789ab:3000" },
			spec: func(s *Spec) { s.AppPort = 0 }},
		"a dead lock": {world: func(w *world) {
			w.run(wanted())
			w.locks = []kamal.LockHolder{{App: "shop", Run: "dead", Age: kamal.Dead + time.Second}}
		}, want: []string{"a run that died left the deploy lock of shop"}},
		"a lock of Kamal's": {world: func(w *world) { w.run(wanted()); w.locks = []kamal.LockHolder{{App: "shop", Age: time.Hour}} }},
		"an unfinished create": {world: func(w *world) {
			w.run(wanted())
			w.marks = []kamal.Mark{{Kind: MarkKind, Name: "shop-web", State: kamal.MarkCreating, Run: thisRun}}
		}, want: []string{"a run that died did not finish creating it"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			tt.world(w)
			spec := wanted()
			if tt.spec != nil {
				tt.spec(&spec)
			}
			in, ok := w.look(t, spec.Role, "").Instance(spec, tt.differs)
			if !ok || !slices.Equal(in.Drift, tt.want) {
				t.Errorf("drift %q, want %q", in.Drift, tt.want)
			}
		})
	}
}

func TestInstanceDescribesTheContainer(t *testing.T) {
	t.Parallel()
	w := newWorld()
	if in, ok := w.look(t, wanted().Role, "").Instance(wanted(), nil); ok {
		t.Errorf("without a container: %+v", in)
	}
	c := w.run(wanted())
	digest := w.images[0].Digest(repository)
	in, ok := w.look(t, wanted().Role, "").Instance(wanted(), nil)
	if !ok || in.Container != c.ID || in.Image != repository+":v2" || in.Digest != digest || digest == "" || !in.Running || in.MachineID != "machine-1" {
		t.Errorf("%+v", in)
	}
	// An image that was built on the server has no digest: its id tells it from others.
	w.images[0].RepoDigests = nil
	if in, _ := w.look(t, wanted().Role, "").Instance(wanted(), nil); in.Digest != w.images[0].ID {
		t.Errorf("digest of a local image %q", in.Digest)
	}
	w.images = nil
	w.change(c.ID, stopped)
	if in, ok := w.look(t, wanted().Role, "").Instance(wanted(), nil); !ok || in.Digest != "" || in.Running {
		t.Errorf("stopped, its image gone: %+v", in)
	}
}

func TestEntryPort(t *testing.T) {
	t.Parallel()
	w := newWorld()
	c := w.run(wanted())
	if got := w.look(t, wanted().Role, "").EntryPort(); got != 0 {
		t.Errorf("without an entry: %d", got)
	}
	w.target = c.ShortID() + ":8080"
	if got := w.look(t, wanted().Role, "").EntryPort(); got != 8080 {
		t.Errorf("port %d", got)
	}
}
