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
		Devices: []string{"/dev/fuse", "/dev/a:/dev/b:r"}, GPUs: "device=0,1", PidsLimit: 100, DNS: []string{"10.0.0.3", "10.0.0.2"},
		MemoryReservation: 64 << 20, MemorySwap: 1 << 30, StopSignal: "QUIT", Restart: "on-failure:3",
	}
}

func TestOptionsArgv(t *testing.T) {
	t.Parallel()
	want := "--shm-size 268435456 --ulimit core=0:-1 --ulimit nofile=4096 --user 999:999 --init --read-only --cap-add sys_nice --cap-add CAP_IPC_LOCK " +
		"--cap-drop ALL --sysctl net.core.somaxconn=1024 --tmpfs /run:size=16m --tmpfs /tmp --add-host b:10.0.0.2 --add-host a:10.0.0.1 --security-opt no-new-privileges " +
		`--device /dev/fuse --device /dev/a:/dev/b:r --gpus "device=0,1" --pids-limit 100 --dns 10.0.0.3 --dns 10.0.0.2 ` +
		"--memory-reservation 67108864 --memory-swap 1073741824 --stop-signal QUIT"
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
	config := map[string]any{"User": "999:999", "StopSignal": "QUIT"}
	host := map[string]any{
		"ShmSize": 256 << 20, "Init": true, "ReadonlyRootfs": true, "CapAdd": []string{"CAP_IPC_LOCK", "CAP_SYS_NICE"}, "CapDrop": []string{"ALL"},
		"Ulimits": []any{map[string]any{"Name": "core", "Soft": 0, "Hard": -1}, map[string]any{"Name": "nofile", "Soft": 4096, "Hard": 4096}},
		"Sysctls": map[string]string{"net.core.somaxconn": "1024"}, "Tmpfs": map[string]string{"/run": "size=16m", "/tmp": ""},
		"ExtraHosts": []string{"b:10.0.0.2", "a:10.0.0.1"}, "SecurityOpt": []string{"no-new-privileges"},
		"RestartPolicy": map[string]any{"Name": "on-failure", "MaximumRetryCount": 3},
		"Devices": []any{map[string]any{"PathOnHost": "/dev/fuse", "PathInContainer": "/dev/fuse", "CgroupPermissions": "rwm"},
			map[string]any{"PathOnHost": "/dev/a", "PathInContainer": "/dev/b", "CgroupPermissions": "r"}},
		"DeviceRequests": []any{map[string]any{"DeviceIDs": []string{"0", "1"}, "Capabilities": [][]string{{"gpu"}}}},
		"PidsLimit":      100, "Dns": []string{"10.0.0.3", "10.0.0.2"}, "MemoryReservation": 64 << 20, "Memory": 256 << 20, "MemorySwap": 1 << 30,
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
	if got := OptionsOf(optioned(t, unchanged), nil, Defaults{}, everyOption()); !reflect.DeepEqual(got, everyOption()) {
		t.Errorf("shows\n%+v", got)
	}
	// Without anything known before, what is shown means the same.
	if got := OptionsOf(optioned(t, unchanged), nil, Defaults{}, Options{}); !got.Equal(everyOption()) {
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
	if err := json.Unmarshal([]byte(`{"Config": {"User": "app", "StopSignal": "SIGQUIT"}}`), &image.InspectResponse); err != nil {
		t.Fatal(err)
	}
	if got := OptionsOf(optioned(t, plain), &image, Defaults{Ulimits: []string{"nofile"}}, Options{}); !reflect.DeepEqual(got, Options{}) {
		t.Errorf("of a plain container: %+v", got)
	}
}

func TestEveryOptionThatChangesIsSeen(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(config, host map[string]any){
		"user":               func(config, _ map[string]any) { config["User"] = "0" },
		"shm_size":           func(_, host map[string]any) { host["ShmSize"] = 1 << 20 },
		"ulimits":            func(_, host map[string]any) { delete(host, "Ulimits") },
		"init":               func(_, host map[string]any) { host["Init"] = nil },
		"read_only":          func(_, host map[string]any) { host["ReadonlyRootfs"] = false },
		"cap_add":            func(_, host map[string]any) { host["CapAdd"] = []string{"CAP_SYS_NICE"} },
		"cap_drop":           func(_, host map[string]any) { host["CapDrop"] = nil },
		"sysctls":            func(_, host map[string]any) { host["Sysctls"] = map[string]string{"net.core.somaxconn": "1"} },
		"tmpfs":              func(_, host map[string]any) { host["Tmpfs"] = map[string]string{"/run": "size=16m"} },
		"add_hosts":          func(_, host map[string]any) { host["ExtraHosts"] = []string{"a:10.0.0.1"} },
		"security_opt":       func(_, host map[string]any) { host["SecurityOpt"] = nil },
		"restart":            func(_, host map[string]any) { host["RestartPolicy"] = map[string]any{"Name": "always"} },
		"devices":            func(_, host map[string]any) { host["Devices"] = nil },
		"gpus":               func(_, host map[string]any) { host["DeviceRequests"] = nil },
		"pids_limit":         func(_, host map[string]any) { host["PidsLimit"] = nil },
		"dns":                func(_, host map[string]any) { host["Dns"] = []string{"10.0.0.2", "10.0.0.3"} },
		"memory_reservation": func(_, host map[string]any) { host["MemoryReservation"] = 0 },
		"memory_swap":        func(_, host map[string]any) { host["MemorySwap"] = 512 << 20 },
		"stop_signal":        func(config, _ map[string]any) { config["StopSignal"] = "SIGTERM" },
		"no restart":         func(_, host map[string]any) { host["RestartPolicy"] = map[string]any{"Name": "no"} },
	} {
		if got := OptionsOf(optioned(t, change), nil, Defaults{}, everyOption()); got.Equal(everyOption()) {
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

// Every field of Options has a line in the table: set alone, it is an argument
// (the restart policy is Run's) and another container.
func TestEveryFieldOfOptionsIsInTheTable(t *testing.T) {
	t.Parallel()
	all := reflect.ValueOf(everyOption())
	for i := range all.NumField() {
		name := all.Type().Field(i).Name
		if all.Field(i).IsZero() {
			t.Errorf("everyOption lacks %s", name)
		}
		var alone Options
		reflect.ValueOf(&alone).Elem().Field(i).Set(all.Field(i))
		if name != "Restart" && len(alone.Argv()) == 0 {
			t.Errorf("%s is no argument of docker run", name)
		}
		if alone.Equal(Options{}) {
			t.Errorf("%s makes no other container", name)
		}
	}
	if all.NumField() != len(options) {
		t.Errorf("%d fields, %d lines in the table", all.NumField(), len(options))
	}
}

func TestOptionsOfDefaultsAreNone(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change   func(config, host map[string]any)
		defaults Defaults
		prior    Options
		want     Options
	}{
		"the daemon's shm size":            {func(_, h map[string]any) { h["ShmSize"] = 1 << 30 }, Defaults{ShmSize: 1 << 30}, Options{}, Options{}},
		"the same, wanted":                 {func(_, h map[string]any) { h["ShmSize"] = 1 << 30 }, Defaults{ShmSize: 1 << 30}, Options{ShmSize: 1 << 30}, Options{ShmSize: 1 << 30}},
		"docker's swap":                    {func(_, h map[string]any) { h["Memory"], h["MemorySwap"] = 1<<20, 2<<20 }, Defaults{}, Options{}, Options{}},
		"a kernel that counts no swap":     {func(_, h map[string]any) { h["Memory"], h["MemorySwap"] = 1<<20, -1 }, Defaults{}, Options{MemorySwap: 3 << 20}, Options{MemorySwap: 3 << 20}},
		"swap without end, without memory": {func(_, h map[string]any) { h["MemorySwap"] = -1 }, Defaults{}, Options{}, Options{MemorySwap: Unlimited}},
		"an old client's stop signal":      {func(c, _ map[string]any) { c["StopSignal"] = "SIGTERM" }, Defaults{}, Options{}, Options{}},
		"no limit of processes":            {func(_, h map[string]any) { h["PidsLimit"] = -1 }, Defaults{}, Options{}, Options{}},
		"devices that are no GPUs": {func(_, h map[string]any) {
			h["DeviceRequests"] = []any{map[string]any{"Driver": "cdi", "DeviceIDs": []string{"a/b=c"}}}
		}, Defaults{}, Options{}, Options{}},
		"all GPUs": {func(_, h map[string]any) {
			h["DeviceRequests"] = []any{map[string]any{"Count": -1, "Capabilities": [][]string{{"gpu"}}}}
		}, Defaults{}, Options{}, Options{GPUs: "all"}},
		"two GPUs": {func(_, h map[string]any) {
			h["DeviceRequests"] = []any{map[string]any{"Driver": "nvidia", "Count": 2, "Capabilities": [][]string{{"gpu"}}}}
		}, Defaults{}, Options{}, Options{GPUs: "2"}},
	} {
		plain := func(config, host map[string]any) {
			clear(config)
			clear(host)
			host["RestartPolicy"] = map[string]any{"Name": "unless-stopped"}
			c.change(config, host)
		}
		if got := OptionsOf(optioned(t, plain), nil, c.defaults, c.prior); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

func TestDevicesInEverySpelling(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"/dev/fuse": "/dev/fuse:/dev/fuse:rwm", "/dev/fuse:r": "/dev/fuse:/dev/fuse:r",
		"/dev/a:/dev/b": "/dev/a:/dev/b:rwm", "/dev/a:/dev/b:rw": "/dev/a:/dev/b:rw",
	} {
		if got := devices([]string{given}); !slices.Equal(got, []string{want}) {
			t.Errorf("%s: %q", given, got)
		}
	}
}
