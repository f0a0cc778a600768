package byhand

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/test/testbed"
)

// Inspect is a field of a container, as docker's template writes it: ".Id".
func Inspect(t testing.TB, s *testbed.Server, container, field string) string {
	t.Helper()
	return strings.TrimSpace(s.SSH(t, fmt.Sprintf("docker inspect --format '{{%s}}' %s", field, container)))
}

// Names are the running containers of a server, in alphabetical order.
func Names(t testing.TB, s *testbed.Server) string {
	t.Helper()
	return strings.Join(strings.Fields(s.SSH(t, `docker ps --format '{{.Names}}' | sort`)), " ")
}

// Footprint is what there is on a server of what an apply could change, images
// apart: a failed deploy leaves the image that it pulled.
func Footprint(t testing.TB, s *testbed.Server) string {
	t.Helper()
	return s.SSH(t, `docker ps --all --no-trunc --format '{{.ID}} {{.Names}} {{.State}}' | sort
docker network ls --format '{{.Name}}' | sort
[ ! -d .kamal ] || find .kamal ! -name .kamal ! -name '*.flock' -printf '%p %y %s %m\n' | sort`)
}

// Images are the tagged images of a server.
func Images(t testing.TB, s *testbed.Server) string {
	t.Helper()
	return s.SSH(t, `docker image ls --no-trunc --format '{{.Repository}}:{{.Tag}} {{.ID}}' | grep -v /keep: | sort`)
}

// WantSame fails the test if what was changed.
func WantSame(t testing.TB, what, before, after string) {
	t.Helper()
	if before != after {
		t.Errorf("%s changed.\nBefore:\n%s\nAfter:\n%s", what, before, after)
	}
}

// Eventually waits, with a bound, for something that is going to happen.
func Eventually(t testing.TB, bound time.Duration, what string, happened func() bool) {
	t.Helper()
	for deadline := time.Now().Add(bound); !happened(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %s in vain: %s", bound, what)
		}
	}
}
