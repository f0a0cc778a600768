package secret

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/docker/cli/pkg/kvfile"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec/sshtest"
)

// Values that a shell, an env file, a terminal or a printf would make something else of.
var nastyValues = []string{
	"", " ", "\t", "\n", "\r", "\r\n", "value\n", "value\n\n", "\nvalue", " value ", "one\ntwo", "one\r\ntwo\r\n", "cr at the end\r",
	"-", "-n", "-e \\n", "--", "=", "==", "=value", "#", "# comment", "value # no comment", "~", "~/x", "a:~/b", "*", "?", "[a-z]*", "!", "!!",
	"'", "''", `"`, `""`, "`", "`touch /tmp/pwned`", "$", "$$", "$HOME", "${HOME}", "$(touch /tmp/pwned)", "'$(touch /tmp/pwned)'", `'"'"'`, `'\''`,
	`\`, `\\`, `\n`, `\'`, "end\\", "end'", "a\\\nb", "<<EOF\nx\nEOF\n", "E\nEOF\n", ";", "& true", "| cat", "> /tmp/pwned", ")\n}\nexit 1\n",
	"%s", "%n%d%%", `\036`, "\x1e", "\x01\x02\x1b\x7f", "\x1b[31mred\x1b[0m", "\x1b]0;title\a", "\a\b\v\f", "\u0085\u2028\u2029", "\ufeffbom",
	"pässwörd", "☃", "👩\u200d🚀", "日本語", "\u202eright to left", "\ufffd", "\U0010ffff", strings.Repeat("x", 100_000), strings.Repeat("é'\n", 9_000),
	"-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA==\n-----END PRIVATE KEY-----\n",
}

// Names that a shell, docker or an env file means something by, besides those without any meaning.
var nastyNames = []string{
	"A", "a", "A1", "Ab_c", "_", "_A", "foo.bar", "X-Y", "1A", "9", "é", "a/b", "a:b", "a'b", `a"b`, "a$b", "a\\b", "-e", "--env", "-", "*", "%s", "$(id)",
	"PATH", "HOME", "PWD", "OLDPWD", "SHELL", "USER", "LOGNAME", "HOSTNAME", "TERM", "LANG", "LC_ALL", "TZ", "IFS", "PS1", "PS4", "ENV", "CDPATH", "TMPDIR",
	"UID", "EUID", "PPID", "GROUPS", "DIRSTACK", "OPTIND", "OPTARG", "OPTERR", "RANDOM", "SRANDOM", "LINENO", "SECONDS", "EPOCHSECONDS", "EPOCHREALTIME",
	"SHLVL", "SHELLOPTS", "BASHOPTS", "BASH_ENV", "BASH_VERSINFO", "FUNCNAME", "PIPESTATUS", "HISTCMD", "HISTFILE", "REPLY", "MAPFILE", "COPROC", "COMP_WORDS",
	"GLOBIGNORE", "POSIXLY_CORRECT", "MAIL", "MAILCHECK", "TMOUT", "FUNCNEST", "COLUMNS", "LINES", "OSTYPE", "LD_PRELOAD", "GOMAXPROCS", "GODEBUG", "HTTP_PROXY",
	"https_proxy", "DOCKER_HOST", "DOCKER_CONFIG", "DOCKER_API_VERSION", "XDG_CONFIG_HOME", "SSH_AUTH_SOCK", "KAMAL_UID", "SECRET_FILE", "REGISTRY_LOGIN",
}

// Names that no line of an env file can say.
var nastyNoNames = []string{
	"", "A=B", "A B", "A\tB", "A\n", "A\x00", "#A", " A", "\vA", "\u00a0A", "\u2003A", "\ufeffA", "A\xff",
}

// dockerStub shows what `docker run` would see: its environment on stdout, the
// env file on stderr. $$ is the process that the caller's shell has started,
// and /proc has what it was started with.
const dockerStub = `#!/bin/sh
/bin/cat /proc/$$/environ
case " $* " in *" --env-file /dev/stdin "*) /bin/cat >&2;; esac
`

// TestNastySecretsArrive sends all of them at once.
func TestNastySecretsArrive(t *testing.T) {
	set := Set{}
	for i, v := range nastyValues {
		set[fmt.Sprintf("V%d", i)] = v
	}
	for i, n := range nastyNames {
		set[n] = nastyValues[i%len(nastyValues)]
		if !plain(n) {
			set[n] = "' value # of \\" + n + "= "
		}
	}
	if err := set.Check(); err != nil {
		t.Fatal(err)
	}
	wantArrive(t, servers(t), set)
	for _, n := range nastyNoNames {
		if err := (Set{n: "value"}).Check(); err == nil || !strings.Contains(err.Error(), "is no name") {
			t.Errorf("%q as a name: %v", n, err)
		}
	}
}

