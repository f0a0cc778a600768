package kamal

import "github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"

// MakeNetwork is the step that makes Kamal's network where it isn't there yet;
// others may be making it too.
func MakeNetwork() sshexec.Step {
	return sshexec.Step{Title: "find the network " + Network,
		Script: "docker network inspect kamal >/dev/null 2>&1 || docker network create kamal >/dev/null || docker network inspect kamal >/dev/null"}
}
