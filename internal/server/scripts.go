package server

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

// Exit codes of the steps, beside those of the programs.
const (
	exitBusy    = 74 // cloud-init or a package manager did not finish in time; stdout names it
	exitChanged = 75 // daemon.json is not what was read
	exitNotRoot = 76
)

// prelude defines what the steps share. DAEMON_JSON and WAIT, the seconds to
// wait for others, are variables of the call.
//
// The last words of a dockerd that ended may still be on their way into the
// journal: --sync waits for them.
//
// dpkg and apt lock with fcntl, so the kernel knows the holder; only the
// inode is compared, since device numbers of an overlay don't agree.
const prelude = `
docker_answers() { docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }
docker_log() {
  journalctl --sync 2>/dev/null || :; journalctl --unit docker --no-pager --output cat --lines 20 >&2 2>/dev/null || :
  [ -e /sys/fs/cgroup/cgroup.controllers ] || [ -d /sys/fs/cgroup/memory ] || echo 'There are no cgroups at /sys/fs/cgroup, which Docker needs: see how the machine or container is booted.' >&2
  e=$(iptables --wait --table nat --list --numeric 2>&1 >/dev/null) || printf 'iptables does not work, which Docker needs: %s\n' "$e" >&2
}
package_holder() {
  for f in /var/lib/dpkg/lock-frontend /var/lib/dpkg/lock /var/lib/apt/lists/lock /var/cache/apt/archives/lock; do
    i=$(stat -c %i "$f" 2>/dev/null) || continue
    while read -r _ kind _ _ pid inode _; do
      [ "$kind" = POSIX ] && [ "${inode##*:}" = "$i" ] || continue
      printf '%s is locked by pid %s: %s\n' "$f" "$pid" "$(tr '\0' ' ' < "/proc/$pid/cmdline" 2>/dev/null)"
      return 0
    done < /proc/locks
  done
  return 1
}
packages_free() {
  end=$(($(date +%s) + WAIT))
  while h=$(package_holder); do
    [ "$(date +%s)" -lt "$end" ] || { printf '%s\n' "$h"; exit 74; }
    sleep 1
  done
}
restore_daemon_json() {
  f=$(readlink -f ` + daemonFile + `)
  if [ "$1" = had ]; then cp -p "$f.before-kamal" "$f.new" && mv -f "$f.new" "$f"; else rm -f "$f"; fi
  systemctl reset-failed docker 2>/dev/null
  systemctl restart docker
}
`

const checkRoot = `[ "$(id -u)" = 0 ] || exit 76`

// cloudInitDone waits for cloud-init: a server that has just been made may be
// installing Docker this moment. Where it has not begun, that counts as
// running only while the system boots.
const cloudInitDone = `
command -v cloud-init >/dev/null 2>&1 || exit 0
end=$(($(date +%s) + WAIT))
while :; do
  s=$(cloud-init status 2>/dev/null)
  case $s in
    *'status: running'*) ;;
    *'status: not'*) case $(systemctl is-system-running 2>/dev/null) in initializing|starting) ;; *) exit 0;; esac;;
    *) exit 0;;
  esac
  [ "$(date +%s)" -lt "$end" ] || { cloud-init status --long 2>&1; exit 74; }
  sleep 2
done`

// installDocker installs. apt itself runs apart, to its end: one that is killed
// half-way leaves packages that nobody else can configure. Who takes the lock
// between our look and apt's is waited for as well.
var installDocker = `
export DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l
while :; do
  packages_free
  (` + fleet.ToTheEnd(aptInstall) + `) && exit 0
  r=$?
  package_holder >/dev/null || exit $r
done`

// installByScript runs INSTALL_SCRIPT as its first line says, else with sh. It
// too runs to its end. A log-in that it leaves is for the SSH user's docker.
var installByScript = `
export INSTALL_SCRIPT DEBIAN_FRONTEND=noninteractive DOCKER_CONFIG="$_kamal_config"
` + fleet.ToTheEnd(`f=$(mktemp) || exit
printf '%s' "$INSTALL_SCRIPT" > "$f"
with=$(sed -n '1s/^#! *//p' "$f")
${with:-/bin/sh} "$f"
r=$?; rm -f "$f"; exit $r`)

