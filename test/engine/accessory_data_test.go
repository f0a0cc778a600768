package engine

import (
	"strings"
	"testing"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/accessory"
)

// What an image keeps in volumes that nobody named is data as any other.
func TestAccessoryKeepsAnonymousVolumes(t *testing.T) {
	onEngines(t, func(e *engine) {
		a := e.accessory(func(s *accessory.Spec) {
			s.Image, s.Directories = e.image("redis:7"), []string{"conf:/conf"}
		})
		// A create that fails takes its volume along.
		a.spec.Command = []string{"no-such-program"}
		a.fails("Unable to create the accessory shop-db on "+e.s.Address, "no-such-program")
		if got := e.s.SSH(e, "docker ps -aq; docker volume ls -q; ls -d shop-db .kamal/apps .kamal/terraform 2>/dev/null || :"); got != "" {
			e.Errorf("left of a failed create: %q", got)
		}
		a.spec.Command = nil
		a.deploy()
		volume := func() string {
			e.Helper()
			return inspect(e, e.s, "shop-db", `range .Mounts}}{{if eq .Destination "/data"}}{{.Name}}{{end}}{{end`)
		}
		first := volume()
		data := "/var/lib/docker/volumes/" + first + "/_data/row"
		e.s.SSH(e, "echo precious > "+data)

		// A replacement takes it over, also one that fails and one that died.
		for i, mood := range []string{"one", "two"} {
			a.spec.Env = map[string]string{"MOOD": mood}
			if i == 1 {
				e.beforeDocker("start shop-db", "touch /root/reached; sleep 600")
				r, u := a.begin()
				e.reaches(u, "docker start", "ls /root/reached")
				e.dies(r, u, "shop")
				e.afterDocker()
			}
			a.deploy()
			if got := e.s.SSH(e, "docker volume ls -q; cat "+data); got != first+"\nprecious" || volume() != first {
				e.Errorf("after replacement %s: %q, and it has %s", mood, got, volume())
			}
		}
		good := a.spec
		a.spec.Command = []string{"no-such-program"}
		a.fails("the old container was put back and is ready")
		a.spec = good
		a.wantConverged()
		if got := e.s.SSH(e, "docker volume ls -q; cat "+data); got != first+"\nprecious" {
			e.Errorf("after a replacement that failed: %q", got)
		}
		if out := a.destroy(); !says(out, "delete_data is not set") || !says(out, "volume "+first) || !says(out, "shop-db/conf") {
			e.Errorf("no word of what was kept:\n%s", out)
		}
		if got := e.s.SSH(e, "docker volume ls -q; cat "+data+"; ls -d shop-db/conf"); got != first+"\nprecious\nshop-db/conf" {
			e.Errorf("after destroy: %q", got)
		}

		// delete_data takes what this accessory made: not the directory, which was
		// there, nor a volume that somebody else uses by now.
		a.spec.DeleteData, a.spec.Volumes, a.spec.Directories = true, []string{"fresh:/fresh", "shared:/shared"}, []string{"conf:/conf", "more:/more"}
		a.deploy()
		e.s.SSH(e, "docker run --detach --name other --volume shared:/data "+a.spec.Image)
		out := a.destroy()
		if !says(out, "Not all data of shop-db could be removed") || !says(out, "remove the volume shared") || !says(out, "shop-db/conf") || says(out, "shop-db/more") || says(out, "fresh") {
			e.Errorf("of what was kept and removed:\n%s", out)
		}
		if got := e.s.SSH(e, "docker volume ls -q; ls -d shop-db/*"); strings.Join(strings.Fields(got), " ") != first+" shared shop-db/conf" {
			e.Errorf("after destroy with delete_data: %q", got)
		}
	})
}
