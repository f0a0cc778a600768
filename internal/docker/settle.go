package docker

import (
	"fmt"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

// Settle is the step that lets a container end which is started again and
// again: it has its exit code only while it is down. It is for containers that
// are given up.
func Settle(name string) sshexec.Step {
	return sshexec.Step{Title: "let " + name + " end", KeepGoing: true, Script: fmt.Sprintf(`c=%s
[ "$(docker container inspect -f '{{.RestartCount}}' "$c" 2>/dev/null || echo 0)" = 0 ] || { docker update --restart no "$c" && timeout 5 docker wait "$c"; } >/dev/null 2>&1 || :`, sshexec.Quote(name))}
}
