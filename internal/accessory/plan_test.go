package accessory

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/kamal"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/secret"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/workload"
)

// wanted is a spec that uses everything.
func wanted(changes ...func(*Spec)) Spec {
	s := Spec{
		Spec: workload.Spec{
			Image: "registry.example.com/postgres:17", Env: map[string]string{"TZ": "UTC"},
			Secrets: secret.Set{"PASSWORD": "p$w", "TOKEN": "t"}, AsFiles: []string{"TOKEN"}, Ports: []string{"5432:5432"},
			Volumes: []string{"data:/data", "/srv/a:/a:ro"}, Labels: map[string]string{"team": "shop"}, LogDriver: "json-file",
			LogOptions: map[string]string{"max-size": "10m"}, Memory: 512 << 20, CPUs: 1.5,
			Options: docker.Options{ShmSize: 256 << 20, Ulimits: map[string]string{"nofile": "4096", "core": "0:-1"}},
			Network: "kamal",
		},
		Service: "shop", Name: "db", Directories: []string{"conf:/conf", "/srv/d:/d"},
		Files: []File{{Path: "/etc/db.cnf", Content: "a = 1\n", Mode: "0644"}, {Path: "/etc/db.key", Content: "k", Secret: true, Mode: "0600", Owner: "999:999"}},
	}
	for _, c := range changes {
		c(&s)
	}
	return s
}

const home = "/home/deploy"

// secretFiles are those of all servers of these tests.
var secretFiles sync.Map

// made is the container that docker makes of a spec.
func made(t *testing.T, s Spec, changes ...func(map[string]any)) docker.Container {
	t.Helper()
	m := s.newMounts()
	for _, mount := range []secret.Mount{m.secrets, m.files} {
		for name, value := range mount.Files {
			secretFiles.Store(mount.Dir+"/"+name, value)
		}
	}
	env := []string{"PATH=/bin", "KAMAL_HOST=10.0.0.1"}
	for k, v := range m.secrets.Env(s.Env) {
		env = append(env, k+"="+v)
	}
	for k, v := range s.EnvSecrets() {
		env = append(env, k+"="+v)
	}
	labels := map[string]string{"service": s.ContainerName(), kamal.LabelRun: "run0"}
	maps.Copy(labels, s.Labels)
	ports := map[string]any{}
	for _, p := range s.Ports {
		parsed, err := workload.ParsePort(p)
		if err != nil {
			t.Fatal(err)
		}
		ports[strings.TrimPrefix(p[strings.LastIndex(p, ":"):], ":")+"/tcp"] = []any{map[string]any{"HostIp": parsed.Bind.String(), "HostPort": "5432"}}
	}
	c := map[string]any{
		"Id": strings.Repeat("a1", 32), "Name": "/" + s.ContainerName(), "Created": "2026-11-23T01:00:00Z", "Image": "sha256:image",
		"State":  map[string]any{"Status": "running", "Running": true},
		"Config": map[string]any{"Image": s.Image, "Env": env, "Labels": labels, "Cmd": []string{"postgres"}},
		"HostConfig": map[string]any{
			"Binds": append(s.binds(home), m.binds(s, home)...), "PortBindings": ports, "NetworkMode": s.Network, "Memory": s.Memory, "NanoCpus": int64(s.CPUs * 1e9), "ShmSize": s.Options.ShmSize, "RestartPolicy": map[string]any{"Name": s.Options.RestartPolicy()},
			"LogConfig": map[string]any{"Type": s.LogDriver, "Config": s.LogOptions},
			"Ulimits":   []any{map[string]any{"Name": "nofile", "Soft": 4096, "Hard": 4096}, map[string]any{"Name": "core", "Soft": 0, "Hard": -1}},
		},
	}
	for _, change := range changes {
		change(c)
	}
	var out docker.Container
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &out.InspectResponse); err != nil {
		t.Fatal(err)
	}
	return out
}

