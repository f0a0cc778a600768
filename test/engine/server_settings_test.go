package engine

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/server"
)

// hideDocker leaves a server as bare as one that never had Docker, with
// Docker's programs and units in /root/away.
const hideDocker = `systemctl stop docker.socket docker
mkdir /root/away
for f in "$(command -v docker)" "$(command -v dockerd)" "$(systemctl show docker.service --property=FragmentPath --value)" "$(systemctl show docker.socket --property=FragmentPath --value)"; do
  mkdir -p "/root/away${f%/*}"; mv "$f" "/root/away$f"
done
systemctl daemon-reload
hash -r; ! command -v docker`

// showDocker is a script that installs Docker: it stands in for what Docker's
// own repository needs, which is not to be reached here.
const showDocker = `#!/bin/bash
set -euo pipefail
echo "by the script, log-ins in $DOCKER_CONFIG" > /root/installed-by
cp -a /root/away/. / && rm -r /root/away
systemctl daemon-reload
`

// A machine without Docker gets it by the user's script, mirrors, another key
// of daemon.json and swap; drift of each shows and is mended; what is taken out
// of the configuration goes, and what never was in it stays.
func TestServerWithAScriptRegistriesKeysAndSwap(t *testing.T) {
	onEngines(t, func(e *engine) {
		s, m := e.s, e.machine()
		const swap = "/var/lib/docker/swapfile-of-tests"
		// The kernel is everybody's here, and would go on swapping to the file of a server that is gone.
		e.Cleanup(func() { s.SSH(e, "swapoff "+swap+" 2>/dev/null || :; rm -f "+swap+" /root/installed-by") })
		s.SSH(e, `docker network rm kamal 2>/dev/null || :
			echo '{"dns": ["10.9.8.7"]}' >/etc/docker/daemon.json
			`+hideDocker)
		m.want(func(want *server.Spec) {
			d := &want.Docker
			d.Script = showDocker
			d.Mirrors = []string{"https://mirror.example.com"}
			d.Insecure = []string{"registry.lan:5000", "10.9.0.0/16"}
			d.Keys = map[string]json.RawMessage{
				"default-address-pools":    json.RawMessage(`[{"base":"10.99.0.0/16","size":24}]`),
				"max-concurrent-downloads": json.RawMessage(`5`),
			}
			want.Swap = &server.Swap{File: swap, Size: 64 << 20}
		})
		m.setUp()
		if n, calls := e.run.handshakes(s.Address), e.run.remoteCalls(s.Address); n != 1 || len(calls) != 2 {
			e.Errorf("%d handshakes, calls %q; want one and two", n, calls)
		}
		running := func() string {
			return s.SSH(e, `cat /root/installed-by; docker info --format '{{range .RegistryConfig.Mirrors}}{{.}}{{end}}'
				docker info --format '{{range .RegistryConfig.InsecureRegistryCIDRs}}{{println .}}{{end}}' | grep -v '^::1/128$' | sort | xargs
				grep -o '"dns": *\[' /etc/docker/daemon.json; docker network create probe >/dev/null
				docker network inspect kamal probe --format '{{(index .IPAM.Config 0).Subnet}}' | cut -d. -f1,2; docker network rm probe >/dev/null
				awk '$1 == "`+swap+`" {print $3}' /proc/swaps; grep -c '^`+swap+` none swap' /etc/fstab; stat -c '%a %s' `+swap)
		}
		want := "by the script, log-ins in /root/.docker\nhttps://mirror.example.com/\n10.9.0.0/16 127.0.0.0/8\n\"dns\": [\n10.99\n10.99\n65532\n1\n600 67108864"
		if got := strings.TrimSpace(running()); got != want {
			e.Errorf("Docker and swap:\n%s\nwant\n%s", got, want)
		}
		f := e.snapshot(s.Address).Facts
		if f.User != "root" || f.Kernel != strings.TrimSpace(s.SSH(e, "uname -r")) || f.MachineID != strings.TrimSpace(s.SSH(e, "cat /etc/machine-id")) ||
			f.DiskFree < 1<<30 || f.Swap < 64<<20-4096 {
			e.Errorf("facts: %+v", f)
		}

		const write, reload, restart = "write /etc/docker/daemon.json", "reload Docker's configuration", "restart Docker, where no container runs"
		makeSwap := "make the swap file " + swap
		for _, d := range []struct {
			name, spoil string
			steps       []string
			shows       func(d *server.Daemon) bool
		}{
			{"another mirror, a key changed", `sed -i 's/mirror.example/other.example/; s/"max-concurrent-downloads": 5/"max-concurrent-downloads": 7/' /etc/docker/daemon.json`,
				[]string{write, reload}, func(d *server.Daemon) bool {
					return slices.Equal(d.Mirrors, []string{"https://other.example.com"}) && string(d.Key("max-concurrent-downloads")) == "7"
				}},
			{"a key gone", `sed -i '/max-concurrent-downloads/d; s|"default-address-pools"|"max-concurrent-uploads": 3, &|' /etc/docker/daemon.json`,
				[]string{write, reload}, func(d *server.Daemon) bool { return d.Key("max-concurrent-downloads") == nil }},
			{"a key that needs a restart", `sed -i 's/10\.99\.0/10.98.0/' /etc/docker/daemon.json`,
				[]string{write, restart}, func(d *server.Daemon) bool { return strings.Contains(string(d.Key("default-address-pools")), "10.98") }},
			{"swap off", "swapoff " + swap, []string{makeSwap}, nil},
			{"not swapped to at boot", `sed -i '\|` + swap + `|d' /etc/fstab`, []string{makeSwap}, nil},
		} {
			s.SSH(e, d.spoil)
			if got, want := m.left(), append([]string{"check that we are root"}, d.steps...); !slices.Equal(got, want) {
				e.Errorf("%s: the plan is %q, want %q", d.name, got, want)
			}
			if d.shows != nil && !d.shows(m.daemon()) {
				e.Errorf("%s: the drift is not seen", d.name)
			}
			if have := server.FindSwap(e.snapshot(s.Address).Facts, swap); (have == nil) != (d.shows == nil) {
				e.Errorf("%s: the swap file is seen as %v", d.name, have)
			}
			m.setUp()
			if got := strings.TrimSpace(running()); got != want {
				e.Errorf("%s, after the repair:\n%s\nwant\n%s", d.name, got, want)
			}
		}

		// What is in the way of the file and is no swap file stays.
		m.spec.NoSwap = swap
		m.spec.Swap = &server.Swap{File: "/root/precious", Size: 64 << 20}
		s.SSH(e, "echo precious > /root/precious")
		m.fails("Unable to set up the server", "/root/precious is there, and is no swap file")
		s.SSH(e, "grep -qx precious /root/precious && rm /root/precious")

		m.want(func(want *server.Spec) {
			want.NoSwap = swap
			want.Docker.NoKeys = []string{"default-address-pools", "max-concurrent-downloads", "registry-mirrors", "insecure-registries"}
		})
		m.setUp()
		if got := strings.TrimSpace(s.SSH(e, `tr -d ' \n' </etc/docker/daemon.json; echo; [ ! -e `+swap+` ]; awk '$1 == "`+swap+`"' /proc/swaps /etc/fstab; docker info --format '{{len .RegistryConfig.Mirrors}}'`)); got !=
			`{"dns":["10.9.8.7"],"log-opts":{"max-size":"10m","max-file":"3"},"live-restore":true,"max-concurrent-uploads":3,"userland-proxy":false}`+"\n0" {
			e.Errorf("after it was taken out of the configuration:\n%s", got)
		}
	})
}
