# Turns a debootstrap tree into the registry. Runs as `sh -c … recipe PACKAGE...`.
set -eu
export DEBIAN_FRONTEND=noninteractive
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d
apt-get -qq update
apt-get -qq -y install --no-install-recommends "$@" >/dev/null
rm /usr/sbin/policy-rc.d
apt-get clean
rm -rf /var/lib/apt/lists/*

cat >/etc/docker/registry/config.yml <<'CONFIG'
version: 0.1
log: {level: warn}
storage:
  filesystem: {rootdirectory: /var/lib/registry}
  delete: {enabled: true}
http:
  addr: :5000
  tls:
    certificate: /etc/testbed/tls.crt
    key: /etc/testbed/tls.key
auth:
  htpasswd:
    realm: testbed
    path: /etc/testbed/htpasswd
CONFIG
