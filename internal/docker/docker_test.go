package docker

import (
	"maps"
	"os"
	"testing"
	"time"
)

// The files are what Docker 20.10.24 (Debian 12), 26.1.5 (Debian 13), 28.5.2 and
// 29.8.1 with containerd's image store said, with fields that nobody reads left
// out, and with one name and digest for the image.
var versions = []string{"20.10", "26.1", "28.5", "29.8"}

func recorded(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestParseContainersOfRealDockers(t *testing.T) {
	t.Parallel()
	for _, v := range versions {
		t.Run(v, func(t *testing.T) {
			t.Parallel()
			list, err := ParseContainers(recorded(t, "container-"+v))
			if err != nil || len(list) != 1 {
				t.Fatalf("%d containers, %v", len(list), err)
			}
			c := list[0]
			if c.ContainerName() != "shop-web-v1" || len(c.ShortID()) != 12 || len(c.ID) != 64 {
				t.Errorf("name %q, id %q", c.ContainerName(), c.ID)
			}
			if !c.Running() || c.Status() != "running" {
				t.Errorf("running %t, status %s", c.Running(), c.Status())
			}
			if at := c.CreatedAt(); at.Year() != 2026 || at.Nanosecond() == 0 {
				t.Errorf("created at %s", at)
			}
			wantEnv := map[string]string{"PATH": "/bin", "HOME": "/home/app", "APP_VERSION": "v1", "GREETING": "hello world", "EMPTY": "",
				"KAMAL_CONTAINER_NAME": "shop-web-v1", "KAMAL_VERSION": "v1", "KAMAL_HOST": "10.0.0.1"}
			if !maps.Equal(c.Env(), wantEnv) {
				t.Errorf("env %v", c.Env())
			}
			// The destination label is there and empty, as Kamal wants it.
			if !maps.Equal(c.Labels(), map[string]string{"service": "shop", "role": "web", "destination": "", "team": "shop"}) {
				t.Errorf("labels %v", c.Labels())
			}
			if got := c.Address("kamal"); got != "172.18.0.2" {
				t.Errorf("address %q", got)
			}
			if got := c.Address("bridge"); got != "" {
				t.Errorf("address in a network that it isn't in: %q", got)
			}
			if c.HostConfig.Memory != 64<<20 || c.HostConfig.NanoCPUs != 500_000_000 || c.Config.Image != "registry.example.com/app:v1" {
				t.Errorf("memory %d, cpus %d, image %s", c.HostConfig.Memory, c.HostConfig.NanoCPUs, c.Config.Image)
			}
		})
	}
}

func TestParseImagesOfRealDockers(t *testing.T) {
	t.Parallel()
	for _, v := range versions {
		t.Run(v, func(t *testing.T) {
			t.Parallel()
			list, err := ParseImages(recorded(t, "image-"+v))
			if err != nil || len(list) != 1 {
				t.Fatalf("%d images, %v", len(list), err)
			}
			i := list[0]
			const digest = "sha256:16854097c3673cb811ac926d0a9904abae8e7638815b9840735e0518bc0a6d16"
			if got := i.Digest("registry.example.com/app"); got != digest {
				t.Errorf("digest %q", got)
			}
			if !maps.Equal(i.Env(), map[string]string{"PATH": "/bin", "HOME": "/home/app", "APP_VERSION": "v1"}) {
				t.Errorf("env %v", i.Env())
			}
			if i.Architecture != "amd64" || i.Os != "linux" || len(i.Config.Cmd) != 2 || len(i.Config.ExposedPorts) != 1 {
				t.Errorf("image %+v", i)
			}
		})
	}
}

func TestParseNothing(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", " \n", "[]"} {
		if c, err := ParseContainers([]byte(text)); err != nil || len(c) != 0 {
			t.Errorf("%q: %v, %v", text, c, err)
		}
		if i, err := ParseImages([]byte(text)); err != nil || len(i) != 0 {
			t.Errorf("%q: %v, %v", text, i, err)
		}
	}
	for _, text := range []string{"[", "Error: no such container", `{"Id":1}`} {
		if _, err := ParseContainers([]byte(text)); err == nil {
			t.Errorf("%q is taken for containers", text)
		}
		if _, err := ParseImages([]byte(text)); err == nil {
			t.Errorf("%q is taken for images", text)
		}
	}
}

func TestImageDigest(t *testing.T) {
	t.Parallel()
	var i Image
	if got := i.Digest("app"); got != "" {
		t.Errorf("of an image that was never pulled: %q", got)
	}
	i.RepoDigests = []string{"other@sha256:1", "app@sha256:2", "broken"}
	if got := i.Digest("app"); got != "sha256:2" {
		t.Errorf("of its repository: %q", got)
	}
	if got := i.Digest("third"); got != "sha256:1" && got != "sha256:2" {
		t.Errorf("of another repository: %q", got)
	}
}

func TestShortID(t *testing.T) {
	t.Parallel()
	for id, want := range map[string]string{
		"4e6855b4f022b4bee4bf3bc590cc3903": "4e6855b4f022", "sha256:85bb65917070c113e8b7": "85bb65917070", "short": "short", "": "",
	} {
		if got := ShortID(id); got != want {
			t.Errorf("%s: %s", id, got)
		}
	}
}

func TestAContainerThatDockerTellsLittleAbout(t *testing.T) {
	t.Parallel()
	var c Container
	if c.Running() || c.Status() != "unknown" || c.Env() != nil || c.Labels() != nil || c.Address("kamal") != "" || !c.CreatedAt().Equal(time.Time{}) {
		t.Errorf("%+v", c)
	}
}
