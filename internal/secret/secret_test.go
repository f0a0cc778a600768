package secret

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

func TestCheckRefusesWhatWouldNotArrive(t *testing.T) {
	for name, c := range map[string]struct {
		set  Set
		want string // "" is fine
	}{
		"none":                {nil, ""},
		"usual":               {Set{"PASSWORD": "p$w'\"\\\n\tü-", "EMPTY": ""}, ""},
		"no name":             {Set{"": "value"}, "is no name"},
		"equals sign":         {Set{"A=B": "value"}, "is no name"},
		"NUL":                 {Set{"A": "xy\x00zzy"}, "NUL"},
		"not UTF-8":           {Set{"A": "xy\xffzzy"}, "not UTF-8"},
		"largest":             {Set{"A": strings.Repeat("x", maxOne-2)}, ""},
		"too large":           {Set{"A": strings.Repeat("x", maxOne-1)}, "131071"},
		"too many":            {many(9, 130000), "together"},
		"name for docker":     {Set{"DOCKER_HOST": "value"}, ""},
		"line break for such": {Set{"foo.bar": "xy\nzzy"}, "line break"},
		"long line for such":  {Set{"PATH": strings.Repeat("x", maxLine)}, "65535"},
	} {
		err := c.set.Check()
		if (c.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "zzy") {
			t.Errorf("%s: the text holds the value: %v", name, err)
		}
	}
}

func many(n, size int) Set {
	s := Set{}
	for i := range n {
		s["A"+strings.Repeat("x", i)] = strings.Repeat("y", size)
	}
	return s
}

func TestDigestTellsNamesValuesAndSaltsApart(t *testing.T) {
	salt, other := NewSalt(), NewSalt()
	seen := map[string]string{}
	for what, d := range map[string]string{
		"a": Digest(salt, "A", "value"), "other value": Digest(salt, "A", "valuf"), "other name": Digest(salt, "B", "value"),
		"other salt": Digest(other, "A", "value"), "boundary moved": Digest(salt, "AB", ":value"), "boundary": Digest(salt, "A", "B::value"), "empty": Digest(salt, "A", ""),
	} {
		if before := seen[d]; before != "" {
			t.Errorf("%s and %s have the same digest", what, before)
		}
		seen[d] = what
	}
	if again := Digest(salt, "A", "value"); seen[again] != "a" {
		t.Error("the same value has two digests")
	}
}

// A stand-in for the docker client shows what docker would get: the real one is
// tried with the same values in the acceptance tests.
func TestValuesArriveUnchanged(t *testing.T) {
	t.Parallel()
	set := Set{
		"PLAIN": "value", "QUOTES": `'"$HOME` + "`\\", "LINES": "one\ntwo\n\n", "DASH": "-e", "EMPTY": "", "UNICODE": "pässwörd ☃",
		"foo.bar": "dotted # and = signs", "DOCKER_HOST": "tcp://192.0.2.1", "PATH": "/nowhere", "BIG": strings.Repeat("x", 100_000),
	}
	dir := t.TempDir()
	stub := "#!/bin/sh\nfor a; do case $prev in --env) printf '%s' \"$a=\"; printenv \"$a\" | od -v -An -tx1 | tr -d ' \\n'; echo;; --env-file) od -v -An -tx1 < \"$a\" | tr -d ' \\n'; echo;; esac; prev=$a; done\n"
	if err := os.WriteFile(filepath.Join(dir, "docker"), []byte(stub), 0o700); err != nil {
		t.Fatal(err)
	}
	argv := []string{"docker", "run"}
	for _, n := range set.EnvNames() {
		argv = append(argv, "--env", n)
	}
	script := ""
	for _, v := range set.Vars() {
		script += v.Name + "=" + sshexec.Quote(v.Value) + "\n"
		if v.Export {
			script += "export " + v.Name + "\n"
		}
	}
	script += set.RunScript(append(argv, "image"))
	cmd := exec.Command("/bin/sh", "-s")
	cmd.Env = []string{"PATH=" + dir + ":/usr/bin:/bin"}
	cmd.Stdin = strings.NewReader(script)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	got := string(out)
	for n, v := range set {
		if plain(n) && !strings.Contains(got, n+"="+hexOf(v)+"0a\n") {
			t.Errorf("%s did not arrive", n)
		}
		if !plain(n) && !strings.Contains(got, hexOf(n+"="+v+"\n")) {
			t.Errorf("%s is not in the file", n)
		}
	}
	if strings.Contains(strings.Join(argv, " "), "value") {
		t.Error("a value is in the argument list")
	}
}

func hexOf(s string) string {
	const digits = "0123456789abcdef"
	var b strings.Builder
	for _, c := range []byte(s) {
		b.WriteByte(digits[c>>4])
		b.WriteByte(digits[c&15])
	}
	return b.String()
}

func BenchmarkDigest(b *testing.B) {
	salt := NewSalt()
	for b.Loop() {
		Digest(salt, "PASSWORD", "value")
	}
}
