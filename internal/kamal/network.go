package kamal

import "github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"

// MakeNetwork is the step that makes Kamal's network where it isn't there yet.
//
// Docker takes the same name twice when two ask at once, and from then on
// refuses every container that asks for the network: so one asks after the
// other, whoever they are. They lock a directory that each server has, as an
// open one needs no file of its own and no rights to write.
func MakeNetwork() sshexec.Step {
	return sshexec.Step{Title: "find the network " + Network, Script: `(
docker network inspect ` + Network + ` >/dev/null 2>&1 && exit 0
exec 8< /etc && flock 8 || exit
docker network inspect ` + Network + ` >/dev/null 2>&1 || docker network create ` + Network + ` >/dev/null || docker network inspect ` + Network + ` >/dev/null
)`}
}
