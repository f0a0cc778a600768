package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
)

// daemonFile is what configures dockerd beside its command line.
const daemonFile = "/etc/docker/daemon.json"

// object is a JSON object that keeps the order of its keys and the spelling of
// its values, so that a file comes out as it went in, but for what was changed.
type object struct {
	keys   []string
	values map[string]json.RawMessage
}

// parseObject reads a JSON object. Empty text and null are an empty one, as dockerd takes them.
func parseObject(text []byte) (*object, error) {
	o := &object{values: map[string]json.RawMessage{}}
	text = bytes.TrimSpace(bytes.TrimPrefix(text, []byte("\xef\xbb\xbf")))
	if len(text) == 0 || string(text) == "null" {
		return o, nil
	}
	d := json.NewDecoder(bytes.NewReader(text))
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	if t != json.Delim('{') {
		return nil, fmt.Errorf("it is no JSON object: it begins with %v", t)
	}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, err
		}
		var v json.RawMessage
		if err := d.Decode(&v); err != nil {
			return nil, err
		}
		o.set(t.(string), v) //nolint:forcetypeassert // the decoder gives only strings as keys
	}
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("there is text behind the JSON object, at byte %d", d.InputOffset())
	}
	return o, nil
}

func (o *object) set(key string, v json.RawMessage) {
	if _, ok := o.values[key]; !ok {
		o.keys = append(o.keys, key)
	}
	o.values[key] = v
}

func (o *object) setAny(key string, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("strings and booleans always marshal: %v", err))
	}
	o.set(key, b)
}

// text is the value of a string, "" where there is none or it is none.
func (o *object) text(key string) string {
	var s string
	_ = json.Unmarshal(o.values[key], &s)
	return s
}

// flag is the value of a boolean, false where there is none.
func (o *object) flag(key string) bool {
	var b bool
	_ = json.Unmarshal(o.values[key], &b)
	return b
}

func (o *object) has(key string) bool {
	_, ok := o.values[key]
	return ok
}

// list is the value of an array of strings, nil where there is none.
func (o *object) list(key string) []string {
	var l []string
	_ = json.Unmarshal(o.values[key], &l)
	return l
}

func (o *object) remove(key string) {
	delete(o.values, key)
	o.keys = slices.DeleteFunc(o.keys, func(k string) bool { return k == key })
}

func (o *object) encode() []byte {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, k := range o.keys {
		if i > 0 {
			b.WriteByte(',')
		}
		name, _ := json.Marshal(k)
		b.Write(name)
		b.WriteByte(':')
		b.Write(o.values[k])
	}
	b.WriteByte('}')
	return b.Bytes()
}

// A Daemon is what of daemon.json this provider knows. A nil field is a key
// that is not there.
type Daemon struct {
	LogMaxSize, LogMaxFile *string
	LiveRestore            *bool
	// Mirrors and Insecure are registry-mirrors and insecure-registries.
	Mirrors, Insecure []string
	// Logs says that the log options may be set in the file: the log driver
	// has them, and no option of dockerd's command line claims the key.
	// Live says the same of live-restore, Registries of the mirrors and the
	// insecure registries, Others of any other key.
	Logs, Live, Registries, Others bool
	// Why says why one of them is false.
	Why []string

	file, logs *object
	userland   bool // the file or the command line says something about userland-proxy
}

// ReadDaemon reads daemon.json and dockerd's command line. The error says that the file is malformed.
func ReadDaemon(text string, command []string) (*Daemon, error) {
	file, err := parseObject([]byte(text))
	if err != nil {
		return nil, fmt.Errorf("%s is malformed: %w", daemonFile, err)
	}
	logs, err := parseObject(file.values["log-opts"])
	if err != nil {
		return nil, fmt.Errorf("log-opts in %s is malformed: %w", daemonFile, err)
	}
	options := commandOptions(command)
	d := &Daemon{file: file, logs: logs, Logs: true, Live: true, Registries: true, Others: true, userland: file.has("userland-proxy")}
	if s := logs.text("max-size"); s != "" {
		d.LogMaxSize = &s
	}
	if s := logs.text("max-file"); s != "" {
		d.LogMaxFile = &s
	}
	if file.has("live-restore") {
		b := file.flag("live-restore")
		d.LiveRestore = &b
	}
	d.Mirrors, d.Insecure = file.list("registry-mirrors"), file.list("insecure-registries")
	driver := file.text("log-driver")
	if v, ok := options["log-driver"]; ok {
		driver = v
	}
	if !docker.LogsToFiles(driver) {
		d.Logs = false
		d.Why = append(d.Why, fmt.Sprintf("log_max_size and log_max_file: Docker logs to %q, which does not know them", driver))
	}
	if _, ok := options["log-opt"]; ok {
		d.Logs = false
		d.Why = append(d.Why, "log_max_size and log_max_file: dockerd gets --log-opt on its command line")
	}
	if _, ok := options["live-restore"]; ok {
		d.Live = false
		d.Why = append(d.Why, "live_restore: dockerd gets --live-restore on its command line")
	}
	for _, option := range []string{"registry-mirror", "insecure-registry"} {
		if _, ok := options[option]; ok {
			d.Registries = false
			d.Why = append(d.Why, "registry_mirrors and insecure_registries: dockerd gets --"+option+" on its command line")
		}
	}
	if _, ok := options["userland-proxy"]; ok {
		d.userland = true
	}
	if f, ok := options["config-file"]; ok && f != daemonFile {
		d.Logs, d.Live, d.Registries, d.Others, d.userland = false, false, false, false, true
		d.Why = []string{fmt.Sprintf("all settings of docker: dockerd reads %s instead of %s", f, daemonFile)}
	}
	return d, nil
}

// commandOptions are the long options of dockerd's command line by name.
func commandOptions(command []string) map[string]string {
	m := map[string]string{}
	for i, a := range command {
		name, ok := strings.CutPrefix(a, "--")
		if !ok || name == "" {
			continue
		}
		name, value, given := strings.Cut(name, "=")
		if !given && i+1 < len(command) && !strings.HasPrefix(command[i+1], "-") {
			value = command[i+1]
		}
		m[name] = value
	}
	return m
}

// logsDiffer and liveDiffers say whether the file means something else than wanted.
func (d *Daemon) logsDiffer(want Docker) bool {
	return d.Logs && (d.LogMaxSize == nil || !docker.SameLogSize(*d.LogMaxSize, want.LogMaxSize) ||
		d.LogMaxFile == nil || *d.LogMaxFile != strconv.FormatInt(want.LogMaxFile, 10))
}

func (d *Daemon) liveDiffers(want Docker) bool {
	return d.Live && (d.LiveRestore == nil && want.LiveRestore || d.LiveRestore != nil && *d.LiveRestore != want.LiveRestore)
}