const aptInstall = `
set -e
apt-get -qq -y -o DPkg::Lock::Timeout=30 update
set -- docker.io ca-certificates iptables
if apt-cache show docker-cli >/dev/null 2>&1; then set -- "$@" docker-cli; fi
case $(cat /sys/module/apparmor/parameters/enabled 2>/dev/null) in Y*) set -- "$@" apparmor;; esac
apt-get -qq -y -o DPkg::Lock::Timeout=30 -o Dpkg::Options::=--force-confold install --no-install-recommends --no-remove "$@"`

// writeDaemonJSON puts DAEMON_JSON in the place of the file, if that still is
// what was read. It keeps the file's mode and owner, and a copy of what was there.
func writeDaemonJSON(was string) string {
	check := `[ ! -s "$f" ] || exit 75`
	if was != "" {
		sum := sha256.Sum256([]byte(was))
		check = `[ "$(sha256sum < "$f" | cut -d' ' -f1)" = ` + hex.EncodeToString(sum[:]) + ` ] || exit 75`
	}
	return `
mkdir -p /etc/docker && f=$(readlink -f ` + daemonFile + `) || exit 1
` + check + `
umask 022
if [ -e "$f" ]; then cp -p "$f" "$f.new" && cp -p "$f" "$f.before-kamal" || exit 1; fi
printf '%s' "$DAEMON_JSON" > "$f.new" || exit 1
if command -v dockerd >/dev/null && dockerd --help 2>/dev/null | grep -q -e --validate; then
  dockerd --validate --config-file "$f.new" >&2 || { rm -f "$f.new"; exit 1; }
fi
mv -f "$f.new" "$f"`
}

// had says whether there was a daemon.json to put back.
func had(was string) string {
	if was != "" {
		return "had"
	}
	return "none"
}

// startDocker starts Docker; where daemon.json was changed right before and
// Docker does not come up, the old file is put back.
func startDocker(changed bool, was string) string {
	s := `
systemctl enable --quiet docker || exit
systemctl reset-failed docker 2>/dev/null
if systemctl start docker && docker_answers; then exit 0; fi
docker_log
`
	if changed {
		s += "restore_daemon_json " + had(was) + "\n"
	}
	return s + "exit 1"
}

// restartDocker restarts Docker. Its unit allows three starts a minute, whoever
// asked for them: those before don't count.
func restartDocker(was string) string {
	return `
systemctl reset-failed docker 2>/dev/null
if systemctl restart docker && docker_answers; then exit 0; fi
docker_log
restore_daemon_json ` + had(was) + `
exit 1`
}

// reloadDocker has dockerd read the file again. It tells nobody but its log
// when it does not like it, so what it does now is looked at.
func reloadDocker(was string, d Docker) string {
	taken := fmt.Sprintf(`[ "$(docker info --format '{{.LiveRestoreEnabled}}')" = %t ]`, d.LiveRestore)
	for _, m := range d.Mirrors {
		taken += ` && docker info --format '{{range .RegistryConfig.Mirrors}}{{println .}}{{end}}' | grep -qxF ` + sshexec.Quote(strings.TrimSuffix(m, "/")+"/")
	}
	return `
systemctl reload docker || exit
n=0
until ` + taken + `; do
  n=$((n + 1)); [ $n -lt 50 ] || break
  sleep 0.1
done
[ $n -lt 50 ] && exit 0
docker_log
f=$(readlink -f ` + daemonFile + `)
if [ ` + had(was) + ` = had ]; then cp -p "$f.before-kamal" "$f.new" && mv -f "$f.new" "$f"; else rm -f "$f"; fi
systemctl reload docker
exit 1`
}
