package sshexec_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

// sudoPassword is that of the users below; the hash is made of it.
const (
	sudoPassword     = `pa ss'w"o$rd`
	sudoPasswordHash = "$6$kamaltest$/KMmBSTToVnLTGO6bL9nTBMxBFA5XuYQxq3YO4eu5/n0qlSzMly4sWHU9j56X5sG/nD9ybwBXEOGcQ8ewKW0s0"
)

// sudoUsers are the users that log in, and how sudo treats them. kt-docker is
// in group docker.
var sudoUsers = []struct{ name, sudoers string }{
	{"kt-free", "kt-free ALL=(ALL:ALL) NOPASSWD: ALL"},
	{"kt-asked", "kt-asked ALL=(ALL:ALL) ALL"},
	{"kt-always", "kt-always ALL=(ALL:ALL) ALL\nDefaults:kt-always timestamp_timeout=0"},
	{"kt-docker", ""},
	{"kt-nobody", ""},
}

// startSudoServer starts an sshd for the users above, with the real sudo. The
// users exist in its mount namespace only, where /etc is a copy.
func startSudoServer(t *testing.T) (s *sshd, home func(user string) string) {
	t.Helper()
	s = newSSHD(t, "127.0.0.1")
	for _, tool := range []string{"sudo", "unshare"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("SKIPPED: no %s on this machine", tool)
		}
	}
	if out, err := exec.Command("unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt").CombinedOutput(); err != nil {
		t.Skipf("SKIPPED: no mount namespaces here: %s", out)
	}
	home = func(user string) string { return filepath.Join(s.dir, "home", user) }
	etc := filepath.Join(s.dir, "etc")
	command(t, "cp", "-a", "/etc", etc)
	add := func(name, text string) {
		t.Helper()
		f, err := os.OpenFile(filepath.Join(etc, name), os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
	}
	var groups []string // without docker, which is made anew
	for line := range strings.Lines(readFile(t, "/etc/group")) {
		if !strings.HasPrefix(line, "docker:") {
			groups = append(groups, line)
		}
	}
	groups = append(groups, "docker:x:59000:kt-docker\n")
	var sudoers strings.Builder
	for i, u := range sudoUsers {
		id := 59001 + i
		add("passwd", fmt.Sprintf("%s:x:%d:%d::%s:/bin/sh\n", u.name, id, id, home(u.name)))
		add("shadow", fmt.Sprintf("%s:%s:19000:0:99999:7:::\n", u.name, sudoPasswordHash))
		groups = append(groups, fmt.Sprintf("%s:x:%d:\n", u.name, id))
		sudoers.WriteString(u.sudoers + "\n")
		if err := os.MkdirAll(home(u.name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(home(u.name), id, id); err != nil {
			t.Fatal(err)
		}
	}
	writeFile(t, filepath.Join(etc, "group"), strings.Join(groups, ""))
	path := writeFile(t, filepath.Join(etc, "sudoers.d", "kamal-test"), sudoers.String())
	if err := os.Chmod(path, 0o440); err != nil {
		t.Fatal(err)
	}
	s.start(t, exec.Command("unshare", append([]string{"-m", "sh", "-c",
		`mount --bind "$0" /etc && mkdir -p /run/sudo && mount -t tmpfs tmpfs /run/sudo && exec "$@"`, etc}, s.command...)...))
	return s, home
}

func TestUsersThatAreNotRoot(t *testing.T) {
	t.Parallel()
	s, home := startSudoServer(t)
	for _, tt := range []struct {
		user, password string
		uid            string // "" if sudo must fail
	}{
		{"kt-free", "", "0"},
		{"kt-free", "needless", "0"},
		{"kt-asked", sudoPassword, "0"},
		{"kt-asked", "", ""},
		{"kt-asked", "wrong", ""},
		{"kt-always", sudoPassword, "0"},
		{"kt-docker", "", "59004"},
		{"kt-docker", "wrong", "59004"},
		{"kt-nobody", "", ""},
		{"kt-nobody", sudoPassword, ""},
	} {
		t.Run(tt.user+"/"+tt.password, func(t *testing.T) {
			o := s.options(t)
			o.User, o.SudoPassword = tt.user, tt.password
			c := newPool(t, o, nil).Client(s.addr)
			r, err := c.Run(timeout(t), steps(
				"id -u; pwd; echo $HOME; echo $KAMAL_UID:$KAMAL_GID $#",
				"exit 3"))
			if tt.uid == "" {
				var sudo *sshexec.SudoError
				if !errors.As(err, &sudo) || sudo.User != tt.user || sudo.Stderr == "" {
					t.Errorf("error: %v", err)
				}
				t.Log(err)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var own int
			for i, u := range sudoUsers {
				if u.name == tt.user {
					own = 59001 + i
				}
			}
			want := fmt.Sprintf("%s\n%s\n%s\n%d:%d 0", tt.uid, home(tt.user), home(tt.user), own, own)
			if got := r.Out(0); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
			if r.Steps[1].ExitCode != 3 || len(r.Steps[0].Stderr) > 0 {
				t.Errorf("%+v", r.Steps)
			}
			// Nothing of it stands in an argument list or an environment.
			r = mustRun(t, c, steps("cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'; :"))
			if tt.password != "" && strings.Contains(string(r.Steps[0].Stdout), tt.password) {
				t.Error("the password is visible to others")
			}
			if got := c.Stats(); got.Handshakes != 1 || got.Calls != 2 {
				t.Errorf("%+v", got)
			}
		})
	}
	t.Run("cancel", func(t *testing.T) {
		for user, password := range map[string]string{"kt-free": "", "kt-asked": sudoPassword, "kt-always": sudoPassword, "kt-docker": ""} {
			o := s.options(t)
			o.User, o.SudoPassword = user, password
			c := newPool(t, o, nil).Client(s.addr)
			ctx, cancel := contextWithCancel(t)
			pid := filepath.Join(home(user), "pid")
			go func() {
				waitFor(t, func() bool { b, _ := os.ReadFile(pid); return len(b) > 1 })
				cancel()
			}()
			_, err := c.Run(ctx, steps("sh -c 'echo $$ >pid; exec sleep 100'; true"))
			var interrupted *sshexec.InterruptedError
			if !errors.As(err, &interrupted) {
				t.Errorf("%s: %v", user, err)
			}
			start := time.Now()
			proc := "/proc/" + strings.TrimSpace(readFile(t, pid))
			waitFor(t, func() bool { _, err := os.Stat(proc); return err != nil })
			if _, err := os.Stat(proc); err == nil {
				t.Errorf("%s: the step lives on", user)
			}
			t.Logf("%s: gone after %s", user, time.Since(start))
		}
	})
}
