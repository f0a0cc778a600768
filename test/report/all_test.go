package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTellAll(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "results")
	for _, r := range []result{
		{Title: "unit", OK: true, Passed: 2, Took: []took{{"TestA", 0.1}, {"TestB", 3}}, Packages: []string{"ok  \tm/p\t0.2s\n"}, Wall: 4, Tests: 6, Rest: 1},
		{Title: "engine", OK: true, Passed: 1, Took: []took{{"TestC", 7}}, Skipped: []string{"TestD: why"}, Packages: []string{"ok  \tm/q\t7s\n"}, Wall: 8, Tests: 2, Rest: 9},
	} {
		if err := r.appendTo(file); err != nil {
			t.Fatal(err)
		}
	}
	tell := func() (string, bool) {
		var out strings.Builder
		ok, err := tellAll(&out, file, dir)
		if err != nil {
			t.Fatal(err)
		}
		return out.String(), ok
	}
	profile := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("mode: atomic\n"+text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// Half of each noun by one tier, another piece by the other.
	var unit, engine strings.Builder
	for _, noun := range nouns {
		unit.WriteString("m/internal/" + noun + "/a.go:1.1,2.2 5 1\nm/internal/" + noun + "/a.go:3.1,4.2 5 0\n")
		engine.WriteString("m/internal/" + noun + "/a.go:3.1,4.2 5 7\nm/internal/" + noun + "/b.go:3.1,4.2 2 0\n")
	}
	profile("unit.out", unit.String())
	out, ok := tell()
	if ok || !strings.Contains(out, "50.0 %  approle  too little: want 70 %") {
		t.Errorf("half of the code is enough: %t\n%s", ok, out)
	}
	profile("engine.out", engine.String())
	out, ok = tell()
	for _, want := range []string{
		"    7.0 s  TestC (engine)\n    3.0 s  TestB (unit)\n    0.1 s  TestA (unit)\n",
		"  83.3 %  approle\n", "12               8                       10       3       0        1  all\n",
		"engine: 1 passed, 0 failed, 1 skipped\n  skipped TestD: why\nok  \tm/q\t7s\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("it doesn't say %q:\n%s", want, out)
		}
	}
	if !ok || !strings.HasSuffix(out, "ok  \tm/q\t7s\n") {
		t.Errorf("ok is %t, and the end is not go test's:\n%s", ok, out)
	}
	failed := result{Title: "cli", Passed: 3, Failed: 1}
	if err := failed.appendTo(file); err != nil {
		t.Fatal(err)
	}
	if _, ok := tell(); ok {
		t.Error("a failed run is fine")
	}
}

func TestBusy(t *testing.T) {
	t.Parallel()
	if got := busyOf("cpu  100 20 300 4000 500 6 7 8 9 10\n"); got != 4.33 {
		t.Errorf("%v seconds, want user, nice, system, irq and softirq's 4.33", got)
	}
	if got := busyOf(""); got != 0 {
		t.Errorf("of nothing: %v", got)
	}
}
