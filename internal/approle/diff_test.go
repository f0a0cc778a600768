package approle

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/kamal"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/secret"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/workload"
)

// What a spec makes fits the spec, and shows the spec again: also to an import,
// which knows nothing of it.
func TestAContainerFitsTheSpecThatMadeIt(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Spec){
		"everything":                     func(*Spec) {},
		"nothing but the image":          func(s *Spec) { *s = Spec{Spec: workload.Spec{Image: s.Image, LogDriver: "json-file"}, Role: s.Role} },
		"a command":                      func(s *Spec) { s.Command = []string{"app", "worker", ""} },
		"the image's command, spelled":   func(s *Spec) { s.Command = []string{"app", "server"} },
		"a variable of the image":        func(s *Spec) { s.Env["APP_VERSION"] = "v2" },
		"a variable of the image, other": func(s *Spec) { s.Env["APP_VERSION"] = "other" },
		"a variable of Kamal's":          func(s *Spec) { s.Env["KAMAL_HOST"] = "shop.example.com" },
		"a label of the image":           func(s *Spec) { s.Labels["org.opencontainers.image.title"] = "shop" },
		"a destination":                  func(s *Spec) { s.Role.Destination = "staging" },
		"another log driver":             func(s *Spec) { s.LogDriver, s.LogOptions = "journald", map[string]string{"tag": "shop"} },
		"no log options":                 func(s *Spec) { s.LogOptions = nil },
		"a digest": func(s *Spec) {
			s.Image = repository + "@sha256:16854097c3673cb811ac926d0a9904abae8e7638815b9840735e0518bc0a6d16"
		},
		"a small part of a CPU": func(s *Spec) { s.CPUs = 0.1 },
	} {
		for daemon, options := range map[string]string{"a plain daemon": "", "a daemon with log options": `{"log-opts":{"max-size":"20m","max-file":"3"}}`} {
			t.Run(name+" on "+daemon, func(t *testing.T) {
				t.Parallel()
				w := newWorld()
				w.daemon = options
				spec := wanted(change)
				w.run(spec)
				o := w.look(t, spec.Role, "")
				if d := spec.Differs(o); len(d) > 0 {
					t.Errorf("differs in %q", d)
				}
				is := FromContainer(o, spec)
				if len(is.LogOptions) == 0 {
					is.LogOptions = spec.LogOptions // none is none
				}
				if !reflect.DeepEqual(is, spec) {
					t.Errorf("shows\n%+v\nof\n%+v", is, spec)
				}
			})
		}
	}
}

func TestImportTakesWhatTheUserSetAndNotWhatDockerAdds(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.daemon = `{"log-opts":{"max-file":"3"}}`
	spec := wanted(func(s *Spec) { s.Command = []string{"app", "worker"} })
	w.run(spec, func(c *docker.Container) {
		c.HostConfig.Binds = append(c.HostConfig.Binds, "/root/.kamal/apps/shop/assets/volumes/web-v2:/public/assets")
	})
	o := w.look(t, spec.Role, "")
	is := FromContainer(o, Spec{Spec: workload.Spec{Secrets: secret.Set{"KEY": "", "TOKEN": ""}}, Role: spec.Role})
	if is.Image != spec.Image || !slices.Equal(is.Command, spec.Command) || !slices.Equal(is.AsFiles, spec.AsFiles) || !maps.Equal(is.Env, spec.Env) || !maps.Equal(is.Labels, spec.Labels) ||
		is.LogDriver != "json-file" || !maps.Equal(is.LogOptions, spec.LogOptions) || is.Memory != spec.Memory || is.CPUs != spec.CPUs {
		t.Errorf("%+v", is)
	}
	if !slices.Equal(is.Volumes, slices.Sorted(slices.Values(spec.Volumes))) || is.AssetPath != "/public/assets" {
		t.Errorf("volumes %q, assets at %q", is.Volumes, is.AssetPath)
	}

	plain := Spec{Spec: workload.Spec{Image: repository + ":v3", LogDriver: "json-file"}, Role: spec.Role}
	w.run(plain)
	o = w.look(t, spec.Role, "")
	if is := FromContainer(o, Spec{Role: spec.Role}); is.Command != nil || is.Env != nil || is.Labels != nil || is.Volumes != nil {
		t.Errorf("of a container with nothing of its own: %+v", is)
	}
}

