package proxy

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/kamal"
)

func TestCheckVersion(t *testing.T) {
	t.Parallel()
	for version, ok := range map[string]bool{
		"v0.9.2": true, "0.9.2": true, "v0.10.0": true, "v1.0.0": true, "v0.10.0-rc1": true,
		"latest": false, "edge": false, "v0.9.1": false, "v0.9.2-1": false, "v0.9": false, "": false,
		"sha256:0123": false, "v0.9.2@sha256:0123": false, "v0.9.2+x": false,
	} {
		if err := CheckVersion(version); (err == nil) != ok {
			t.Errorf("%q: %v", version, err)
		}
	}
}

func TestContainerIsMadeAsKamalMakesIt(t *testing.T) {
	t.Parallel()
	got := strings.Join(DefaultContainer.run(Container, "/root", true).Argv(), " ")
	const want = "docker run --detach --sig-proxy=false --restart unless-stopped --name kamal-proxy --network kamal --log-opt max-size=10m " +
		"--volume kamal-proxy-config:/home/kamal-proxy/.config/kamal-proxy --volume /root/.kamal/proxy/apps-config:/home/kamal-proxy/.apps-config " +
		"--publish 80:80 --publish 443:443 basecamp/kamal-proxy:v0.9.2"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}

	all := ContainerSpec{
		Image: "registry.example.com:5000/proxy", Version: "v1.0.0", HTTPPort: 8080, HTTPSPort: 8443,
		BindAddresses: []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("2001:db8::1")},
		MetricsPort:   9090, Debug: true,
	}
	got = strings.Join(all.run(Container, "/home/deploy/", false).Argv(), " ")
	for _, part := range []string{
		"--publish 10.0.0.1:8080:80 --publish [2001:db8::1]:8080:80 --publish 10.0.0.1:8443:443 --publish [2001:db8::1]:8443:443",
		"--volume /home/deploy/.kamal/proxy/apps-config:", "--expose 9090", "registry.example.com:5000/proxy:v1.0.0 kamal-proxy run --metrics-port 9090 --debug",
	} {
		if !strings.Contains(got, part) {
			t.Errorf("%q is not in %s", part, got)
		}
	}
	if strings.Contains(got, "--log-opt") {
		t.Errorf("a log option where logs don't go to files: %s", got)
	}
}

// inspected is what `docker inspect` says of a container that Kamal booted.
const inspected = `[{
  "Id": "0123456789abcdef", "Name": "/kamal-proxy",
  "State": {"Status": "running", "Running": true},
  "Config": {"Image": "basecamp/kamal-proxy:v0.9.2", "Cmd": ["kamal-proxy", "run"]},
  "HostConfig": {
    "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m"}},
    "PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "80"}], "443/tcp": [{"HostIp": "", "HostPort": "443"}]},
    "RestartPolicy": {"Name": "unless-stopped"}
  },
  "Mounts": [
    {"Type": "volume", "Name": "kamal-proxy-config", "Source": "/var/lib/docker/volumes/kamal-proxy-config/_data", "Destination": "/home/kamal-proxy/.config/kamal-proxy"},
    {"Type": "bind", "Source": "/root/.kamal/proxy/apps-config", "Destination": "/home/kamal-proxy/.apps-config"}
  ],
  "NetworkSettings": {"Networks": {"kamal": {}}}
}]`

