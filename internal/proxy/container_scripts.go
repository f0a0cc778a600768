package proxy

import (
	"fmt"
	"strings"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/kamal"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

// Names of the containers of a replacement that is under way.
const (
	comingName  = Container + "-new"
	leavingName = Container + "-old"
)

// kamal-proxy gives requests under way ten seconds, then it ends by itself.
const stop = "docker stop -t 15 " + Container + " >/dev/null"

// Exit codes of the scripts.
const (
	exitNotUp    = 90 // the container did not come up, and is gone
	exitPutBack  = 91 // the new one did not come up, the old one serves again
	exitNoneUp   = 92 // neither did the old one
	exitNoCreate = 93 // docker refuses to make the container; nothing was changed
)

// upPrelude defines up, which waits until kamal-proxy answers with all
// $SERVICES (lines), at most $1 seconds. It listens before it answers, and
// reads its routes before it listens. A container that ends or is restarted
// has failed; why is in its log.
const upPrelude = `
there() { docker container inspect "$1" >/dev/null 2>&1; }
up() {
  end=$(($(date +%s) + $1)) esc=$(printf '\033')
  while :; do
    if list=$(docker exec kamal-proxy kamal-proxy list 2>/dev/null); then
      have=$(printf '%s\n' "$list" | sed "s/$esc\[[0-9;]*m//g" | while read -r name _; do echo "$name"; done)
      lost=$(printf '%s\n' "$SERVICES" | while read -r s; do [ -z "$s" ] || printf '%s\n' "$have" | grep -qxF -e "$s" || echo "$s"; done)
      [ -n "$lost" ] || return 0
      echo "it does not know these services: $lost"
      return 1
    fi
    case $(docker container inspect --format '{{.State.Status}} {{.RestartCount}}' kamal-proxy 2>&1) in
      'running 0') ;;
      *) return 1;;
    esac
    [ "$(date +%s)" -lt "$end" ] || { echo "it does not answer after $1 seconds"; return 1; }
    sleep 0.05
  done
}
`

// startContainer starts the container that is there.
func startContainer() string {
	return fleet.ToTheEnd(kamal.RunPrelude + fleet.StatePrelude + upPrelude + `
lockproxy
docker unpause kamal-proxy >/dev/null 2>&1
docker start kamal-proxy >/dev/null && up 20 && exit 0
docker logs --tail 10 kamal-proxy
exit 90`)
}

// swapContainer makes a container of run and puts it in the place of the one
// that is there, if any. All that can be done before is: the old one is
// stopped only when the new one is made. It goes on to its end when the client
// is gone: a server between two proxies answers nobody.
//
// If the new one does not come up, the old one is put back.
func swapContainer(run docker.Run, sum string) string {
	run.Name = comingName
	guard := fmt.Sprintf(`[ -n "$back" ] || exit %d`, fleet.RoutesChanged) // none was there a moment ago
	if sum != "" {
		guard = "routesare " + sum + " >/dev/null"
	}
	return fleet.ToTheEnd(kamal.RunPrelude + fleet.StatePrelude + upPrelude + `
lockproxy
putdir ` + kamal.ProxyAppsConfigDir + ` || exit 1
` + kamal.MakeNetwork().Script + ` || exit 1
docker rm --force ` + comingName + ` >/dev/null 2>&1
back=
if there ` + Container + `; then docker rm --force ` + leavingName + ` >/dev/null 2>&1
elif there ` + leavingName + `; then back=yes; docker rename ` + leavingName + ` ` + Container + ` || exit 1; fi
old=
if there ` + Container + `; then
  old=yes
  ` + guard + `
fi
` + sshexec.Join(run.CreateArgv()...) + ` >/dev/null || exit 93
if [ -n "$old" ]; then
  docker unpause ` + Container + ` >/dev/null 2>&1
  ` + stop + `
  docker rename ` + Container + ` ` + leavingName + ` || { docker start ` + Container + `; exit 1; }
fi
if docker rename ` + comingName + ` ` + Container + ` && docker start ` + Container + ` >/dev/null && up 20; then
  [ -z "$old" ] || docker rm --force ` + leavingName + ` >/dev/null
  exit 0
fi
docker logs --tail 10 ` + Container + `
docker rm --force ` + comingName + ` ` + Container + ` >/dev/null 2>&1
[ -n "$old" ] || exit 90
docker rename ` + leavingName + ` ` + Container + ` && docker start ` + Container + ` >/dev/null && up 20 && exit 91
exit 92`)
}

// removeContainer stops and removes it, if the routes still are those with this sum.
func removeContainer(sum string) string {
	return fleet.ToTheEnd(kamal.RunPrelude + fleet.StatePrelude + `
lockproxy
routesare ` + sum + ` >/dev/null
` + stop + `; docker rm --force ` + Container + ` >/dev/null || exit
docker rm --force ` + comingName + ` ` + leavingName + ` >/dev/null 2>&1
exit 0`)
}

// pullImage pulls the image if it is not there.
func pullImage(ref string) sshexec.Step {
	q := sshexec.Quote(ref)
	return sshexec.Step{Title: "pull " + ref, Script: "docker image inspect " + q + " >/dev/null 2>&1 || pull " + q + ` "$LOGIN"`}
}

// lines are the names of services as up wants them.
func lines(entries []Entry) string {
	var names []string
	for _, e := range entries {
		names = append(names, e.Name)
	}
	return strings.Join(names, "\n")
}
