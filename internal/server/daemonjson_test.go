package server

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestMergeChangesOnlyWhatDiffers(t *testing.T) {
	t.Parallel()
	want := Default.Docker
	tests := []struct {
		name, file string
		command    []string
		want       Docker
		installing bool
		merged     string // "" for nothing to write
	}{
		{
			name: "no file", want: want,
			merged: `{"log-opts":{"max-size":"10m","max-file":"3"},"live-restore":true}`,
		},
		{
			name: "no file, Docker about to be installed", want: want, installing: true,
			merged: `{"log-opts":{"max-size":"10m","max-file":"3"},"live-restore":true,"userland-proxy":false}`,
		},
		{
			name: "userland-proxy as somebody chose it", file: `{"userland-proxy": true}`, want: want, installing: true,
			merged: `{"userland-proxy":true,"log-opts":{"max-size":"10m","max-file":"3"},"live-restore":true}`,
		},
		{
			name: "unknown keys, their order and their spelling stay",
			file: `{ "dns": ["10.0.0.2"], "max-concurrent-downloads": 1e1,` + "\n" + `"default-ulimits": {"nofile": {"Hard": 64000, "Name": "nofile"}}, "log-opts": {"tag": "<{{.Name}}>", "max-size": "1g"}, "debug": false }`,
			want: want,
			merged: `{"dns":["10.0.0.2"],"max-concurrent-downloads":1e1,"default-ulimits":{"nofile":{"Hard":64000,"Name":"nofile"}},` +
				`"log-opts":{"tag":"<{{.Name}}>","max-size":"10m","max-file":"3"},"debug":false,"live-restore":true}`,
		},
		{
			name: "the same meaning is not written again", want: want,
			file: "\xef\xbb\xbf" + `{"live-restore":true,"log-opts":{"max-file":"3","max-size":"10000k"}}`,
		},
		{
			name: "live-restore off is the same as not there", want: Docker{LogMaxSize: "10m", LogMaxFile: 3},
			file: `{"log-opts":{"max-file":"3","max-size":"10m"}}`,
		},
		{
			name: "live-restore turned off", want: Docker{LogMaxSize: "10m", LogMaxFile: 3},
			file:   `{"live-restore":true,"log-opts":{"max-file":"3","max-size":"10m"}}`,
			merged: `{"live-restore":false,"log-opts":{"max-file":"3","max-size":"10m"}}`,
		},
		{
			name: "journald does not know the log options", file: `{"log-driver":"journald"}`, want: want,
			merged: `{"log-driver":"journald","live-restore":true}`,
		},
		{
			name: "the local driver knows them", file: `{"log-driver":"local"}`, want: want,
			merged: `{"log-driver":"local","log-opts":{"max-size":"10m","max-file":"3"},"live-restore":true}`,
		},
		{
			name: "log driver on the command line", command: []string{"/usr/sbin/dockerd", "--log-driver", "syslog", "-H", "fd://"}, want: want,
			merged: `{"live-restore":true}`,
		},
		{
			name:    "options of the command line would keep dockerd from starting",
			command: []string{"/usr/sbin/dockerd", "-H", "fd://", "--log-opt", "max-size=1m", "--live-restore", "--userland-proxy=true"}, want: want, installing: true,
		},
		{
			name: "dockerd reads another file", command: []string{"dockerd", "--config-file=/srv/docker.json"}, want: want, installing: true,
		},
		{
			name: "the usual file by option", command: []string{"dockerd", "--config-file", "/etc/docker/daemon.json"}, want: Docker{LogMaxSize: "5m", LogMaxFile: 1},
			merged: `{"log-opts":{"max-size":"5m","max-file":"1"}}`,
		},
		{
			name: "registries and other keys are set, keys of before are taken out",
			want: Docker{LogMaxSize: "10m", LogMaxFile: 3, LiveRestore: true, Mirrors: []string{"https://mirror.example.com"}, Insecure: []string{"10.0.0.5:5000"},
				Keys: map[string]json.RawMessage{"default-address-pools": json.RawMessage(`[{"base": "10.9.0.0/16", "size": 24}]`), "userland-proxy": json.RawMessage(`true`)}, NoKeys: []string{"debug", "not-there"}},
			file: `{"debug":true,"dns":["10.0.0.2"],"registry-mirrors":["https://old.example.com/"]}`, installing: true,
			merged: `{"dns":["10.0.0.2"],"registry-mirrors":["https://mirror.example.com"],"log-opts":{"max-size":"10m","max-file":"3"},"live-restore":true,` +
				`"insecure-registries":["10.0.0.5:5000"],"default-address-pools":[{"base":"10.9.0.0/16","size":24}],"userland-proxy":true}`,
		},
		{
			name: "registries and keys that mean the same",
			want: Docker{LogMaxSize: "10m", LogMaxFile: 3, LiveRestore: true, Mirrors: []string{"https://mirror.example.com"}, Keys: map[string]json.RawMessage{"a": json.RawMessage(`{"x":1,"y":[2]}`)}},
			file: `{"a":{"y":[2],"x":1.0},"log-opts":{"max-file":"3","max-size":"10m"},"live-restore":true,"registry-mirrors":["https://mirror.example.com/"],"insecure-registries":["x"]}`,
		},
		{
			name: "mirrors on the command line", command: []string{"dockerd", "--registry-mirror=https://m.example.com"},
			want: Docker{LogMaxSize: "10m", LogMaxFile: 3, Mirrors: []string{"https://mirror.example.com"}}, file: `{"log-opts":{"max-file":"3","max-size":"10m"}}`,
		},
		{
			name: "blank file", file: " \n", want: Docker{LogMaxSize: "5m", LogMaxFile: 1},
			merged: `{"log-opts":{"max-size":"5m","max-file":"1"}}`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d, err := ReadDaemon(tt.file, tt.command)
			if err != nil {
				t.Fatal(err)
			}
			got := merge(d, tt.want, tt.installing)
			if compact(t, got) != tt.merged {
				t.Errorf("merged:\n%s\nwant\n%s", compact(t, got), tt.merged)
			}
			if got == "" {
				return
			}
			again, err := ReadDaemon(got, tt.command)
			if err != nil {
				t.Fatal(err)
			}
			if rest := merge(again, tt.want, tt.installing); rest != "" {
				t.Errorf("merging what was merged gives more:\n%s", rest)
			}
		})
	}
}

