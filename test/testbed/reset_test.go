package testbed

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// view is what an administrator sees of a server, by other means than the reset's own.
const view = `
set +e +o pipefail; exec 2>/dev/null
docker ps --all --no-trunc; docker volume ls -q; docker network ls --format '{{.Name}}'; docker image ls --all --no-trunc
docker info --format '{{json .RegistryConfig.Mirrors}} {{.LiveRestoreEnabled}} {{.LoggingDriver}} {{.Swarm.LocalNodeState}}'
find / -xdev \( -path /proc -o -path /sys -o -path /run -o -path /var/lib/containerd -o -path /var/lib/docker -o -path /var/lib/systemd/timers -o -path /var/log/journal -o -path /etc/hosts -o -path /etc/hostname -o -path /etc/resolv.conf \) -prune \
  -o -type f -printf '%p %m %u %g %s %T@\n' -o ! -type d -printf '%p %m %u %g %l\n' -o -printf '%p %m %u %g\n' | sort
md5sum /etc/passwd /etc/shadow /etc/group /etc/ssh/* /root/.ssh/* /home/deploy/.ssh/* /etc/hosts /etc/hostname /etc/resolv.conf 2>/dev/null
for p in iptables ip6tables; do for k in legacy nft; do $p-$k-save | grep -v '^#' | sed 's/ \[.*//'; done; done | sort | uniq -c | grep -v ':[A-Z]* ACCEPT$' | grep -v -e COMMIT -e ' \*'
systemctl list-unit-files --no-legend --no-pager; systemctl list-units --state=active,failed --plain --no-legend --no-pager --type=service,socket,timer | grep -v ' exited '
systemctl is-active ssh docker; systemctl show --property=ActiveState,NeedDaemonReload docker ssh
ps -e -o user=,args= | grep -v -e ' ps -e' -e 'grep ' -e 'bash -eo' -e listener -e 'sort' | sort
awk '{print $5, $9}' /proc/self/mountinfo | sort; swapon --show=NAME --noheadings | grep -x /swap || true
ip -o link | sed 's/^[0-9]*: //; s/@if[0-9]*//; s/ state.*//' | sort; ip route; hostname; sysctl net.ipv4.ip_forward net.ipv4.tcp_syncookies`