func stopped(c map[string]any) { c["State"] = map[string]any{"Status": "exited"} }

func named(name, id string) func(map[string]any) {
	return func(c map[string]any) { c["Name"], c["Id"] = "/"+name, strings.Repeat(id, 32) }
}

// seen is what is observed of shop-db among containers.
func seen(t *testing.T, mark *kamal.Mark, containers ...docker.Container) Observed {
	t.Helper()
	snap := &fleet.Snapshot{Containers: containers, Facts: fleet.Facts{Home: home, MachineID: "m1"}, SecretFiles: map[string]string{}}
	secretFiles.Range(func(path, content any) bool { snap.SecretFiles[path.(string)] = content.(string); return true })
	if mark != nil {
		snap.Marks = append(snap.Marks, *mark)
	}
	var image docker.Image
	if err := json.Unmarshal([]byte(`{"Id": "sha256:image", "RepoTags": ["registry.example.com/postgres:17"], "Config": {"Env": ["PATH=/bin"], "Cmd": ["postgres"]}}`), &image.InspectResponse); err != nil {
		t.Fatal(err)
	}
	snap.Images = []docker.Image{image}
	o, err := Observe(snap, "shop", "db")
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestAContainerFitsTheSpecThatMadeIt(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]Spec{
		"with everything": wanted(),
		"with little": wanted(func(s *Spec) {
			*s = Spec{Spec: workload.Spec{Image: s.Image, LogDriver: "json-file", LogOptions: s.LogOptions, Network: "kamal", Options: docker.Options{Ulimits: s.Options.Ulimits}}, Service: "shop", Name: "db"}
		}),
	} {
		o := seen(t, nil, made(t, s))
		if d := s.Differs(o); len(d) > 0 {
			t.Errorf("%s: differs in %q", name, d)
		}
		if p := Build(s, o); !p.Converged() {
			t.Errorf("%s: plan %q", name, p.Why)
		}
		if got := FromContainer(o, s); !reflect.DeepEqual(got, s) {
			t.Errorf("%s: shows\n%+v\nof\n%+v", name, got, s)
		}
	}
}

func TestEveryDifferenceReplacesTheContainer(t *testing.T) {
	t.Parallel()
	key := func(change func(f *File)) func(*Spec) {
		return func(s *Spec) { s.Files = slices.Clone(s.Files); change(&s.Files[1]) }
	}
	for name, change := range map[string]func(*Spec){
		"image":                                 func(s *Spec) { s.Image = "registry.example.com/postgres:18" },
		"command":                               func(s *Spec) { s.Command = []string{"postgres", "-c", "fsync=off"} },
		"env":                                   func(s *Spec) { s.Env = map[string]string{"TZ": "CET"} },
		"secrets":                               func(s *Spec) { s.Secrets = secret.Set{"PASSWORD": "other", "TOKEN": "t"} },
		"labels":                                func(s *Spec) { s.Labels = nil },
		"ports":                                 func(s *Spec) { s.Ports = []string{"0.0.0.0:5432:5432"} },
		"volumes":                               func(s *Spec) { s.Volumes = s.Volumes[:1] },
		"directories":                           func(s *Spec) { s.Directories = []string{"other:/conf", "/srv/d:/d"} },
		"files":                                 func(s *Spec) { s.Files = []File{{Path: "/etc/db.cnf", Content: "a = 2\n", Mode: "0644"}} },
		"logging":                               func(s *Spec) { s.LogDriver = "local" },
		"memory":                                func(s *Spec) { s.Memory = 0 },
		"cpus":                                  func(s *Spec) { s.CPUs = 2 },
		"options":                               func(s *Spec) { s.Options.ShmSize = 0 },
		"secrets, in a file under /run/secrets": func(s *Spec) { s.Secrets = secret.Set{"PASSWORD": "p$w", "TOKEN": "other"} },
		"secrets, in a file of its own":         key(func(f *File) { f.Content = "other" }),
		"secrets_as_files":                      func(s *Spec) { s.AsFiles = nil },
		"files, mode of a secret one":           key(func(f *File) { f.Mode = "0400" }),
		"files, owner of a secret one":          key(func(f *File) { f.Owner = "" }),
		"files, one no longer secret":           key(func(f *File) { f.Secret = false }),
		"network":                               func(s *Spec) { s.Network = "other" },
	} {
		p := Build(wanted(change), seen(t, nil, made(t, wanted())))
		name, _, _ := strings.Cut(name, ",")
		if !p.Replace || !slices.Equal(p.Why, []string{"other " + name}) {
			t.Errorf("%s: replace %t because of %q", name, p.Replace, p.Why)
		}
		if p.Old == nil || p.Remove != nil || p.Pull != (name == "image") {
			t.Errorf("%s: old %v, remove %v, pull %t", name, p.Old, p.Remove, p.Pull)
		}
	}
}

