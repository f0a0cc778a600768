package docker

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func everyOption() Options {
	return Options{
		ShmSize: 256 << 20, Ulimits: map[string]string{"nofile": "4096", "core": "0:-1"}, User: "999:999", Init: true, ReadOnly: true,
		CapAdd: []string{"sys_nice", "CAP_IPC_LOCK"}, CapDrop: []string{"ALL"}, Sysctls: map[string]string{"net.core.somaxconn": "1024"},
		Tmpfs: map[string]string{"/run": "size=16m", "/tmp": ""}, AddHosts: []string{"b:10.0.0.2", "a:10.0.0.1"}, SecurityOpt: []string{"no-new-privileges"},
		Restart: "on-failure:3",
	}
}

func TestOptionsArgv(t *testing.T) {
	t.Parallel()
	want := "--shm-size 268435456 --ulimit core=0:-1 --ulimit nofile=4096 --user 999:999 --init --read-only --cap-add sys_nice --cap-add CAP_IPC_LOCK " +
		"--cap-drop ALL --sysctl net.core.somaxconn=1024 --tmpfs /run:size=16m --tmpfs /tmp --add-host b:10.0.0.2 --add-host a:10.0.0.1 --security-opt no-new-privileges"
	if got := strings.Join(everyOption().Argv(), " "); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := (Options{}).Argv(); len(got) != 0 {
		t.Errorf("the least: %q", got)
	}
}

// optioned is what docker inspect shows of a container with everyOption, as
// dockerd 26 prints it, in a few of its parts changed.
func optioned(t *testing.T, change func(config, host map[string]any)) Container {
	t.Helper()
	config := map[string]any{"User": "999:999"}
	host := map[string]any{
		"ShmSize": 256 << 20, "Init": true, "ReadonlyRootfs": true, "CapAdd": []string{"CAP_IPC_LOCK", "CAP_SYS_NICE"}, "CapDrop": []string{"ALL"},
		"Ulimits": []any{map[string]any{"Name": "core", "Soft": 0, "Hard": -1}, map[string]any{"Name": "nofile", "Soft": 4096, "Hard": 4096}},
		"Sysctls": map[string]string{"net.core.somaxconn": "1024"}, "Tmpfs": map[string]string{"/run": "size=16m", "/tmp": ""},
		"ExtraHosts": []string{"b:10.0.0.2", "a:10.0.0.1"}, "SecurityOpt": []string{"no-new-privileges"},
		"RestartPolicy": map[string]any{"Name": "on-failure", "MaximumRetryCount": 3},
	}
	change(config, host)
	b, err := json.Marshal(map[string]any{"Config": config, "HostConfig": host})
	if err != nil {
		t.Fatal(err)
	}
	var c Container
	if err := json.Unmarshal(b, &c.InspectResponse); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestOptionsOfAContainerAreThoseThatMadeIt(t *testing.T) {
	t.Parallel()
	unchanged := func(_, _ map[string]any) {}
	if got := OptionsOf(optioned(t, unchanged), nil, nil, everyOption()); !reflect.DeepEqual(got, everyOption()) {
		t.Errorf("shows\n%+v", got)
	}
	// Without anything known before, what is shown means the same.
	if got := OptionsOf(optioned(t, unchanged), nil, nil, Options{}); !got.Equal(everyOption()) {
		t.Errorf("imported\n%+v", got)
	}
	// Nothing asked for: what docker, the daemon and the image give is no option.
	plain := func(config, host map[string]any) {
		clear(host)
		config["User"], host["ShmSize"] = "app", 64<<20
		host["Ulimits"] = []any{map[string]any{"Name": "nofile", "Soft": 1, "Hard": 1}}
		host["RestartPolicy"] = map[string]any{"Name": "unless-stopped"}
	}
	var image Image
	if err := json.Unmarshal([]byte(`{"Config": {"User": "app"}}`), &image.InspectResponse); err != nil {
		t.Fatal(err)
	}
	if got := OptionsOf(optioned(t, plain), &image, []string{"nofile"}, Options{}); !reflect.DeepEqual(got, Options{}) {
		t.Errorf("of a plain container: %+v", got)
	}
}

func TestEveryOptionThatChangesIsSeen(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(config, host map[string]any){
		"user":         func(config, _ map[string]any) { config["User"] = "0" },
		"shm_size":     func(_, host map[string]any) { host["ShmSize"] = 1 << 20 },
		"ulimits":      func(_, host map[string]any) { delete(host, "Ulimits") },
		"init":         func(_, host map[string]any) { host["Init"] = nil },
		"read_only":    func(_, host map[string]any) { host["ReadonlyRootfs"] = false },
		"cap_add":      func(_, host map[string]any) { host["CapAdd"] = []string{"CAP_SYS_NICE"} },
		"cap_drop":     func(_, host map[string]any) { host["CapDrop"] = nil },
		"sysctls":      func(_, host map[string]any) { host["Sysctls"] = map[string]string{"net.core.somaxconn": "1"} },
		"tmpfs":        func(_, host map[string]any) { host["Tmpfs"] = map[string]string{"/run": "size=16m"} },
		"add_hosts":    func(_, host map[string]any) { host["ExtraHosts"] = []string{"a:10.0.0.1"} },
		"security_opt": func(_, host map[string]any) { host["SecurityOpt"] = nil },
		"restart":      func(_, host map[string]any) { host["RestartPolicy"] = map[string]any{"Name": "always"} },
		"no restart":   func(_, host map[string]any) { host["RestartPolicy"] = map[string]any{"Name": "no"} },
	} {
		if got := OptionsOf(optioned(t, change), nil, nil, everyOption()); got.Equal(everyOption()) {
			t.Errorf("a change of %s is not seen", name)
		}
	}
	for policy, want := range map[string]string{"": "unless-stopped", "no": "no"} {
		if got := (Options{Restart: policy}).RestartPolicy(); got != want {
			t.Errorf("%q: %s", policy, got)
		}
	}
	if !slices.Equal(capabilities([]string{"net_admin", "CAP_NET_ADMIN", "all"}), []string{"ALL", "NET_ADMIN"}) {
		t.Error("capabilities in two spellings")
	}
}