// dirt is what tests leave.
var dirt = []struct {
	name   string
	kinds  []Kind // default: those of engines
	script string
	do     func(*testing.T, *Server)
	thrown bool // the server can't be reset, and is thrown away
}{
	{name: "nothing"},
	{name: "containers, volumes, networks, images, files", script: `
		docker network create kamal; docker volume create data; mkdir -p .kamal/apps/shop; echo x >.kamal/apps/shop/env; echo y >/home/deploy/y; chown deploy /home/deploy/y
		docker pull -q $registry/app:v1; docker tag $registry/app:v1 mine:latest; docker tag $registry/testbed/keep:app stolen:latest
		docker run -d --network kamal --name web --volume data:/data --publish 3000:3000 $registry/app:v1
		docker run -d --name again --restart always $registry/app:crash || true
		docker run -d --name frozen $registry/app:v1; docker pause frozen; docker create --name never $registry/app:v1`},
	{name: "a rule in each table of both back ends", script: `
		for p in iptables ip6tables; do for k in legacy nft; do for t in filter nat mangle raw; do
			$p-$k -t $t -N MINE; $p-$k -t $t -A MINE -j RETURN; $p-$k -t $t -A OUTPUT -j MINE
		done; done; done
		iptables -F FORWARD; iptables -P FORWARD ACCEPT; iptables -F DOCKER-USER; iptables -t nat -F PREROUTING`},
	{name: "another daemon.json", script: `
		echo '{"live-restore": true, "log-opts": {"max-size": "1m"}, "registry-mirrors": ["https://mirror.example.com"]}' >/etc/docker/daemon.json; systemctl restart docker`},
	{name: "a daemon.json that was put back behind Docker's back", script: `
		echo '{"log-driver": "none"}' >/etc/docker/daemon.json; systemctl restart docker; rm /etc/docker/daemon.json`},
	{name: "a daemon.json with which Docker does not start", script: `
		docker run -d --name web $registry/app:v1; echo '{"nonsense": true}' >/etc/docker/daemon.json; systemctl restart docker || true`},
	{name: "a unit", script: `
		mkdir /etc/kamal-firewall; echo 'iptables -N KAMAL-FW; iptables -I DOCKER-USER -j KAMAL-FW' >/etc/kamal-firewall/load
		printf '[Unit]\nPartOf=docker.service\n[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sh /etc/kamal-firewall/load\n[Install]\nWantedBy=docker.service\n' >/etc/systemd/system/kamal-firewall.service
		systemctl daemon-reload; systemctl enable -q --now kamal-firewall`},
	{name: "a transient service that does not want to end, and one that failed", script: `
		systemd-run -q --unit holder --property=TimeoutStopSec=60 bash -c 'trap "" TERM; while :; do sleep 1; done'; systemd-run -q --unit bad false; until systemctl is-failed -q bad; do sleep 0.05; done`},
	{name: "a stopped Docker with containers", script: `
		docker run -d --name web --restart always $registry/app:v1; systemctl stop docker.socket docker`},
	{name: "a masked Docker and a disabled one", script: `systemctl stop docker.socket docker; systemctl disable -q docker.service; systemctl mask -q --now docker.service`},
	{name: "a Docker that was killed", script: `
		docker run -d --name web $registry/app:v1; systemctl mask -q --runtime docker.socket docker; systemctl kill -s KILL docker`},
	{name: "wrappers", script: `
		printf '#!/bin/sh\nexit 1\n' >/usr/local/bin/docker; chmod 755 /usr/local/bin/docker; cp /usr/local/bin/docker /usr/local/bin/date; cp /usr/local/bin/docker /usr/local/sbin/iptables`},
	{name: "programs that were moved away", script: `mv /usr/bin/docker /usr/bin/docker.away; rm /usr/sbin/iptables; rm /usr/bin/sudo`},
	{name: "sshd's settings, keys and certificates", script: `
		echo 'PermitRootLogin no' >/etc/ssh/sshd_config.d/patient.conf; echo 'Port 2222' >>/etc/ssh/sshd_config; rm /etc/ssh/sshd_config.d/testbed.conf
		rm /etc/ssh/ssh_host_*; ssh-keygen -A; : >/root/.ssh/authorized_keys; rm -r /home/deploy/.ssh; systemctl restart ssh; rm -r /etc/docker/certs.d`},
	{name: "users", script: `useradd -m ann; echo 'ann ALL=(ALL) ALL' >/etc/sudoers.d/ann; usermod -aG docker deploy; echo root:secret | chpasswd; userdel -r deploy; setsid sleep 1000 >/dev/null 2>&1 &`},
	{name: "processes, also of another user and stopped ones", script: `
		setsid sleep 1000 >/dev/null 2>&1 & sudo -u deploy setsid sleep 2000 >/dev/null 2>&1 &`,
		do: func(t *testing.T, s *Server) {
			s.SSH(t, "kill -STOP $(systemctl show --property=MainPID --value docker)")
		}},
	{name: "files of all sorts", script: `
		echo changed >>/etc/hosts; sed -i s/^ID=.*/ID=fedora/ /usr/lib/os-release; rm /etc/os-release; mkdir /etc/os-release; rm -r /etc/systemd; touch /etc/systemd
		ln -s / /srv/all; mkdir -p /srv/a/b /tmp/t /run/mine; mkfifo /srv/fifo; echo x >/var/lib/docker/file; chmod 777 /root; chown deploy /srv; echo x >/dev/shm/x; mkdir /run/systemd/system/x.service.d
		f=/etc/debian_version; cp -p $f /srv/kept; size=$(stat -c %s $f); head -c $size /dev/urandom >$f; touch -r /srv/kept $f`},
	{name: "a swap file", script: `fallocate -l 16M /swap 2>/dev/null || dd if=/dev/zero of=/swap bs=1M count=16; chmod 600 /swap; mkswap /swap; swapon /swap || true; echo '/swap none swap sw 0 0' >>/etc/fstab`},
	{name: "mounts", script: `mkdir /srv/m; mount -t tmpfs tmpfs /srv/m; echo x >/srv/m/x; mount -t tmpfs -o size=1m tmpfs /tmp; touch /tmp/inner`},
	{name: "an empty disk below Docker", script: `systemctl stop docker.socket docker; mount -t tmpfs -o size=100m tmpfs /var/lib/docker; systemctl start docker; docker pull -q $registry/app:v1`},
	{name: "settings of the kernel, a host name and an interface", script: `
		sysctl -q -w net.ipv4.tcp_syncookies=0 net.ipv4.ip_forward=0; hostname other; ip link add dummy-test type bridge; ip link set dummy-test up`},
	{name: "IPv6 off and on again", script: `sysctl -q -w net.ipv6.conf.eth0.disable_ipv6=1; sysctl -q -w net.ipv6.conf.eth0.disable_ipv6=0`, thrown: true},
	{name: "no network", script: `ip link set eth0 down`, thrown: true},
	{name: "a package", script: `apt-get -qq update; DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends nginx-light`},
	{name: "a package by which others change", script: `apt-get -qq update; DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends nftables; nft add table inet mine; nft add chain inet mine c '{ type filter hook input priority 0; policy drop; }'`},
	{name: "a server that is paused", do: func(t *testing.T, s *Server) { s.Pause(t) }},
	{name: "a server that is off", script: `docker run -d --name web --restart always $registry/app:v1; iptables -A DOCKER-USER -j RETURN`, do: func(t *testing.T, s *Server) { s.Stop(t) }},
	{name: "a server that was rebooted", do: func(t *testing.T, s *Server) { s.Reboot(t) }},
	{name: "a server that was told to halt", script: `systemd-run -q --on-active=0 systemctl --force --force poweroff`},
	{name: "no sshd", script: `systemctl stop ssh; systemctl mask -q ssh`},
	{name: "Docker on a bare server", kinds: []Kind{Debian13Bare}, script: `
		apt-get -qq update; DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends docker.io docker-cli; docker pull -q $registry/app:v1 || true`},
}