// merge is the file with what is wanted, "" where it means that already.
func merge(d *Daemon, want Docker, installing bool) string {
	if len(d.change(want, installing)) == 0 {
		return ""
	}
	return d.text()
}

func compact(t *testing.T, text string) string {
	t.Helper()
	var b strings.Builder
	d := json.NewDecoder(strings.NewReader(text))
	for d.More() {
		var v json.RawMessage
		if err := d.Decode(&v); err != nil {
			t.Fatal(err)
		}
		o, err := parseObject(v)
		if err != nil {
			t.Fatal(err)
		}
		for k, raw := range o.values { // white space of nested values
			o.values[k] = squeeze(raw)
		}
		b.Write(o.encode())
	}
	return b.String()
}

func squeeze(raw json.RawMessage) json.RawMessage {
	var out []byte
	quoted := false
	for i, c := range raw {
		if c == '"' && (i == 0 || raw[i-1] != '\\') {
			quoted = !quoted
		}
		if !quoted && (c == ' ' || c == '\n' || c == '\t') {
			continue
		}
		out = append(out, c)
	}
	return out
}

func TestMalformedDaemonJSONIsRefused(t *testing.T) {
	t.Parallel()
	for _, file := range []string{`{"debug": true`, `{"debug": true} x`, `{debug: true}`, `[]`, `"x"`, `{"log-opts": []}`, `{"a":1,}`} {
		if _, err := ReadDaemon(file, nil); err == nil {
			t.Errorf("%s: no error", file)
		} else if !strings.Contains(err.Error(), daemonFile) {
			t.Errorf("%s: the error does not name the file: %v", file, err)
		}
	}
}