// Each attribute, changed in the configuration and changed on the server.
func TestDiffersNamesTheAttribute(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change func(*Spec)
		want   string
	}{
		"tag":                        {image("v3"), "image"},
		"repository":                 {func(s *Spec) { s.Image = "registry.example.com/other:v2" }, "image"},
		"command":                    {func(s *Spec) { s.Command = []string{"app", "worker"} }, "command"},
		"variable added":             {func(s *Spec) { s.Env["NEW"] = "" }, "env"},
		"variable changed":           {func(s *Spec) { s.Env["GREETING"] = "bye" }, "env"},
		"variable emptied":           {func(s *Spec) { s.Env["GREETING"] = "" }, "env"},
		"variable gone":              {func(s *Spec) { delete(s.Env, "GREETING") }, "env"},
		"all variables gone":         {func(s *Spec) { s.Env = nil }, "env"},
		"variable of the image":      {func(s *Spec) { s.Env["PATH"] = "/usr/bin" }, "env"},
		"label added":                {func(s *Spec) { s.Labels["x"] = "" }, "labels"},
		"label changed":              {func(s *Spec) { s.Labels["team"] = "blog" }, "labels"},
		"all labels gone":            {func(s *Spec) { s.Labels = nil }, "labels"},
		"label of the image changed": {func(s *Spec) { s.Labels["org.opencontainers.image.title"] = "blog" }, "labels"},
		"secret no longer a file":    {func(s *Spec) { s.AsFiles = nil }, "secrets_as_files"},
		"another secret as a file":   {func(s *Spec) { s.AsFiles = []string{"TOKEN", "KEY"} }, "secrets_as_files"},
		"volume added":               {func(s *Spec) { s.Volumes = append(s.Volumes, "new:/new") }, "volumes"},
		"volume read-only":           {func(s *Spec) { s.Volumes[0] += ":ro" }, "volumes"},
		"all volumes gone":           {func(s *Spec) { s.Volumes = nil }, "volumes"},
		"log driver":                 {func(s *Spec) { s.LogDriver = "local" }, "logging"},
		"log option changed":         {func(s *Spec) { s.LogOptions["max-size"] = "20m" }, "logging"},
		"log option added":           {func(s *Spec) { s.LogOptions["max-file"] = "3" }, "logging"},
		"log options gone":           {func(s *Spec) { s.LogOptions = nil }, "logging"},
		"memory":                     {func(s *Spec) { s.Memory++ }, "memory"},
		"no memory limit":            {func(s *Spec) { s.Memory = 0 }, "memory"},
		"cpus":                       {func(s *Spec) { s.CPUs = 2 }, "cpus"},
		"no limit of cpus":           {func(s *Spec) { s.CPUs = 0 }, "cpus"},
		"volumes in another order":   {func(s *Spec) { slices.Reverse(s.Volumes) }, ""},
		"what containers don't show": {func(s *Spec) { s.Health.Path, s.Verify, s.Retain, s.Boot.Limit = "/", []string{"x"}, 1, 1 }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			other := wanted(tt.change)
			for way, pair := range map[string][2]Spec{"in the configuration": {wanted(), other}, "on the server": {other, wanted()}} {
				w := newWorld()
				w.run(pair[0])
				o := w.look(t, wanted().Role, "")
				d := pair[1].Differs(o)
				if strings.Join(d, " ") != tt.want {
					t.Errorf("changed %s: %q, want %q", way, d, tt.want)
				}
				// What Read puts into the state shows the difference too.
				if is := FromContainer(o, pair[1]); (len(d) > 0) == (len(is.Differs(o)) > 0) && len(d) > 0 {
					t.Errorf("changed %s: the container doesn't fit what it shows: %q", way, is.Differs(o))
				}
			}
		})
	}
}

// A variable of Kamal's is the user's once the configuration has it.
func TestDiffersInAVariableOfKamals(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.run(wanted())
	mine := wanted(func(s *Spec) { s.Env["KAMAL_VERSION"] = "mine" })
	if d := mine.Differs(w.look(t, wanted().Role, "")); !slices.Equal(d, []string{"env"}) {
		t.Errorf("differs in %q", d)
	}
}

func TestDiffersSeesAContainerOutsideKamalsNetwork(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.run(wanted(), func(c *docker.Container) { delete(c.NetworkSettings.Networks, kamal.Network) })
	if d := wanted().Differs(w.look(t, wanted().Role, "")); !slices.Equal(d, []string{"network"}) {
		t.Errorf("differs in %q", d)
	}
	w = newWorld()
	w.run(wanted(), func(c *docker.Container) {
		c.NetworkSettings.Networks["more"] = c.NetworkSettings.Networks[kamal.Network]
	})
	if d := wanted().Differs(w.look(t, wanted().Role, "")); len(d) > 0 {
		t.Errorf("in one more network: differs in %q", d)
	}
}

