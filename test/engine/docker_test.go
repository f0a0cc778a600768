package engine

import (
	"fmt"
	"slices"
	"testing"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
	"github.com/kamal-terraform/terraform-provider-kamal/test/testbed"
)

// Somebody pulls something newer under a tag that a container runs on. Docker
// 29's client then leaves the old image out of its list.
func TestAnImageWhoseTagHasMovedOnIsStillSeen(t *testing.T) {
	onEngines(t, func(e *engine) {
		e.s.LogIn(e)
		e.s.SSH(e, fmt.Sprintf(`docker pull -q %s; docker tag %[1]s moving:1; docker rmi %[1]s
			docker run -d --name moved --env MOOD=good moving:1
			docker pull -q %s; docker tag %[2]s moving:1`, e.image("app:v1"), e.image("app:v2")))
		see := func() (*docker.Container, *docker.Image) {
			snap := e.snapshot(e.s.Address)
			c := snap.Container("moved")
			if c == nil {
				e.Fatal("the container is not seen")
			}
			return c, snap.Image(c.InspectResponse.Image)
		}
		c, image := see()
		if image == nil {
			e.Fatalf("the image that the container runs on is not seen:\n%s", e.s.SSH(e, "docker ps; docker image ls --all --no-trunc"))
		}
		if !slices.Equal(image.Config.Cmd, []string{"app", "server"}) || image.Env()["APP_VERSION"] != "v1" {
			e.Errorf("another image is taken for it: %+v", image.Config)
		}
		if got := docker.CommandOf(*c, image, nil); got != nil {
			e.Errorf("the image's own command is taken for the user's: %q", got)
		}
		// Gone altogether, it is no failure to look at the server.
		e.s.SSH(e, "docker stop -t 1 moved; docker rmi -f "+c.InspectResponse.Image)
		if _, image := see(); image != nil {
			e.Errorf("an image that was removed is seen: %+v", image)
		}
	})
}

// Docker's data and containerd's may lie on other disks than the rest: what is
// free there counts, and the least.
func TestFreeDiskIsThatWhereDockerKeepsItsData(t *testing.T) {
	onEngines(t, func(e *engine) {
		if free := e.snapshot(e.s.Address).Facts.DiskFree; free < 1<<30 {
			e.Fatalf("%d bytes free to begin with", free)
		}
		free := func(dir string, size int64) {
			e.Helper()
			e.s.SSH(e, fmt.Sprintf(`systemctl stop docker.socket docker containerd; mkdir -p %[1]s
				mount -t tmpfs -o size=%[2]d tmpfs %[1]s; systemctl reset-failed docker; systemctl start containerd docker; docker version >/dev/null`, dir, size))
			if got := e.snapshot(e.s.Address).Facts.DiskFree; got <= 0 || got > size {
				e.Errorf("with %d bytes at %s it says %d", size, dir, got)
			}
		}
		e.Cleanup(func() {
			e.s.SSH(e, `systemctl stop docker.socket docker containerd
				systemctl reset-failed docker
				umount $(findmnt --noheadings --list --types tmpfs --output TARGET | grep -e ^/srv/docker -e ^/var/lib/containerd)
				mv /etc/docker/daemon.json.before /etc/docker/daemon.json 2>/dev/null || rm /etc/docker/daemon.json
				systemctl start containerd docker`)
		})
		e.s.SSH(e, `cp /etc/docker/daemon.json /etc/docker/daemon.json.before 2>/dev/null || :
			echo '{"data-root": "/srv/docker"`+classic(e.kind)+`}' > /etc/docker/daemon.json`)
		free("/srv/docker", 200<<20)
		if on, _ := testbed.EngineOf(e.kind); on.Containerd() {
			free("/var/lib/containerd", 100<<20)
		}
	})
}

// classic is what a daemon.json must go on to say.
func classic(kind testbed.Kind) string {
	if kind == testbed.Docker29Classic {
		return `, "features": {"containerd-snapshotter": false}`
	}
	return ""
}
