package fleet

import (
	"crypto/sha256"
	"encoding/hex"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/kamal"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

// stateFile is where kamal-proxy keeps its services, inside its container.
const (
	stateDir  = "/home/kamal-proxy/.config/kamal-proxy"
	stateFile = stateDir + "/kamal-proxy.state"
)

// StatePrelude defines the shell function proxystate, which prints
// kamal-proxy's state file. The proxy rewrites the file in place, so an empty
// or cut-off read is read again and is never "no services"; only a file that
// does not exist is. docker cp works with a stopped container too, and with an
// image that has no shell. proxystate DIR reads it in the directory that is
// mounted there, where this user may: docker cp costs a start of docker, and
// dockerd a mount of the container. Exit code 70: there is no kamal-proxy
// container; 71: the file made no sense twenty times.
//
// lockproxy takes the lock under which every run of the provider changes
// kamal-proxy, on descriptor 9 of the step, so that it goes with the step
// however that ends; it needs kamal.RunPrelude. routesare SUM ends the step
// with exit code RoutesChanged and the state on its standard output if the
// routes are not those with this sum.
const StatePrelude = `
proxystate() {
  n=0
  while [ $n -lt 20 ]; do
    n=$((n + 1))
    if [ -n "$1" ] && [ -r "$1/kamal-proxy.state" ]; then s=$(cat "$1/kamal-proxy.state")
    else s=$(docker cp kamal-proxy:` + stateFile + ` - 2>/dev/null | tar -xOf - 2>/dev/null); fi
    case $s in '['*']'|null) printf '%s' "$s"; return 0;; esac
    if [ -z "$s" ]; then
      l=$(docker cp kamal-proxy:` + stateDir + ` - 2>/dev/null | tar -tf - 2>/dev/null)
      case $l in
        *kamal-proxy.state*) ;;
        ?*) printf '[]'; return 0;;
        *) docker container inspect kamal-proxy >/dev/null 2>&1 || return 70;;
      esac
    fi
    sleep 0.1
  done
  return 71
}
lockproxy() { putdir ` + kamal.MarksDir + ` && exec 9>>` + kamal.MarksDir + `/proxy.flock && mine ` + kamal.MarksDir + `/proxy.flock && flock 9 || exit; }
routesare() { s=$(proxystate) || exit; [ "$(printf '%s' "$s" | sha256sum | cut -d' ' -f1)" = "$1" ] || { printf '%s' "$s"; exit 75; }; }
`

// RoutesChanged is the exit code of a RoutesAre step when somebody changed the
// proxy's routes since sum was taken. Its standard output is the state now.
const RoutesChanged = 75

// RoutesAre is the step that ends a call if kamal-proxy's routes are not those
// with this sum: one deploy replaces all options of a service, so what it
// sends must be what is there. It needs StatePrelude.
func RoutesAre(sum string) sshexec.Step {
	return sshexec.Step{
		Title:  "check that nobody changed kamal-proxy's routes meanwhile",
		Script: "routesare " + sum,
	}
}

// NewProxyState is the Proxy with another state file, as RoutesAre printed it.
func (p Proxy) NewProxyState(state string) Proxy {
	sum := sha256.Sum256([]byte(state))
	p.State, p.Sum = state, hex.EncodeToString(sum[:])
	return p
}

const factsScript = `
id= ver= name=
if [ -r /etc/os-release ]; then . /etc/os-release; id=$ID ver=$VERSION_ID name=$PRETTY_NAME; fi
root=/var/lib/docker; [ -d $root ] || root=/
f() { printf '%s\t%s\n' "$1" "$2"; }
f id "$id"; f version "$ver"; f name "$name"
f kernel "$(uname -r)"; f machine "$(uname -m)"
f machine_id "$(cat /etc/machine-id 2>/dev/null)"
f cpus "$(getconf _NPROCESSORS_ONLN 2>/dev/null || grep -c ^processor /proc/cpuinfo)"
while read -r k v _; do case $k in MemTotal:|MemAvailable:|SwapTotal:|SwapFree:) f "$k" "$v";; esac; done < /proc/meminfo
f disk_free "$(df -Pk $root | while read -r _ _ _ a _; do n=$a; echo "$n"; done | tail -n 1)"
f clock "$(date +%s)"
while read -r file type kib _; do case $type in file|partition) f "swap $file" "$kib";; esac; done < /proc/swaps
[ ! -r /etc/fstab ] || while read -r file _ type _; do case $file in '#'*) ;; *) [ "$type" != swap ] || f "fstab $file" swap;; esac; done < /etc/fstab
f boot_id "$(cat /proc/sys/kernel/random/boot_id)"
f elsewhere "$(elsewhere)"
f home "$PWD"; f user "${KAMAL_USER:-$(id -un)}"
`

// containerdConfig says where containerd keeps its data, if not where it usually does.
const containerdConfig = "/etc/containerd/config.toml"

// Without a daemon, docker info 20.10 complains about the format and 26 prints
// empty fields: docker ps says what is wrong. With one, the lines after its own
// are what is free where it keeps its data: images and the layers of containers
// may lie in containerd's store, and that on another disk.
const dockerScript = `
command -v docker >/dev/null 2>&1 || { echo absent; exit 0; }
systemctl is-enabled --quiet docker 2>/dev/null && echo enabled || echo installed
i=$(docker info --format '{{.ServerVersion}}	{{.LoggingDriver}}	{{.Architecture}}	{{.Swarm.LocalNodeState}}	{{.DockerRootDir}}	{{range .DriverStatus}}{{range .}}{{.}} {{end}}{{end}}' 2>/dev/null)
case $i in
  ''|'	'*) docker ps --quiet >/dev/null; exit 1;;
esac
printf '%s\n' "$i"
free() { df -Pk "$1" 2>/dev/null | while read -r _ _ _ a _; do printf 'free\t%s\n' "$a"; done; }
root=${i#*	*	*	*	}
free "${root%%	*}"
case $i in *io.containerd.snapshotter*)
  c=$(sed -n '/^ *\[/q; s/^ *root *= *["'\'']\(.*\)["'\''].*/\1/p' ` + containerdConfig + ` 2>/dev/null)
  free "${c:-/var/lib/containerd}";;
esac
exit 0`

const daemonScript = `[ ! -f /etc/docker/daemon.json ] || cat /etc/docker/daemon.json`

// A certificate with an old one beside it was not deployed yet: its run was killed.
const certificatesScript = `
for f in ` + kamal.ProxyAppsConfigDir + `/*/tls/*/cert.pem; do
  [ ! -f "$f" ] || [ ! -f "${f%cert.pem}key.pem" ] || [ -e "$f.old" ] || printf '%s\t%s\n' "$f" "$(base64 < "$f" | tr -d '\n')"
done
exit 0`

// Only the names: the values stay where they are.
const envFilesScript = `
for f in ` + kamal.Dir + `/apps/*/env/*/*.env; do
  [ ! -f "$f" ] || while IFS= read -r l; do case $l in *=*) printf '%s\t%s\n' "$f" "${l%%=*}";; esac; done < "$f" || exit
done`

// Kept with what they are for: a digest of them tells a plan that a secret was
// changed by hand, as one of a container's environment does.
const secretFilesScript = `
for f in ` + kamal.Dir + `/apps/*/secrets/*/*; do
  [ ! -f "$f" ] || printf '%s\t%s\n' "$f" "$(base64 < "$f" | tr -d '\n')"
done
exit 0`

// The order of the steps of an observation.
const (
	stepFacts = iota
	stepDocker
	stepDockerd
	stepDaemon
	stepMarks
	stepCertificates
	stepEnvFiles
	stepSecretFiles
	stepObjects
	stepFirewall
)

func observeSteps() []sshexec.Step {
	return []sshexec.Step{
		stepFacts:        {Title: "read the machine's facts", Script: factsScript},
		stepDocker:       {Title: "ask docker who it is", Script: dockerScript, KeepGoing: true},
		stepDockerd:      {Title: "ask systemd about docker", Script: dockerdScript, KeepGoing: true},
		stepDaemon:       {Title: "read daemon.json", Script: daemonScript, KeepGoing: true},
		stepMarks:        {Title: "read the provider's marks", Script: kamal.ListMarks, KeepGoing: true},
		stepCertificates: {Title: "read the proxy's certificates", Script: certificatesScript, KeepGoing: true},
		stepEnvFiles:     {Title: "list the names in the env files", Script: envFilesScript, KeepGoing: true},
		stepSecretFiles:  {Title: "read the secret files", Script: secretFilesScript, KeepGoing: true},
		stepObjects:      {Title: "list docker's containers and images", Script: objectsScript, KeepGoing: true},
		stepFirewall:     {Title: "read the firewall's rules", Script: firewallScript, KeepGoing: true},
	}
}
