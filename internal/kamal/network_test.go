package kamal

import (
	"os"
	"strings"
	"sync"
	"testing"
)

// Docker itself would make two networks of one name.
func TestNetworkIsMadeOnceWhoeverAsks(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.sh(`mkdir bin; cat > bin/docker << 'EOF'
#!/bin/sh
case "$*" in
  "network inspect kamal") [ -e made ];;
  "network create kamal") sleep 0.2; echo x >> made;;
  *) echo "unexpected: $*" >&2; exit 9;;
esac
EOF
chmod +x bin/docker`)
	s.env = []string{"PATH=" + s.path("bin") + ":" + os.Getenv("PATH")}
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() {
			if a := s.try(MakeNetwork()); a.code != 0 || a.out+a.err != "" {
				t.Errorf("%+v", a)
			}
		})
	}
	wg.Wait()
	if made := strings.Count(s.read("made"), "x"); made != 1 {
		t.Errorf("made %d times", made)
	}
}