// FuzzSecretsArrive looks for secrets that pass Check and don't arrive. Run it
// with -fuzzminimizetime 1x: the server's goroutines make no two runs alike.
func FuzzSecretsArrive(f *testing.F) {
	f.Add("PASSWORD", "p$w'\"\\\n\tü-\x1b\r\n", "foo.bar", " # '$(id)'")
	f.Add("A", "\n\n", "DOCKER_HOST", "tcp://192.0.2.1")
	run := servers(f)
	f.Fuzz(func(t *testing.T, name1, value1, name2, value2 string) {
		// Most random bytes are refused for no interesting reason.
		mend := strings.NewReplacer("\x00", "")
		set := Set{name1: mend.Replace(strings.ToValidUTF8(value1, "?")), name2: mend.Replace(strings.ToValidUTF8(value2, "?"))}
		err := set.Check()
		if err == nil {
			wantArrive(t, run, set)
			return
		}
		for _, v := range set {
			if len(v) > 8 && strings.Contains(err.Error(), v) && !strings.Contains(fmt.Sprintf("%q %q", name1, name2), v) {
				t.Errorf("the text holds a value: %v", err)
			}
		}
	})
}

// wantArrive sends secrets through the transport to servers, and reads what
// arrives with docker's own parser.
func wantArrive(t *testing.T, run map[string]*sshexec.Client, set Set) {
	t.Helper()
	argv := []string{"docker", "run"}
	for _, n := range set.EnvNames() {
		argv = append(argv, "--env", n)
	}
	call := sshexec.Call{Title: "run", Vars: set.Vars(), Steps: []sshexec.Step{{Title: "run", Script: set.RunScript(append(argv, "image"))}}}
	for i := range call.Vars {
		call.Vars[i].Secret = false // registered for good, they would add up over millions of runs
	}
	for shell, client := range run {
		res, err := client.Run(t.Context(), call)
		if err == nil {
			err = res.Err()
		}
		if err != nil {
			t.Fatalf("%s: %v", shell, err)
		}
		got, err := asDocker(set.EnvNames(), res.Steps[0].Stdout, res.Steps[0].Stderr)
		if err != nil {
			t.Errorf("%s: %v", shell, err)
		}
		for n := range set {
			if v, has := got[n]; !has || v != set[n] {
				t.Errorf("%s: %q: %.200q arrived as %.200q (%t)", shell, n, set[n], v, has)
			}
		}
		if len(got) > len(set) {
			t.Errorf("%s: more arrived than was sent: %d variables", shell, len(got))
		}
	}
}

// servers are clients of servers with a docker of their own, by what /bin/sh is there.
func servers(t testing.TB) map[string]*sshexec.Client {
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "docker"), []byte(dockerStub), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	clients := map[string]*sshexec.Client{}
	for _, sh := range []string{"/bin/sh", "bash --posix", "busybox sh"} {
		if _, err := exec.LookPath(strings.Fields(sh)[0]); err != nil {
			continue
		}
		srv := sshtest.Start(t)
		srv.Break(sshtest.Faults{Sh: sh})
		pool := sshexec.NewPool(func(string) (sshexec.Options, error) {
			return sshexec.Options{PrivateKey: srv.Key, KnownHosts: srv.KnownHosts}, nil
		}, nil)
		t.Cleanup(func() { pool.Close() })
		clients[sh] = pool.Client(srv.Addr)
	}
	return clients
}

// asDocker is the environment that docker gives to the container: the variables
// that it is to take from its own, and those of the env file.
func asDocker(names []string, environ, file []byte) (map[string]string, error) {
	lines, err := kvfile.ParseFromReader(strings.NewReader(string(file)), os.LookupEnv)
	if err != nil {
		return nil, err
	}
	got := map[string]string{}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, "=")
		got[name] = value
	}
	for pair := range strings.SplitSeq(string(environ), "\x00") {
		if name, value, _ := strings.Cut(pair, "="); slices.Contains(names, name) {
			if _, twice := got[name]; twice {
				return nil, fmt.Errorf("%q came twice", name)
			}
			got[name] = value
		}
	}
	return got, nil
}