func TestWhatIsPutBackAndWhatIsRemoved(t *testing.T) {
	t.Parallel()
	creating := &kamal.Mark{Kind: MarkKind, Name: "shop-db", State: kamal.MarkCreating, Run: "dead", Age: time.Hour}
	ready, other := made(t, wanted()), made(t, wanted(func(s *Spec) { s.Memory = 1 << 30 }))
	old := made(t, wanted(), stopped, named("shop-db_replaced_0123456789abcdef", "b2"))
	next := func(status string) docker.Container {
		return made(t, wanted(), named("shop-db_next_0123456789abcdef", "c3"), func(c map[string]any) { c["State"] = map[string]any{"Status": status} })
	}
	for name, tt := range map[string]struct {
		mark            *kamal.Mark
		there           []docker.Container
		why             string
		replace         bool
		old, remove     string
		running, nobody bool
	}{
		"nothing is there":                    {why: "there is no container shop-db", replace: true, nobody: true},
		"it runs and fits":                    {there: []docker.Container{ready}, running: true},
		"it is stopped":                       {there: []docker.Container{made(t, wanted(), stopped)}, why: "the container shop-db does not run", replace: true, old: "a1"},
		"a run died with the old one aside":   {there: []docker.Container{old}, why: "the container shop-db does not run", replace: true, old: "b2"},
		"a run died with a new one that fits": {there: []docker.Container{old, ready}, why: "a replacement was not finished: its old container is still there as shop-db_replaced_0123456789abcdef", old: "b2", running: true},
		"a run died with another new one":     {there: []docker.Container{old, other}, why: "other memory", replace: true, old: "b2", remove: "a1", running: true},
		"a run died with the old one running": {there: []docker.Container{ready, next("created")}, why: "its new container was never started and is still there as shop-db_next_0123456789abcdef", running: true},
		"a create died with nothing started":  {mark: creating, there: []docker.Container{next("created")}, why: "there is no container shop-db", replace: true, nobody: true},
		"one that runs is somebody's own":     {there: []docker.Container{ready, next("running")}, running: true},
		"a create died with one that fits":    {mark: creating, there: []docker.Container{ready}, why: "a create was not finished", running: true},
		"a create died with another":          {mark: creating, there: []docker.Container{other}, why: "other memory", replace: true, remove: "a1", running: true},
		"a create died with a stopped one":    {mark: creating, there: []docker.Container{made(t, wanted(), stopped)}, why: "does not run", replace: true, remove: "a1"},
	} {
		o := seen(t, tt.mark, tt.there...)
		p := Build(wanted(), o)
		id := func(c *docker.Container) string {
			if c == nil {
				return ""
			}
			return c.ID[:2]
		}
		if why := strings.Join(p.Why, "; "); !strings.Contains(why, tt.why) || (why == "") != (tt.why == "") {
			t.Errorf("%s: why %q, want %q", name, why, tt.why)
		}
		if p.Replace != tt.replace || id(p.Old) != tt.old || id(p.Remove) != tt.remove {
			t.Errorf("%s: replace %t, old %q, remove %q", name, p.Replace, id(p.Old), id(p.Remove))
		}
		if o.Running() != tt.running || (o.Current == nil) != tt.nobody {
			t.Errorf("%s: running %t, current %v", name, o.Running(), o.Current)
		}
	}
}

