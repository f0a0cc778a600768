package fleet

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/kamal"
)

// objectsScript prints what docker has: the network's name if it is there, the
// containers and images as docker inspect shows them, the proxy's state file,
// the images that the list of images left out, and the files below the home
// that containers mount, with an objectsSeparator between them.
//
// The start of docker's client is what costs here (30 ms and more of a CPU's
// time each), so it is started as rarely as can be: one inspect for all, and
// what the list of containers tells is not asked again. The lists change under
// us: what goes between a list and the look at it is no failure, so all are
// asked again.
//
// Docker 29's client lists no image without a tag, as one is whose tag has moved
// on, even if containers run on it; --all would list it, and on old servers every
// layer that was ever built there. So those images that containers have and the
// list hasn't are looked at by themselves. One that was removed by force is
// nowhere, which is no failure. (Eight blanks: an image of the old builder says in
// its Config which one it was made from, which may be nowhere at all.)
const objectsScript = `
n=0
while :; do
  list=$(docker ps --all --no-trunc --format '{{.ID}}|{{.Networks}}|{{.Names}}|{{.Status}}') || exit
  images=$(docker image ls --quiet --no-trunc) || exit
  ids= network= proxy=
  while IFS='|' read -r id networks names status; do
    [ -n "$id" ] || continue
    ids="$ids $id"
    case ,$names, in *,kamal-proxy,*) proxy=1;; esac
    case $status,$networks, in Up*,` + kamal.Network + `,*) network=` + kamal.Network + `;; esac
  done << LIST
$list
LIST
  ids="$ids $(printf '%s\n' "$images" | sort -u)"
  n=$((n + 1))
  state=
  case $ids in *[0-9a-f]*) ;; *) out=; break;; esac
  out=$(docker inspect $ids) || { [ $n -lt 5 ] && continue; exit 1; }
  [ -n "$proxy" ] || break
  dir=$(printf '%s\n' "$out" | sed -n '/^ \{8\}"Name": "\/kamal-proxy",$/,/^ \{8\}"Name": "\//{
/^ *"Source": ".*",$/h
\|^ *"Destination": "` + stateDir + `",$|{g;s/^ *"Source": "\(.*\)",$/\1/p;}
}')
  state=$(proxystate "$dir"); r=$?
  case $r in
    0) break;;
    70) [ $n -ge 5 ] || continue;; # the proxy has gone
  esac
  exit $r
done
has=$(printf '%s\n' "$out" | sed -n 's/^ \{8\}"Image": "\(sha256:[0-9a-f]*\)",*$/\1/p' | sort -u)
left=
for id in $has; do case " $(echo $ids) " in *" $id "*) ;; *) left="$left $id";; esac; done
[ -z "$left" ] || left=$(docker image inspect $left 2>/dev/null)
files=$(printf '%s\n' "$out" | sed -n '/^ *"Binds": \[$/,/\]/s/^ *"\([^":]*\):.*/\1/p' | sort -u | while IFS= read -r f; do
  case $f in
    "$PWD"/.kamal/*) ;;
    "$PWD"/*) [ ! -f "$f" ] || { sum=$(sha256sum < "$f") && printf '%s\t%s\t%s\n' "$(stat -c %a "$f")" "${sum%% *}" "$f"; };;
  esac
done 2>/dev/null)
[ -n "$network" ] || network=$(docker network ls --quiet --filter name='^` + kamal.Network + `$') || exit
printf '%s\035%s\035%s\035%s\035%s' "$network" "$out" "$state" "$left" "$files"`

// objectsSeparator stands in no JSON: there it would be escaped.
const objectsSeparator = "\x1d"

// parseObjects reads what objectsScript printed into s.
func parseObjects(out []byte, s *Snapshot) error {
	parts := bytes.Split(out, []byte(objectsSeparator))
	if len(parts) != 5 {
		return errors.New("the list of docker's objects is cut off")
	}
	s.Network = len(parts[0]) > 0
	var list, containers, images []json.RawMessage
	for _, part := range [][]byte{parts[1], parts[3]} {
		var some []json.RawMessage
		if len(part) == 0 {
			continue
		}
		if err := json.Unmarshal(part, &some); err != nil {
			return fmt.Errorf("docker inspect: %w", err)
		}
		list = append(list, some...)
	}
	for _, object := range list {
		var kind struct{ HostConfig json.RawMessage } // a container's only
		if err := json.Unmarshal(object, &kind); err != nil {
			return fmt.Errorf("docker inspect: %w", err)
		}
		if kind.HostConfig != nil {
			containers = append(containers, object)
		} else {
			images = append(images, object)
		}
	}
	s.MountedFiles = map[string]MountedFile{}
	for line := range strings.Lines(string(parts[4])) {
		if f := strings.SplitN(strings.TrimSuffix(line, "\n"), "\t", 3); len(f) == 3 {
			s.MountedFiles[f[2]] = MountedFile{Mode: f[0], Sum: f[1]}
		}
	}
	var err error
	if s.Containers, err = parseEach(containers, docker.ParseContainers); err != nil {
		return err
	}
	if s.Images, err = parseEach(images, docker.ParseImages); err != nil {
		return err
	}
	if s.Proxy.Container = s.Container("kamal-proxy"); s.Proxy.Container != nil {
		s.Proxy = s.Proxy.NewProxyState(string(parts[2]))
	}
	return nil
}

func parseEach[T any](list []json.RawMessage, parse func([]byte) ([]T, error)) ([]T, error) {
	text, err := json.Marshal(list)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return parse(text)
}
