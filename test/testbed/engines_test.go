package testbed

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
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