func TestAContainerOfSomebodyElseIsForeign(t *testing.T) {
	t.Parallel()
	for name, labels := range map[string]map[string]any{
		"without labels":       {},
		"of another accessory": {"service": "shop-other"},
		"of an app's role":     {"service": "shop-db", "role": "web"},
	} {
		c := made(t, wanted(), func(c map[string]any) { c["Config"].(map[string]any)["Labels"] = labels })
		if o := seen(t, nil, c); !o.Foreign {
			t.Errorf("%s: taken for the accessory", name)
		}
	}
	if o := seen(t, nil, made(t, wanted())); o.Foreign {
		t.Error("the accessory is taken for foreign")
	}
}

// What an unproven container made for itself goes only where it can't hold anything.
func TestAnonymousVolumesOfARemovedContainer(t *testing.T) {
	t.Parallel()
	old := made(t, wanted(), stopped, named("shop-db_replaced_0123456789abcdef", "b2"))
	in := func(status string) docker.Container {
		return made(t, wanted(), func(c map[string]any) { c["State"] = map[string]any{"Status": status} })
	}
	creating := &kamal.Mark{Kind: MarkKind, Name: "shop-db", State: kamal.MarkCreating, Run: "dead", Age: time.Hour}
	for name, tt := range map[string]struct {
		have Observed
		want bool
	}{
		"never started, and the old one is there": {seen(t, nil, old, in("created")), true},
		"it was started":               {seen(t, nil, old, in("exited")), false},
		"its volumes are carried over": {seen(t, creating, in("created")), false},
	} {
		argv := Build(wanted(), tt.have).removeArgv()
		if got := slices.Contains(argv, "--volumes"); got != tt.want {
			t.Errorf("%s: %q", name, argv)
		}
	}
}

func TestAnonymousVolumesAreCarriedOver(t *testing.T) {
	t.Parallel()
	a, b := strings.Repeat("0a", 32), strings.Repeat("0b", 32)
	c := made(t, wanted(), func(c map[string]any) {
		c["Mounts"] = []any{
			map[string]any{"Type": "volume", "Name": a, "Destination": "/var/lib/postgresql/data"},
			map[string]any{"Type": "volume", "Name": b, "Destination": "/conf"},
			map[string]any{"Type": "volume", "Name": "data", "Destination": "/data"},
		}
	})
	changed := wanted(func(s *Spec) { s.Memory = 0 })
	p := Build(changed, seen(t, nil, c))
	// /conf is a directory of the spec by now.
	if want := []string{a + ":/var/lib/postgresql/data"}; !slices.Equal(p.Carried, want) {
		t.Errorf("carried %q, want %q", p.Carried, want)
	}
	// The successor, which has it by name, still fits.
	next := made(t, changed, func(c map[string]any) {
		h := c["HostConfig"].(map[string]any)
		h["Binds"] = append(h["Binds"].([]string), p.Carried...)
	})
	if d := changed.Differs(seen(t, nil, next)); len(d) > 0 {
		t.Errorf("the successor differs in %q", d)
	}
}