// A volume that Kamal's asset bridge mounts is the asset path, of whatever
// user's home and whatever version.
func TestAssetPath(t *testing.T) {
	t.Parallel()
	const volume = "/home/deploy/.kamal/apps/shop/assets/volumes/web-v1:/public/assets"
	bridged := func(assetPath string) func(*Spec) { return func(s *Spec) { s.AssetPath = assetPath } }
	for name, tt := range map[string]struct {
		bind   string // of the container
		change func(*Spec)
		shows  string // the asset path, for a configuration with what change does
		drift  bool
	}{
		"as configured":                    {volume, bridged("/public/assets"), "/public/assets", false},
		"spelled in another way":           {volume, bridged("/public/assets/"), "/public/assets/", false},
		"with options":                     {volume + ":ro", bridged("/public/assets:ro"), "/public/assets:ro", false},
		"with a slash, on the server":      {volume + "/:ro", bridged("/public/assets:ro"), "/public/assets:ro", false},
		"without its options":              {volume, bridged("/public/assets:ro"), "/public/assets", true},
		"at another path":                  {volume, bridged("/public/packs"), "/public/assets", true},
		"without its mount":                {"", bridged("/public/assets"), "", true},
		"not in the configuration":         {volume, nil, "/public/assets", true},
		"of another role":                  {strings.Replace(volume, "web-v1", "jobs-v1", 1), bridged("/public/assets"), "", true},
		"of another app":                   {strings.Replace(volume, "shop", "blog", 1), bridged("/public/assets"), "", true},
		"not of a directory of Kamal's":    {strings.Replace(volume, "volumes", "extracted", 1), bridged("/public/assets"), "", true},
		"a volume that somebody asked for": {volume, func(s *Spec) { s.Volumes = append(s.Volumes, volume) }, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			w.run(wanted(), func(c *docker.Container) {
				if tt.bind != "" {
					c.HostConfig.Binds = append([]string{tt.bind}, c.HostConfig.Binds...)
				}
			})
			spec := wanted()
			if tt.change != nil {
				tt.change(&spec)
			}
			o := w.look(t, spec.Role, "")
			if got := FromContainer(o, spec).AssetPath; got != tt.shows {
				t.Errorf("shows %q", got)
			}
			var want []string
			if tt.drift {
				want = []string{"asset_path"}
			}
			if d := spec.Differs(o); !slices.Equal(d, want) {
				t.Errorf("differs in %q", d)
			}
		})
	}

	// What a new container mounts.
	spec := wanted(bridged("/public/assets:ro"))
	spec.Role.Destination = "staging"
	run := spec.run("10.0.0.1", "/home/deploy", "shop-web-staging-v2", "0123456789ab", thisRun, secret.Mount{})
	if want := "/home/deploy/.kamal/apps/shop-staging/assets/volumes/web-v2:/public/assets:ro"; !slices.Contains(run.Volumes, want) {
		t.Errorf("mounts %q", run.Volumes)
	}
	if err := wanted(bridged("/data/"), func(s *Spec) { s.Boot.StopFirst = true }).Check(); err == nil {
		t.Error("a volume at the asset path is not refused")
	}
}

// Without the image nobody can tell what of a container is the image's.
func TestAContainerWhoseImageIsGone(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change func(*Spec)
		want   string
	}{
		"as it was":        {func(*Spec) {}, ""},
		"variable changed": {func(s *Spec) { s.Env["GREETING"] = "bye" }, "env"},
		"variable added":   {func(s *Spec) { s.Env["NEW"] = "" }, "env"},
		"label changed":    {func(s *Spec) { s.Labels["team"] = "blog" }, "labels"},
		"command":          {func(s *Spec) { s.Command = []string{"app", "worker"} }, "command"},
		"memory":           {func(s *Spec) { s.Memory = 0 }, "memory"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			w.run(wanted())
			w.images = nil
			if d := wanted(tt.change).Differs(w.look(t, wanted().Role, "")); strings.Join(d, " ") != tt.want {
				t.Errorf("differs in %q, want %q", d, tt.want)
			}
		})
	}
}

func TestDaemonLogOptionsThatWentAreDrift(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.daemon = `{"log-opts":{"max-file":"3"}}`
	w.run(wanted())
	w.daemon = `{}`
	if d := wanted().Differs(w.look(t, wanted().Role, "")); !slices.Equal(d, []string{"logging"}) {
		t.Errorf("a new container would be another, but it differs in %q", d)
	}
	w.daemon = `{"log-opts":` // kamal_server's to tell
	if _, err := Observe(w.snapshot(), wanted().Role, ""); err != nil {
		t.Error(err)
	}
}

