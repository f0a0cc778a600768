package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// OwnKeys are the keys of daemon.json that have an attribute of their own.
var OwnKeys = map[string]string{
	"log-opts": "log_max_size and log_max_file", "live-restore": "live_restore",
	"registry-mirrors": "registry_mirrors", "insecure-registries": "insecure_registries",
}

// reloaded are the keys that dockerd takes over without a restart, from its
// documentation. It takes the others when it starts.
var reloaded = []string{
	"allow-nondistributable-artifacts", "authorization-plugins", "debug", "default-runtime", "features", "insecure-registries", "labels",
	"live-restore", "max-concurrent-downloads", "max-concurrent-uploads", "max-download-attempts", "registry-mirrors", "runtimes", "shutdown-timeout",
}

// Key is what the file has for a key, nil for nothing.
func (d *Daemon) Key(name string) json.RawMessage { return d.file.values[name] }

// SameJSON says that two values mean the same.
func SameJSON(a, b json.RawMessage) bool {
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}

// SameRegistries says that two lists mean the same; dockerd puts a / behind a mirror.
func SameRegistries(a, b []string) bool {
	return slices.EqualFunc(a, b, func(a, b string) bool { return strings.TrimSuffix(a, "/") == strings.TrimSuffix(b, "/") })
}

// change writes what is wanted into the file, everything else stays as it was,
// and returns the keys that were changed. installing says that this provider
// installs Docker: only then may it turn the userland proxy off, which lets
// IPv6 past a firewall, and only where nobody said anything about it.
func (d *Daemon) change(want Docker, installing bool) (changed []string) {
	setRaw := func(key string, v json.RawMessage) {
		d.file.set(key, v)
		changed = append(changed, key)
	}
	set := func(key string, v any) {
		d.file.setAny(key, v)
		changed = append(changed, key)
	}
	if d.logsDiffer(want) {
		d.logs.setAny("max-size", want.LogMaxSize)
		d.logs.setAny("max-file", strconv.FormatInt(want.LogMaxFile, 10))
		setRaw("log-opts", d.logs.encode())
	}
	if d.liveDiffers(want) {
		set("live-restore", want.LiveRestore)
	}
	if d.Registries && want.Mirrors != nil && !SameRegistries(d.Mirrors, want.Mirrors) {
		set("registry-mirrors", want.Mirrors)
	}
	if d.Registries && want.Insecure != nil && !SameRegistries(d.Insecure, want.Insecure) {
		set("insecure-registries", want.Insecure)
	}
	if d.Others {
		for _, key := range slices.Sorted(maps.Keys(want.Keys)) {
			if !SameJSON(d.file.values[key], want.Keys[key]) {
				setRaw(key, want.Keys[key])
			}
		}
		for _, key := range want.NoKeys {
			if d.file.has(key) {
				d.file.remove(key)
				changed = append(changed, key)
			}
		}
	}
	if installing && !d.userland && want.Keys["userland-proxy"] == nil {
		set("userland-proxy", false)
	}
	return changed
}

// text is the file.
func (d *Daemon) text() string {
	var b bytes.Buffer
	if err := json.Indent(&b, d.file.encode(), "", "  "); err != nil {
		panic(fmt.Sprintf("what was parsed indents: %v", err))
	}
	return b.String() + "\n"
}
