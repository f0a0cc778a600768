package testbed

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the table of engines into the documents")

// testedWith is the table of engines for users.
func testedWith() string {
	var b strings.Builder
	b.WriteString("| Docker | images lie in | comes from |\n|---|---|---|\n")
	for _, e := range Engines() {
		store := "Docker's own store (`" + e.Store + "`)"
		if e.Containerd() {
			store = "containerd's store (`" + e.Store + "`)"
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", e.Docker, store, e.From)
	}
	return b.String()
}

func TestDocumentsSayWhatIsTestedWith(t *testing.T) {
	const begin, end = "<!-- The table of engines: make generate writes it. -->\n", "<!-- end of the table -->"
	root, err := moduleRoot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"README.md", "templates/index.md.tmpl"} {
		file := filepath.Join(root, name)
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		before, rest, ok := strings.Cut(string(content), begin)
		have, after, ok2 := strings.Cut(rest, end)
		if !ok || !ok2 {
			t.Errorf("%s has no place for the table of engines: %s", name, begin)
			continue
		}
		want := "\n" + testedWith() + "\n"
		switch {
		case have == want:
		case *update:
			if err := os.WriteFile(file, []byte(before+begin+want+end+after), 0o644); err != nil {
				t.Fatal(err)
			}
		default:
			t.Errorf("%s says otherwise than the table in engines.go: run make generate\n%s", name, have)
		}
	}
}

func TestEnginesAreKindsOfServers(t *testing.T) {
	seen := map[Kind]bool{}
	for _, e := range Engines() {
		if !e.Kind.valid() || seen[e.Kind] {
			t.Errorf("%s is no kind of servers, or named twice", e.Kind)
		}
		seen[e.Kind] = true
		if _, ok := machines[e.Kind.machine()]; !ok {
			t.Errorf("nothing says how a %s is made", e.Kind)
		}
	}
	if Oldest().Kind != Debian12 || Newest().Kind != Docker29 || !Newest().Containerd() {
		t.Errorf("from %v to %v", Oldest(), Newest())
	}
}

// testedEngines are the ends of Engines, or those that KAMAL_ENGINES names ("all",
// or kinds): each costs a server, and some have to be built first.
func testedEngines(t *testing.T) []Engine {
	t.Helper()
	switch chosen := os.Getenv("KAMAL_ENGINES"); chosen {
	case "":
		return []Engine{Oldest(), Newest()}
	case "all":
		return Engines()
	default:
		var some []Engine
		for _, name := range strings.Fields(chosen) {
			e, ok := EngineOf(Kind(name))
			if !ok {
				t.Fatalf("KAMAL_ENGINES has %q, which is no engine: %v", name, Engines())
			}
			some = append(some, e)
		}
		return some
	}
}

// testedKinds are the kinds of testedEngines, and those of the standing servers.
func testedKinds(t *testing.T) []Kind {
	t.Helper()
	engines := testedEngines(t)
	return slices.DeleteFunc(Kinds(), func(kind Kind) bool {
		return !isStanding(kind) && !slices.ContainsFunc(engines, func(e Engine) bool { return e.Kind == kind })
	})
}

func isStanding(kind Kind) bool {
	for _, s := range standing {
		if s.kind == kind {
			return true
		}
	}
	return false
}

// isEngine checks that the table of engines says the truth, and prints what there is.
func isEngine(t *testing.T, b *Bed, s *Server, want Engine) {
	t.Helper()
	server := s.SSH(t, "docker version --format '{{.Server.Version}}'")
	client := s.SSH(t, "docker version --format '{{.Client.Version}}'")
	store := s.SSH(t, "docker info --format '{{.Driver}}'")
	below := s.SSH(t, "containerd --version; runc --version | sed -n 1p")
	t.Logf("%s: Docker %s, client %s, image store %s\n%s", want.Kind, server, client, store, below)
	if prefix := want.Docker + "."; !strings.HasPrefix(server, prefix) || !strings.HasPrefix(client, prefix) {
		t.Errorf("Docker %s, client %s: the table of engines says %s. Debian's unstable branch moves: if it has, mend the table", server, client, want.Docker)
	}
	if store != want.Store {
		t.Errorf("image store %s, want %s", store, want.Store)
	}
	status := s.SSH(t, "docker info --format '{{json .DriverStatus}}'")
	if inContainerd := strings.Contains(status, "io.containerd.snapshotter"); inContainerd != want.Containerd() {
		t.Errorf("images in containerd's store: %t, want %t: %s", inContainerd, want.Containerd(), status)
	}
	s.LogIn(t)
	image := b.Image("app:v1")
	if got := s.SSH(t, "docker pull -q "+image+" >/dev/null; docker run --rm --memory 64m --init "+image+" app env APP_VERSION"); got != "v1" {
		t.Errorf("a container says %q, want v1", got)
	}
	// What kamal_firewall builds on. Up to Docker 26 there is none for IPv6.
	families := []string{"iptables", "ip6tables"}
	if want.Docker < "28" {
		families = families[:1]
	}
	for _, family := range families {
		if _, err := s.Run(t.Context(), family+" -S DOCKER-USER"); err != nil {
			t.Errorf("%s: %v", family, err)
		}
	}
}