func TestSameImage(t *testing.T) {
	t.Parallel()
	const sum = "@sha256:16854097c3673cb811ac926d0a9904abae8e7638815b9840735e0518bc0a6d16"
	for _, tt := range []struct {
		a, b string
		want bool
	}{
		{"nginx:1", "docker.io/library/nginx:1", true},
		{"nginx", "nginx:latest", true},
		{"acme/shop:v1", "index.docker.io/acme/shop:v1", true},
		{"acme/shop:v1", "acme/shop:v2", false},
		{"acme/shop:v1", "acme/shop:v1" + sum, false},
		{"acme/shop" + sum, "acme/shop" + sum, true},
		{"sha256:85bb65917070", "acme/shop:v1", false},
		{"Broken Ref", "Broken Ref", true},
	} {
		if docker.SameRef(tt.a, tt.b) != tt.want || docker.SameRef(tt.b, tt.a) != tt.want {
			t.Errorf("%s and %s: %t", tt.a, tt.b, !tt.want)
		}
	}
}

func TestImageProblem(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		arch            string
		entrypoint, cmd []string
		command         []string
		want            string
	}{
		"good":                       {cmd: []string{"app", "server"}},
		"an entrypoint":              {entrypoint: []string{"/bin/app"}},
		"another CPU":                {arch: "arm64", cmd: []string{"app"}, want: "is built for linux/amd64, the server is arm64"},
		"nothing to run":             {want: "has neither a CMD nor an ENTRYPOINT"},
		"nothing to run but ours":    {command: []string{"app"}},
		"irb":                        {cmd: []string{"irb"}, want: "is irb, which is the base image's"},
		"a shell":                    {cmd: []string{"/bin/bash"}, want: "is /bin/bash, which"},
		"node's entrypoint":          {entrypoint: []string{"docker-entrypoint.sh"}, cmd: []string{"node"}, want: "is docker-entrypoint.sh node, which"},
		"a shell that runs a script": {cmd: []string{"/bin/sh", "-c", "bin/rails server"}},
		"a shell with a script":      {entrypoint: []string{"/bin/sh"}, cmd: []string{"start.sh"}},
		"python with a module":       {cmd: []string{"python3", "-m", "app"}},
		"a shell that we replace":    {cmd: []string{"bash"}, command: []string{"app"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var i docker.Image
			parse(&i.InspectResponse, map[string]any{"Architecture": "amd64", "Os": "linux", "Config": map[string]any{"Entrypoint": tt.entrypoint, "Cmd": tt.cmd}})
			arch := tt.arch
			if arch == "" {
				arch = "amd64"
			}
			got := i.Problem(wanted().Image, tt.command, arch)
			if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
				t.Errorf("problem %q, want %q", got, tt.want)
			}
		})
	}
	if got := (docker.Image{}).Problem(wanted().Image, wanted().Command, "amd64"); got != "" {
		t.Errorf("an image that tells nothing of itself: %q", got)
	}
}

func TestAgreedIsWhatAllServersShowAlike(t *testing.T) {
	t.Parallel()
	prior := wanted(image("v0"))
	a, b := wanted(image("v1")), wanted(image("v2"))
	b.Env = map[string]string{"A": "B"}
	if got := Agreed(prior, nil); !reflect.DeepEqual(got, prior) {
		t.Errorf("of none: %+v", got)
	}
	if got := Agreed(prior, []Spec{a, a}); !reflect.DeepEqual(got, a) {
		t.Errorf("of two alike: %+v", got)
	}
	if got := Agreed(prior, []Spec{a, b}); got.Image != prior.Image || !maps.Equal(got.Env, prior.Env) || got.Memory != a.Memory {
		t.Errorf("of two that differ in image and env: %+v", got)
	}
}

func TestFromContainerOfWhatDockerTellsLittleAbout(t *testing.T) {
	t.Parallel()
	prior := wanted()
	for _, c := range []*docker.Container{nil, {}, {InspectResponse: container.InspectResponse{Config: &container.Config{}}}} {
		if got := FromContainer(Observed{Current: c, Snapshot: &fleet.Snapshot{}}, prior); !reflect.DeepEqual(got, prior) {
			t.Errorf("%+v", got)
		}
	}
}

func TestAnImageKeepsTheSpellingOfTheConfiguration(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.run(wanted(func(s *Spec) { s.Image = "docker.io/acme/shop:v2" }))
	want := wanted(func(s *Spec) { s.Image = "acme/shop:v2" })
	o := w.look(t, want.Role, "")
	// What the plan promises is the configuration's.
	if in, _ := o.Instance(want, nil); in.Image != "acme/shop:v2" {
		t.Errorf("the instance's image is %s", in.Image)
	}
	if is := FromContainer(o, want); is.Image != "acme/shop:v2" {
		t.Errorf("a refresh makes the image %s", is.Image)
	}
	if p := Build(want, o); p.Swap {
		t.Errorf("a swap for another spelling: %v", p.Why)
	}
}