// snapshot is a server whose kamal-proxy is as inspected, with replacements.
func snapshot(t *testing.T, replacements ...string) *fleet.Snapshot {
	t.Helper()
	text := inspected
	for i := 0; i < len(replacements); i += 2 {
		if !strings.Contains(text, replacements[i]) {
			t.Fatalf("%s is not in the container", replacements[i])
		}
		text = strings.Replace(text, replacements[i], replacements[i+1], 1)
	}
	list, err := docker.ParseContainers([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	s := &fleet.Snapshot{Containers: list, Facts: fleet.Facts{Home: "/root"}}
	s.Proxy.Container = s.Container(Container)
	return s
}

func TestObserveAndPlanContainer(t *testing.T) {
	t.Parallel()
	want := DefaultContainer
	bound := want
	bound.BindAddresses = []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("::1")}
	metrics := want
	metrics.MetricsPort, metrics.Debug = 9090, true
	const both = `{"80/tcp": [{"HostIp": "::1", "HostPort": "80"}, {"HostIp": "10.0.0.1", "HostPort": "80"}], "443/tcp": [{"HostIp": "10.0.0.1", "HostPort": "443"}, {"HostIp": "::1", "HostPort": "443"}]}`
	const ports = `{"80/tcp": [{"HostIp": "", "HostPort": "80"}], "443/tcp": [{"HostIp": "", "HostPort": "443"}]}`
	tests := []struct {
		name   string
		want   ContainerSpec
		is     []string
		action Action
		faults []string
	}{
		{name: "as wanted", want: want, action: Keep},
		{name: "image in another spelling", want: want, is: []string{`"Image": "basecamp/`, `"Image": "docker.io/basecamp/`}, action: Keep},
		{name: "log size in another spelling", want: want, is: []string{`"10m"`, `"10000k"`}, action: Keep},
		{name: "logs to journald", want: want, is: []string{`{"Type": "json-file", "Config": {"max-size": "10m"}}`, `{"Type": "journald", "Config": {}}`}, action: Keep},
		{name: "stopped", want: want, is: []string{`"Status": "running", "Running": true`, `"Status": "exited", "Running": false`}, action: Start},
		{name: "paused", want: want, is: []string{`"Running": true`, `"Running": true, "Paused": true`}, action: Start},
		{name: "crashes again and again", want: want, is: []string{`"Running": true`, `"Running": true, "Restarting": true`}, action: Start},
		{name: "other version", want: want, is: []string{"v0.9.2", "v0.9.3"}, action: Replace},
		{name: "other repository", want: want, is: []string{"basecamp/", "registry.example.com/"}, action: Replace},
		{name: "other port", want: want, is: []string{`"HostPort": "80"`, `"HostPort": "8080"`}, action: Replace},
		{name: "not published", want: want, is: []string{ports, "{}"}, action: Replace},
		{name: "addresses in another order", want: bound, is: []string{ports, both}, action: Keep},
		{name: "addresses instead of all", want: want, is: []string{ports, both}, action: Replace},
		{name: "all instead of addresses", want: bound, action: Replace},
		{name: "metrics and debug", want: metrics, is: []string{`"run"]`, `"run", "--debug", "--metrics-port=9090"]`}, action: Keep},
		{name: "debug set by hand", want: want, is: []string{`"run"]`, `"run", "--debug"]`}, action: Replace},
		{name: "no log size", want: want, is: []string{`{"max-size": "10m"}`, "{}"}, action: Replace},
		{name: "restart policy", want: want, is: []string{"unless-stopped", "no"}, action: Replace, faults: []string{`its restart policy is "no"`}},
		{name: "network", want: want, is: []string{`"kamal": {}`, `"bridge": {}`}, action: Replace, faults: []string{"it is not in the network kamal"}},
		{name: "volume", want: want, is: []string{`"Name": "kamal-proxy-config"`, `"Name": "other"`}, action: Replace, faults: []string{`its volume is "other", not kamal-proxy-config`}},
		{name: "home of another user", want: want, is: []string{"/root/.kamal", "/home/x/.kamal"}, action: Replace,
			faults: []string{`its directory for certificates and error pages is "/home/x/.kamal/proxy/apps-config", not /root/.kamal/proxy/apps-config`}},
		{name: "HTTP/3 by hand", want: want, is: []string{`"run"]`, `"run", "--http3"]`, `{"80/tcp"`, `{"443/udp": [{"HostPort": "443"}], "80/tcp"`}, action: Replace,
			faults: []string{"it publishes 443/udp", "its command has --http3"}},
		{name: "proxies of docker's client", want: want, is: []string{`"Cmd"`, `"Env": ["PATH=/bin", "no_proxy=localhost", "HTTP_PROXY=http://corp:s3cret@192.0.2.1:3128"], "Cmd"`}, action: Replace,
			faults: []string{"it has HTTP_PROXY, no_proxy in its environment, so that it looks for the apps behind another proxy"}},
		{name: "another command", want: want, is: []string{`"kamal-proxy", "run"`, `"sh"`}, action: Replace, faults: []string{`its command is "sh"`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			have := ObserveContainer(snapshot(t, tt.is...))
			if got := PlanContainer(tt.want, have); got != tt.action || !slices.Equal(have.Faults, tt.faults) {
				t.Errorf("%s, faults %q; want %s, %q", got, have.Faults, tt.action, tt.faults)
			}
		})
	}
	if got := PlanContainer(want, ObserveContainer(&fleet.Snapshot{})); got != Boot {
		t.Errorf("no container: %s, want boot", got)
	}
}

func TestPortsTakenNamesTheHolder(t *testing.T) {
	t.Parallel()
	nginx := listener{netip.MustParseAddrPort("0.0.0.0:80"), 123, "nginx"}
	local := listener{netip.MustParseAddrPort("127.0.0.1:443"), 7, "haproxy"}
	byDocker := listener{netip.MustParseAddrPort("0.0.0.0:80"), 9, "docker-proxy"}
	bound := DefaultContainer
	bound.BindAddresses = []netip.Addr{netip.MustParseAddr("10.0.0.1")}
	moved := DefaultContainer
	moved.HTTPPort, moved.HTTPSPort = 8080, 8443
	const web = `"/web"`
	tests := []struct {
		name      string
		want      ContainerSpec
		is        []string
		listeners []listener
		taken     []string
	}{
		{name: "free", want: DefaultContainer},
		{name: "a process", want: DefaultContainer, listeners: []listener{nginx}, taken: []string{"port 80 is held by nginx (pid 123)"}},
		{name: "on loopback, wanted on all", want: DefaultContainer, listeners: []listener{local}, taken: []string{"port 443 is held by haproxy (pid 7)"}},
		{name: "on loopback, wanted elsewhere", want: bound, listeners: []listener{local}},
		{name: "on all, wanted on one", want: bound, listeners: []listener{nginx}, taken: []string{"port 80 is held by nginx (pid 123)"}},
		{name: "other ports", want: moved, listeners: []listener{nginx, local}},
		{name: "kamal-proxy's own", want: DefaultContainer, listeners: []listener{byDocker}},
		{name: "another container", want: DefaultContainer, is: []string{`"/kamal-proxy"`, web}, listeners: []listener{byDocker},
			taken: []string{"port 80 is published by the container web", "port 443 is published by the container web"}},
		{name: "another container on another address", want: bound,
			is: []string{`"/kamal-proxy"`, web, `"HostIp": ""`, `"HostIp": "10.0.0.2"`, `"443/tcp": [{"HostIp": ""`, `"443/tcp": [{"HostIp": "10.0.0.2"`}},
		{name: "who can't be seen", want: bound, listeners: []listener{{addr: netip.MustParseAddrPort("[::]:443")}},
			taken: []string{"port 443 is held by a process that this SSH user may not see"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := portsTaken(tt.want, snapshot(t, tt.is...), tt.listeners); !slices.Equal(got, tt.taken) {
				t.Errorf("got %q, want %q", got, tt.taken)
			}
		})
	}
}

func TestParseListenersReadsProc(t *testing.T) {
	t.Parallel()
	got := parseListeners("0100007F:0050\t12\tnginx\n00000000000000000000000000000000:01BB\t0\t\n0000000000000000FFFF00000100000A:1F90\t3\ta b\nnonsense\n")
	want := []listener{
		{netip.MustParseAddrPort("127.0.0.1:80"), 12, "nginx"},
		{netip.MustParseAddrPort("[::]:443"), 0, ""},
		{netip.MustParseAddrPort("10.0.0.1:8080"), 3, "a b"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestDestroyTellsOurServicesFromOthers(t *testing.T) {
	t.Parallel()
	s := &fleet.Snapshot{}
	s.Marks = append(s.Marks, marked("shop-web"))
	ours, others := divide([]Entry{{Name: "shop-web"}, {Name: "blog-web"}, {Name: "shop"}}, s)
	if !slices.Equal(ours, []string{"shop-web"}) || !slices.Equal(others, []string{"blog-web", "shop"}) {
		t.Errorf("ours %q, others %q", ours, others)
	}
}

func marked(service string) kamal.Mark { return kamal.Mark{Kind: MarkKind, Name: service} }