func TestResetUndoes(t *testing.T) {
	b := open(t)
	if os.Getenv("KAMAL_ENGINES") == "" {
		// Every lease looks at what its reset did, and throws the server away if it differs.
		t.Skip("part of make test-all, or with KAMAL_ENGINES=all: takes minutes")
	}
	var kinds []Kind
	for _, engine := range []Engine{Oldest(), Newest()} {
		kinds = append(kinds, engine.Kind)
	}
	for _, kind := range append(kinds, Debian13Bare) {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			for _, tt := range dirt {
				if tt.kinds == nil && kind == Debian13Bare || tt.kinds != nil && !slices.Contains(tt.kinds, kind) {
					continue
				}
				t.Run(tt.name, func(t *testing.T) {
					s, giveBack := lend(t, b, kind)
					defer giveBack()
					before := seen(s.SSH(t, view))
					if tt.script != "" {
						if kind != Debian13Bare {
							s.LogIn(t)
						}
						s.SSH(t, "registry="+b.Registry.Address+"\nexec >/dev/null 2>&1\n"+tt.script)
						if out, err := s.Run(t.Context(), view); err == nil && seen(out) == before {
							t.Error("it leaves nothing that is seen")
						}
					}
					if tt.do != nil {
						tt.do(t, s)
					}
					start := time.Now()
					if err := s.resetOrRemove(t.Context(), t.Logf); err != nil {
						t.Fatal(err)
					}
					t.Logf("the reset took %s", time.Since(start).Round(time.Millisecond))
					if reset := there(t, s); reset == tt.thrown {
						t.Fatalf("the server was reset: %t, want %t", reset, !tt.thrown)
					}
					if tt.thrown {
						return
					}
					if after := seen(s.SSH(t, view)); after != before {
						t.Errorf("the server is not as it was:\n%s", unlike(before, after))
					}
					if out, err := overSSH(b, s.Destination(), "echo in"); err != nil || out != "in" {
						t.Errorf("over SSH: %q, %v", out, err)
					}
				})
			}
		})
	}
}

// seen is a view without its order, which Docker doesn't keep.
func seen(out string) string {
	all := lines(out)
	slices.Sort(all)
	return strings.Join(all, "\n")
}

// unlike lists the lines that one text has and the other hasn't.
func unlike(before, after string) string {
	var out strings.Builder
	for _, sides := range []struct{ sign, one, other string }{{"-", before, after}, {"+", after, before}} {
		for _, line := range lines(sides.one) {
			if !strings.Contains("\n"+sides.other+"\n", "\n"+line+"\n") {
				fmt.Fprintf(&out, "%s %s\n", sides.sign, line)
			}
		}
	}
	return out.String()
}
