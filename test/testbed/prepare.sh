#!/usr/bin/env bash
# Installs what the testbed needs on a Debian 12 or 13 machine and makes sure
# that a Docker daemon answers. Run as root; repeating it costs a second.
set -euo pipefail

log() { echo "prepare: $*" >&2; }

# One at a time: apt's and dockerd's own locks make a second one fail, not wait.
exec 9>/run/lock/testbed-prepare.lock
flock -w 900 9 || { log "another prepare.sh has held the lock for 15 minutes"; exit 1; }

install_packages() {
  # command -> package; a command that is there needs no package, whoever installed it.
  local missing=() pair
  for pair in debootstrap:debootstrap iptables:iptables nft:nftables ssh:openssh-client \
    ssh-keygen:openssh-client tar:tar dockerd:docker.io containerd:containerd; do
    PATH=$PATH:/usr/sbin:/sbin command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
  done
  # Debian 13 ships the client in a package of its own.
  if ! command -v docker >/dev/null; then
    . /etc/os-release
    if [ "${VERSION_ID:-0}" -ge 13 ]; then missing+=(docker-cli); else missing+=(docker.io); fi
  fi
  [ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || missing+=(debian-archive-keyring)
  [ -e /etc/ssl/certs/ca-certificates.crt ] || missing+=(ca-certificates)
  if [ ${#missing[@]} -gt 0 ]; then
    log "installing ${missing[*]}"
    apt-get -qq -o DPkg::Lock::Timeout=300 update
    apt-get -qq -y -o DPkg::Lock::Timeout=300 install --no-install-recommends "${missing[@]}" >/dev/null
  fi
}

# In a container or a small VM nothing runs systemd, and policy-rc.d may have
# kept the package from starting its service: then dockerd runs in the background.
start_docker() {
  docker info >/dev/null 2>&1 && return
  if [ -d /run/systemd/system ]; then
    log "starting docker.service"
    systemctl start docker
  else
    log "starting dockerd; log: /var/log/dockerd.log, pid file: /run/docker.pid"
    # Own session and no inherited lock, or it would die with, or block, its starter.
    setsid dockerd --pidfile /run/docker.pid </dev/null >>/var/log/dockerd.log 2>&1 9>&- &
  fi
  local i
  for i in $(seq 120); do
    docker info >/dev/null 2>&1 && return
    sleep 0.5
  done
  log "no Docker daemon answers after 60 seconds"
  tail -n 20 /var/log/dockerd.log >&2 2>/dev/null || true
  exit 1
}

# Debian's own setting. Without it the start of a large program, docker's client
# or the CLI, costs up to twice as much in a virtual machine, and the tests start
# thousands. Not everybody may set it.
huge_pages() {
  local f=/sys/kernel/mm/transparent_hugepage/enabled
  grep -qsF '[always]' $f || (echo always > $f) 2>/dev/null || true
}

# All servers are one user to the kernel, and each systemd watches some ten things.
# With the usual 128 the twelfth server boots degraded, or systemd gives up.
inotify() {
  local f=/proc/sys/fs/inotify/max_user_instances
  [ "$(cat $f)" -ge 1024 ] || (echo 1024 > $f) 2>/dev/null || log "can't set $f: many servers at a time may fail to boot"
}

[ "$(id -u)" = 0 ] || { log "must run as root"; exit 1; }
export DEBIAN_FRONTEND=noninteractive
install_packages
huge_pages
inotify
start_docker
