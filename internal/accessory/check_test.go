package accessory

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/workload"
)

// Each of these was seen to fail in `docker run`, or to work.
func TestCheckOfPortsAndMounts(t *testing.T) {
	for name, c := range map[string]struct {
		spec Spec
		want string // "" is fine
		at   string
	}{
		"one port twice":              {Spec{Spec: workload.Spec{Ports: []string{"80:1", "127.0.0.1:80:2"}}}, "the same port", "ports 1"},
		"all addresses and one":       {Spec{Spec: workload.Spec{Ports: []string{"0.0.0.0:80:1", "80:1"}}}, "the same port", "ports 1"},
		"one address and all":         {Spec{Spec: workload.Spec{Ports: []string{"[::1]:80:1", "[::]:80:1"}}}, "the same port", "ports 1"},
		"an IPv4 address in IPv6":     {Spec{Spec: workload.Spec{Ports: []string{"[::ffff:127.0.0.1]:80:1", "80:2"}}}, "the same port", "ports 1"},
		"all of IPv4 and all of IPv6": {Spec{Spec: workload.Spec{Ports: []string{"0.0.0.0:80:1", "[::]:80:1"}}}, "", ""},
		"two addresses":               {Spec{Spec: workload.Spec{Ports: []string{"127.0.0.1:80:1", "127.0.0.2:80:1"}}}, "", ""},
		"two protocols":               {Spec{Spec: workload.Spec{Ports: []string{"53:53", "53:53/udp"}}}, "", ""},
		"two mounts":                  {Spec{Spec: workload.Spec{Volumes: []string{"a:/data"}}, Directories: []string{"b:/data/"}}, "mounted at /data", "directories 0"},
		"a mount and tmpfs":           {Spec{Spec: workload.Spec{Volumes: []string{"a:/data"}, Options: docker.Options{Tmpfs: map[string]string{"/data/": ""}}}}, "mounted at /data", "options -1"},
		"one within another":          {Spec{Spec: workload.Spec{Volumes: []string{"a:/data", "b:/data/b"}}}, "", ""},
		"the root":                    {Spec{Spec: workload.Spec{Volumes: []string{"a:/"}}}, "at /", "volumes 0"},
		"the root by another name":    {Spec{Spec: workload.Spec{Volumes: []string{"a:/data/.."}}}, "at /", "volumes 0"},
		"the place of secrets":        {Spec{Spec: workload.Spec{Volumes: []string{"a:/run/secrets"}, AsFiles: []string{"A"}}}, "mounted at /run/secrets", "secrets_as_files -1"},
		"within the place of secrets": {Spec{Spec: workload.Spec{AsFiles: []string{"A"}}, Files: []File{{Path: "/run/secrets/B"}}}, "at /run/secrets/B", "files 0"},
		"there without any":           {Spec{Files: []File{{Path: "/run/secrets/B", Secret: true}}}, "", ""},
	} {
		err := c.spec.Check()
		if (c.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		var at string
		if r := (*docker.Refusal)(nil); errors.As(err, &r) {
			at = fmt.Sprintf("%s %d", r.Attribute, r.Index)
		}
		if at != c.at {
			t.Errorf("%s: it is the fault of %q, want %q", name, at, c.at)
		}
	}
}
