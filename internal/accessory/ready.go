package accessory

import (
	"fmt"
	"strings"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

// maxRestarts is how often a container may end and be started again before it
// is given up: docker waits longer each time, so that this is some seconds,
// and the old container is down meanwhile.
const maxRestarts = 5

// readyStep waits until a container is ready as r says, at most bound. Its exit
// code is 1 where it does not get ready, and its standard error says why.
func readyStep(container string, r Ready, bound time.Duration) sshexec.Step {
	check := fmt.Sprintf(`case $2 in
      healthy) exit 0;;
      none) [ -n "$since" ] && [ "$seen" = "$3" ] || since=$now; seen=$3; [ $((now - since)) -lt %d ] || exit 0;;
    esac`, seconds(r.Delay))
	switch {
	case len(r.Command) > 0:
		check = fmt.Sprintf(`out=$(timeout 30 docker exec "$c" %s 2>&1) && exit 0
    last="; the health check said: $(printf '%%s' "$out" | tail -n 3)"`, sshexec.Join(r.Command...))
	case r.Port > 0:
		check = fmt.Sprintf(`ip=$(docker container inspect -f '{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}' "$c"); ip=${ip%%%% *}
    tcp "${ip:-127.0.0.1}" %d && exit 0
    last="; nothing takes connections on port %d"`, r.Port, r.Port)
	}
	limit := max(seconds(bound), seconds(r.Delay)+1)
	return sshexec.Step{Title: "wait until the container is ready", Script: fmt.Sprintf(`
tcp() {
  if command -v bash >/dev/null; then timeout 2 bash -c ": </dev/tcp/$1/$2" 2>/dev/null
  elif command -v nc >/dev/null; then nc -z -w 2 "$1" "$2"
  else echo "a health check of a port needs bash or nc on the server" >&2; exit 1; fi
}
c=%s; until=$(( $(date +%%s) + %d )); first= since= seen= last=
while :; do
  s=$(docker container inspect -f '{{.State.Status}} {{if .State.Health}}{{.State.Health.Status}}{{else}}none{{end}} {{.RestartCount}} {{.State.ExitCode}}' "$c") || exit 1
  set -- $s
  now=$(date +%%s); first=${first:-$3}
  if [ "$1" = running ]; then
    %s
  else
    since=
  fi
  why="state $1, health $2, restarts $3, exit code $4$last"
  [ $(($3 - first)) -lt %d ] || { echo "it ends again and again: $why" >&2; exit 1; }
  [ "$now" -lt "$until" ] || { echo "not ready in %d seconds: $why" >&2; exit 1; }
  sleep 0.5
done`, sshexec.Quote(container), limit, check, maxRestarts, limit)}
}

func seconds(d time.Duration) int { return int(d.Round(time.Second) / time.Second) }

// notReady says that a container did not get ready, in the words of readyStep.
type notReady struct {
	why   string
	bound time.Duration
}

func (e *notReady) Error() string { return e.why }

// asNotReady is err, or what it says of the container where the step that
// waits for it failed.
func asNotReady(err error, step sshexec.StepResult, bound time.Duration) error {
	if err == nil || !step.Ran || step.ExitCode == 0 {
		return err
	}
	return &notReady{why: strings.TrimSpace(string(step.Stderr)), bound: bound}
}
