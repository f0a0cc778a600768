package engine

import (
	"archive/tar"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/accessory"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/approle"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

// pwned is made by a shell that takes a secret for a command.
const pwned = "/tmp/pwned-by-a-secret"

// nastyParts are what a shell, an env file, a terminal, a printf or a JSON text
// would make something else of. No combining marks: the CLIs bring strings into
// Unicode's normal form C before the provider sees them.
var nastyParts = []string{
	"", " ", "\t", "\n", "\n\n", "\r", "\r\n", "\v", "\f", "\a\b", "\x01", "\x02\x03\x04\x05\x06\x0e\x0f\x10\x11", "\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1c\x1d\x1e\x1f", "\x7f",
	"-", "-n", "-e \\n", "--", "--env", "=", "==", "=value", "#", "# comment", "a # b", "~", "~/x", "a:~/b", "*", "?", "[a-z]*", "{a,b}", "!", "!!", "!$",
	"'", "''", `"`, `""`, "`", "`touch " + pwned + "`", "$", "$$", "$HOME", "${HOME}", "${", "%{", "%{ if true }", "$((1+1))", "$(touch " + pwned + ")", "'$(touch " + pwned + ")'",
	`"$(touch ` + pwned + `)"`, `'"'"'`, `'\''`, `\`, `\\`, `\n`, `\'`, `\"`, `\0`, `\x41`, "end\\", "a\\\nb", "<<EOF\nx\nEOF\n", "E\nEOF\n", ";", "; touch " + pwned + ";", "& true", "&&",
	"| cat", "> " + pwned, "<", ")\n}\nexit 1\n", "%s", "%n%d%%", `\036`, "\x1b[31mred\x1b[0m", "\x1b]0;title\a", "\x1b[2J", "\u0085", "\u2028", "\u2029", "\u00a0", "\u200b", "\ufeffbom",
	"pässwörd", "☃", "👩\u200d🚀", "日本語", "\u202eright to left", "\ufffd", "\U0010ffff", "null", "true", "0", "[redacted]", "{{.Env}}", `{"a": ["b"]}`, "one\ntwo", "one\ntwo\n\n", "one\r\ntwo\r\n",
	" value ", "value\n", "\nvalue", "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA==\n-----END PRIVATE KEY-----\n", "p4ss$w0rd'\n-x\\ \"quoted\"",
}

// oddNames can't be the names of shell variables, or mean something to a shell or docker; their values have no line breaks.
var oddNames = []string{"foo.bar", "1A", "é", "a/b", "DOCKER_HOST", "LC_ALL", "IFS", "BASH_ENV", "LD_PRELOAD", "SECRET_FILE", "_kamal_0"}

// nastySecrets are nastyParts and random chains of them, with odd names among them.
func nastySecrets(t testing.TB) map[string]string {
	seed := uint64(time.Now().UnixNano())
	if given, err := strconv.ParseUint(os.Getenv("KAMAL_TEST_SEED"), 10, 64); err == nil {
		seed = given
	}
	t.Logf("KAMAL_TEST_SEED=%d makes the same values", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	values := slices.Clone(nastyParts)
	for range 40 {
		value := ""
		for range 1 + random.IntN(12) {
			value += nastyParts[random.IntN(len(nastyParts))] + string(rune(1+random.IntN(126)))
		}
		values = append(values, value)
	}
	out := map[string]string{}
	for i, v := range values {
		out[fmt.Sprintf("V%03d", i)] = v
	}
	for _, n := range oddNames {
		out[n] = " '$(touch " + pwned + ")' # \\" + n + "= "
	}
	return out
}

// The real docker gets each of them to each container, byte for byte.
func TestNastySecretsArriveByteForByte(t *testing.T) {
	onEngines(t, func(e *engine) {
		values := nastySecrets(e)
		values["BIG"] = strings.Repeat("x'\n", 33_000)
		values["BIG_FILE"] = values["BIG"]
		var asFiles []string
		for i, name := range slices.Sorted(maps.Keys(values)) {
			if strings.HasPrefix(name, "V") && i%2 == 0 || name == "BIG_FILE" {
				asFiles = append(asFiles, name)
			}
		}
		e.options = append(e.options, func(f *fleet.Fleet, _ *sshexec.Options) { f.AddSecret(slices.Collect(maps.Values(values))...) })
		r := e.role(func(s *approle.Spec) { s.AppPort, s.ReadinessDelay, s.Secrets = 0, time.Second, values })
		r.deploy("app:v1")
		e.wantHidden(e.run, values)
		a := e.accessory(func(s *accessory.Spec) { s.Secrets, s.AsFiles = values, asFiles })
		a.deploy()
		e.wantHidden(e.run, values)

		lines := strings.Split(e.s.SSH(e, `pid() { docker inspect --format '{{.State.Pid}}' "$1"; }
base64 -w0 "/proc/$(pid shop-web-v1)/environ"; echo
base64 -w0 "/proc/$(pid shop-db)/environ"; echo
tar -C "/proc/$(pid shop-db)/root/run/secrets" -cf - . | base64 -w0; echo
ls -d `+pwned+` 2>/dev/null || :`), "\n")
		if len(lines) != 3 {
			e.Fatalf("%d lines, and %q", len(lines), lines[min(3, len(lines)):])
		}
		wantValues(e, "the role", environment(e, lines[0]), values)
		onlyFiles := maps.Clone(values)
		maps.DeleteFunc(onlyFiles, func(name, _ string) bool { return !slices.Contains(asFiles, name) })
		wantValues(e, "the accessory's files", files(e, lines[2]), onlyFiles)
		variables := maps.Clone(values)
		for _, name := range asFiles {
			delete(variables, name)
			variables[name+"_FILE"] = "/run/secrets/" + name
		}
		wantValues(e, "the accessory", environment(e, lines[1]), variables)
		if _, err := os.Stat(pwned); !errors.Is(err, os.ErrNotExist) {
			e.Errorf("%s is here: %v", pwned, err)
		}
	})
}

// wantValues wants containers to have what was sent, and no more of such names.
func wantValues(t testing.TB, where string, got, want map[string]string) {
	t.Helper()
	for name, value := range want {
		if arrived, has := got[name]; !has || arrived != value {
			t.Errorf("%s: %s: %.200q arrived as %.200q (%t)", where, name, value, arrived, has)
		}
	}
	for name := range got {
		if _, sent := want[name]; !sent && (strings.HasPrefix(name, "V") || strings.HasPrefix(name, "BIG")) {
			t.Errorf("%s has %s, which is not for it", where, name)
		}
	}
}

// wantHidden wants none of the longer values in a run's log, as they are or as JSON and Go quote them.
func (e *engine) wantHidden(r *run, values map[string]string) {
	e.Helper()
	if len(r.remoteCalls(e.s.Address)) == 0 {
		e.Error("nothing is in the log")
	}
	for name, value := range values {
		if len(strings.TrimSpace(value)) < 16 {
			continue // "true", "one\ntwo": found by accident
		}
		coded, err := json.Marshal(value)
		if err != nil {
			e.Fatal(err)
		}
		for _, form := range []string{value, strings.Trim(string(coded), `"`), strings.Trim(strconv.Quote(value), `"`)} {
			if r.log.holds(form) {
				e.Errorf("the log holds %s: %.100q", name, form)
			}
		}
	}
}

func environment(t testing.TB, coded string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for pair := range strings.SplitSeq(string(decoded(t, coded)), "\x00") {
		name, value, _ := strings.Cut(pair, "=")
		out[name] = value
	}
	return out
}

// files are those of a tar archive.
func files(t testing.TB, coded string) map[string]string {
	t.Helper()
	out := map[string]string{}
	archive := tar.NewReader(bytes.NewReader(decoded(t, coded)))
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		if header.Typeflag == tar.TypeReg {
			content, err := io.ReadAll(archive)
			if err != nil {
				t.Fatal(err)
			}
			out[path.Clean(header.Name)] = string(content)
		}
	}
}

func decoded(t testing.TB, coded string) []byte {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(coded)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
