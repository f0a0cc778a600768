package secret

import (
	"context"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/kamal"
)

// shell runs a step's script with a Mount's variables in the directory home, as a call does.
func shell(t *testing.T, home string, m Mount, script string) {
	t.Helper()
	var text strings.Builder
	text.WriteString("set -u\n" + kamal.RunPrelude)
	for _, v := range m.Vars() {
		text.WriteString(v.Name + "='" + strings.ReplaceAll(v.Value, "'", `'\''`) + "'\n")
	}
	text.WriteString("(\n" + script + "\n)")
	cmd := exec.CommandContext(context.Background(), "/bin/sh", "-s")
	cmd.Dir, cmd.Stdin = home, strings.NewReader(text.String())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

func TestMountWritesFilesThatOthersCannotReach(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	files := Set{"PASSWORD": "p$w'\"\\\n\tü-\n\n", "EMPTY": "", "tls.key": strings.Repeat("k", 200_000)}
	m := NewMount("shop", "role-web", files)
	shell(t, home, m, m.Step().Script)
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join(home, m.Dir, name))
		if err != nil || string(got) != want {
			t.Errorf("%s: %v, %d bytes, want %d", name, err, len(got), len(want))
		}
	}
	for path, want := range map[string]os.FileMode{"": 0o755, "/EMPTY": 0o444, "/..": 0o700} {
		info, err := os.Stat(filepath.Join(home, m.Dir+path))
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, mode %v, want %v", m.Dir+path, err, info.Mode(), want)
		}
	}
	if base, ok := InDir(m.Dir + "/EMPTY"); !ok || base != filepath.Base(m.Dir) {
		t.Errorf("InDir: %q %t", base, ok)
	}

	// Only the owner's own go, and not those that a container still has.
	next, other := NewMount("shop", "role-web", files), NewMount("shop", "role-web-2", files)
	shell(t, home, next, next.Step().Script)
	shell(t, home, other, other.Step().Script)
	shell(t, home, Mount{}, RemoveMounts("shop", "role-web", []string{filepath.Base(next.Dir)}).Script)
	var left []string
	found, _ := filepath.Glob(filepath.Join(home, dirOf("shop"), "*"))
	for _, f := range found {
		left = append(left, filepath.Base(f))
	}
	if want := []string{filepath.Base(next.Dir), filepath.Base(other.Dir)}; !slices.Equal(left, slices.Sorted(slices.Values(want))) {
		t.Errorf("left: %q, want %q", left, want)
	}
	shell(t, home, Mount{}, RemoveMounts("shop", "role-web", nil).Script+"\n"+RemoveMounts("shop", "role-web-2", nil).Script)
	if _, err := os.Stat(filepath.Join(home, ".kamal", "apps", "shop")); !os.IsNotExist(err) {
		t.Errorf("the empty directory stays: %v", err)
	}
}

func TestMountIsNamedByVariables(t *testing.T) {
	t.Parallel()
	m := NewMount("shop", "accessory-db", Set{"A": "x", "B": "y"})
	got := m.Env(map[string]string{"B_FILE": "/elsewhere", "C": "z"})
	if want := (map[string]string{"A_FILE": "/run/secrets/A", "B_FILE": "/elsewhere", "C": "z"}); !maps.Equal(got, want) {
		t.Errorf("env %v", got)
	}
	names := m.Files.Names()
	if !IsFileVariable("A_FILE", "/run/secrets/A", names) || IsFileVariable("B_FILE", "/elsewhere", names) || IsFileVariable("C_FILE", "/run/secrets/C", names) {
		t.Error("a variable is taken for what it isn't")
	}
	if m.Bind("/root") != "/root/"+m.Dir+":/run/secrets:ro" {
		t.Errorf("bind %s", m.Bind("/root"))
	}
	if !NewMount("shop", "x", nil).Empty() {
		t.Error("a mount of nothing")
	}
}

func TestCheckFiles(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		set  Set
		want string
	}{
		"usual":     {Set{"TLS.key": "a\nb", "A": strings.Repeat("x", 200_000)}, ""},
		"path":      {Set{"../A": "zzy"}, "can't be the name"},
		"dot":       {Set{".": "zzy"}, "can't be the name"},
		"NUL":       {Set{"A": "zzy\x00"}, "NUL"},
		"too large": {Set{"A": strings.Repeat("x", maxFile+1)}, "1048576"},
	} {
		err := c.set.CheckFiles()
		if (c.want == "") != (err == nil) || err != nil && (!strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "zzy")) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	if env, files := (Set{"A": "1", "B": "2"}).Split([]string{"B", "C"}); !maps.Equal(env, Set{"A": "1"}) || !maps.Equal(files, Set{"B": "2"}) {
		t.Errorf("split: %v %v", env, files)
	}
}
