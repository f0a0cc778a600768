package server

import (
	"errors"
	"strings"
	"testing"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

// The line is that of Docker 29.8.1; 26.1 and 28.5 have the same.
func TestAReloadThatDockerRefusesSaysWhatToDo(t *testing.T) {
	t.Parallel()
	for log, want := range map[string]string{
		`time="2026-11-27T13:05:30.231061552Z" level=error msg="Error reloading configuration" error="file configuration validation failed: invalid userland-proxy-path: userland-proxy is enabled, but userland-proxy-path is not set"`: `take "userland-proxy" out of /etc/docker/daemon.json`,
		`level=error msg="Error reloading configuration" error="something else"`: "",
	} {
		step := sshexec.StepResult{Title: "reload Docker's configuration", Ran: true, ExitCode: 1, Stderr: []byte(log)}
		err := stepFailed("10.0.0.1", &sshexec.Result{Steps: []sshexec.StepResult{step}}, 0)
		var f *fleet.Failure
		if !errors.As(err, &f) || !strings.HasPrefix(f.Next, want) || want == "" && f.Next != "" {
			t.Errorf("%v", err)
		}
	}
}