func TestRunNamesAndLabelsAsKamalDoes(t *testing.T) {
	t.Parallel()
	argv := strings.Join(wanted().run("10.0.0.1", home, "run1", wanted().newMounts(), []string{"x:/y"}).Argv(), " ")
	for _, want := range []string{
		"docker run --detach --sig-proxy=false --restart unless-stopped --name shop-db --network kamal ", "--env KAMAL_HOST=10.0.0.1", "--env PASSWORD ", "--env TOKEN_FILE=/run/secrets/TOKEN ", ":/run/secrets:ro ", "/1,0600,999+999:/etc/db.key ", "--publish 127.0.0.1:5432:5432",
		"--volume /home/deploy/shop-db/conf:/conf", "--volume /srv/d:/d", "--volume x:/y", "--label service=shop-db", "--shm-size 268435456", "--ulimit core=0:-1",
		"--log-opt max-size=10m", "--memory 536870912", "--cpus 1.5",
	} {
		if !strings.Contains(argv, want) {
			t.Errorf("no %q in %s", want, argv)
		}
	}
	if strings.Contains(argv, "p$w") || strings.Contains(argv, "--env TOKEN ") || strings.Contains(argv, "role") {
		t.Errorf("a secret or a role's label in %s", argv)
	}
}

func TestCheckRefusesWhatDockerWould(t *testing.T) {
	t.Parallel()
	if err := wanted().Check(); err != nil {
		t.Errorf("a good one: %v", err)
	}
	for says, change := range map[string]func(*Spec){
		"files, secrets_as_files and tmpfs are mounted at /data": func(s *Spec) { s.Directories = []string{"d:/data/"} },
		"mounted at /etc/db.key":                                 func(s *Spec) { s.Volumes = []string{"v:/etc/db.key"} },
		"mounted at /run/secrets":                                func(s *Spec) { s.Volumes = []string{"v:/run/secrets"} },
		"mounted at /data":                                       func(s *Spec) { s.Options.Tmpfs = map[string]string{"/data": ""} },
		"mounted at /etc/db.cnf":                                 func(s *Spec) { s.Volumes = []string{"v:/etc/db.cnf"} },
		`"5432:5432" and "127.0.0.1:5432:6000" publi`:            func(s *Spec) { s.Ports = []string{"5432:5432", "127.0.0.1:5432:6000"} },
	} {
		if err := wanted(change).Check(); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want %q", err, says)
		}
	}
	if err := wanted(func(s *Spec) { s.Ports = []string{"53:53", "53:53/udp", "[::1]:53:53"} }).Check(); err != nil {
		t.Errorf("one port on several addresses and protocols: %v", err)
	}
}

// An import has no order of its own, and docker's is by chance.
func TestAnImportHasOneOrder(t *testing.T) {
	t.Parallel()
	s := wanted()
	imported := func(change func(binds []string)) Spec {
		c := made(t, s, func(c map[string]any) { change(c["HostConfig"].(map[string]any)["Binds"].([]string)) })
		return FromContainer(seen(t, nil, c), Spec{Service: "shop", Name: "db"})
	}
	one, other := imported(func([]string) {}), imported(slices.Reverse[[]string])
	// A directory that is not below the accessory's own can't be told from a volume.
	if want := []string{"/srv/a:/a:ro", "/srv/d:/d", "data:/data"}; !slices.Equal(one.Volumes, want) {
		t.Errorf("volumes %q, want %q", one.Volumes, want)
	}
	if !reflect.DeepEqual(one.Volumes, other.Volumes) || !reflect.DeepEqual(one.Directories, other.Directories) || !reflect.DeepEqual(one.Files, other.Files) {
		t.Errorf("one\n%+v\nand\n%+v", one, other)
	}
}

func TestAnotherOrderReplacesNothing(t *testing.T) {
	t.Parallel()
	want := wanted(func(s *Spec) {
		s.Volumes, s.Directories, s.Files = slices.Clone(s.Volumes), slices.Clone(s.Directories), slices.Clone(s.Files)
		slices.Reverse(s.Volumes)
		slices.Reverse(s.Directories)
		slices.Reverse(s.Files)
	})
	if d := want.Changes(wanted()); len(d) > 0 {
		t.Errorf("in the configuration: %q", d)
	}
	if p := Build(want, seen(t, nil, made(t, wanted()))); !p.Converged() {
		t.Errorf("on the server: %q", p.Why)
	}
}
