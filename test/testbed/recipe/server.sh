# Turns a debootstrap tree into a server. Runs as `sh -c … recipe PACKAGE...` in a
# container of that tree; what it leaves behind is committed as the image.
set -eu
export DEBIAN_FRONTEND=noninteractive

if [ $# -gt 0 ]; then
  # Nothing may start while the image is built.
  printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
  chmod 755 /usr/sbin/policy-rc.d
  apt-get -qq update
  apt-get -qq -y install --no-install-recommends "$@" >/dev/null
  rm /usr/sbin/policy-rc.d
  apt-get clean
  rm -rf /var/lib/apt/lists/*
fi

useradd --create-home --shell /bin/bash deploy
echo 'deploy ALL=(ALL) NOPASSWD:ALL' >/etc/sudoers.d/deploy
chmod 440 /etc/sudoers.d/deploy
install -d -m 700 /root/.ssh
install -d -m 700 -o deploy -g deploy /home/deploy/.ssh
echo 'PermitRootLogin prohibit-password' >/etc/ssh/sshd_config.d/testbed.conf

# Every server is a machine of its own: empty, so that systemd makes an id at
# first boot without taking the boot for a factory reset.
: >/etc/machine-id
mkdir -p /var/lib/dbus
ln -sf /etc/machine-id /var/lib/dbus/machine-id
rm -f /etc/ssh/ssh_host_*
cat >/etc/systemd/system/ssh-host-keys.service <<'UNIT'
[Unit]
Description=Make this server's SSH host keys
Before=ssh.service
ConditionPathExists=!/etc/ssh/ssh_host_ed25519_key

[Service]
Type=oneshot
ExecStart=/usr/bin/ssh-keygen -A

[Install]
WantedBy=multi-user.target
UNIT
systemctl enable ssh-host-keys.service

# Hardware, consoles and house-keeping that a container has no use for, and
# what would reach through to the host's kernel (sysctl, modules, udev).
systemctl mask \
  systemd-udevd.service systemd-udev-trigger.service systemd-modules-load.service \
  systemd-sysctl.service systemd-random-seed.service systemd-remount-fs.service \
  systemd-logind.service systemd-pstore.service systemd-timesyncd.service \
  getty.target console-getty.service \
  apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer fstrim.timer \
  e2scrub_all.timer e2scrub_reap.service \
  dev-hugepages.mount dev-mqueue.mount sys-fs-fuse-connections.mount \
  sys-kernel-config.mount sys-kernel-debug.mount sys-kernel-tracing.mount
systemctl set-default multi-user.target

cat >/sbin/testbed-init <<'INIT'
#!/bin/sh
# PID 1 until systemd takes over. Docker mounts this container's own cgroups
# read-only; systemd and the inner dockerd manage theirs below them.
mount -o remount,bind,rw /sys/fs/cgroup
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
  exec /sbin/init
fi
for dir in /sys/fs/cgroup/*; do
  [ ! -L "$dir" ] && mountpoint -q "$dir" && mount -o remount,bind,rw "$dir"
done
# Debian 13's systemd refuses cgroup v1 unless told so.
exec /sbin/init SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1
INIT
chmod 755 /sbin/testbed-init
