package kamal

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

// A shell runs steps as the transport does: with a real /bin/sh, in the SSH
// user's home, each in a subshell behind RunPrelude.
type shell struct {
	t    *testing.T
	home string
	env  []string
}

func newShell(t *testing.T) *shell {
	t.Helper()
	return &shell{t: t, home: t.TempDir()}
}

type answer struct {
	out, err string
	code     int
}

func (s *shell) try(step sshexec.Step) answer {
	ctx, cancel := context.WithTimeout(s.t.Context(), 30*time.Second)
	defer cancel()
	command := exec.CommandContext(ctx, "/bin/sh", "-s")
	command.Dir = s.home
	command.Env = append([]string{"HOME=" + s.home, "PATH=" + os.Getenv("PATH"), "LC_ALL=C"}, s.env...)
	command.Stdin = strings.NewReader(RunPrelude + "\n(\n:\n" + step.Script + "\n)\nexit $?\n")
	var out, stderr bytes.Buffer
	command.Stdout, command.Stderr = &out, &stderr
	err := command.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		s.t.Errorf("%s: %v", step.Title, err)
	}
	return answer{out.String(), stderr.String(), command.ProcessState.ExitCode()}
}

// must runs a step that has to succeed and returns its output.
func (s *shell) must(step sshexec.Step) string {
	s.t.Helper()
	a := s.try(step)
	if a.code != 0 || a.err != "" {
		s.t.Fatalf("%s: exit code %d\n%s", step.Title, a.code, a.err)
	}
	return a.out
}

// sh runs a script that has to succeed.
func (s *shell) sh(script string) string {
	s.t.Helper()
	return s.must(sshexec.Step{Title: script, Script: script})
}

func (s *shell) path(name string) string { return filepath.Join(s.home, name) }

func (s *shell) read(name string) string {
	s.t.Helper()
	b, err := os.ReadFile(s.path(name))
	if err != nil {
		s.t.Fatal(err)
	}
	return string(b)
}

func (s *shell) exists(name string) bool {
	_, err := os.Lstat(s.path(name))
	return err == nil
}

// age makes a file as old as if its run had given no sign of life since.
func (s *shell) age(name string, by time.Duration) {
	s.t.Helper()
	at := time.Now().Add(-by)
	if err := os.Chtimes(s.path(name), at, at); err != nil {
		s.t.Fatal(err)
	}
}

func (s *shell) write(name, content string) {
	s.t.Helper()
	if err := os.MkdirAll(filepath.Dir(s.path(name)), 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(s.path(name), []byte(content), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s *shell) owner(name string) (uid, gid uint32) {
	s.t.Helper()
	info, err := os.Lstat(s.path(name))
	if err != nil {
		s.t.Fatal(err)
	}
	stat := info.Sys().(*syscall.Stat_t)
	return stat.Uid, stat.Gid
}

func TestPutWritesAFileForItsOwnerOnly(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	const content = "A=1\n  B='$x' \\ \"\n\n"
	s.write("stdin", content)
	s.sh(`umask 022; put .kamal/apps/shop/env/roles/web.env < stdin`)
	if got := s.read(".kamal/apps/shop/env/roles/web.env"); got != content {
		t.Errorf("content %q", got)
	}
	info, err := os.Stat(s.path(".kamal/apps/shop/env/roles/web.env"))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %s", info.Mode())
	}
}

func TestPutReplacesAFileInOneStep(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.write(".kamal/f", "old\n")
	if err := os.Chmod(s.path(".kamal/f"), 0o666); err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(s.path(".kamal/f"))
	if err != nil {
		t.Fatal(err)
	}
	// Half of the content is there and the writer waits: the old file must still be whole.
	s.sh(`{ printf 'half '; i=0; while [ ! -f .kamal/f.new.* ] && [ $i -lt 100 ]; do i=$((i+1)); sleep 0.05; done; cat .kamal/f >seen; echo done; } | put .kamal/f`)
	if got := s.read("seen"); got != "old\n" {
		t.Errorf("while it was written: %q", got)
	}
	if got := s.read(".kamal/f"); got != "half done\n" {
		t.Errorf("after: %q", got)
	}
	after, err := os.Stat(s.path(".kamal/f"))
	if err != nil {
		t.Fatal(err)
	}
	if os.SameFile(before, after) || after.Mode().Perm() != 0o600 {
		t.Errorf("the file was written in place, or is open to others: %s", after.Mode())
	}
	if left, _ := filepath.Glob(s.path(".kamal/*.new.*")); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

func TestPutFailsWhereItCannotWrite(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.write(".kamal", "a file, not a directory")
	if a := s.try(sshexec.Step{Script: "echo x | put .kamal/dir/f"}); a.code == 0 {
		t.Error("put reported success")
	}
}

func TestFilesUnderKamalBelongToTheSSHUser(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("only root can give files away")
	}
	s := newShell(t)
	s.env = []string{"KAMAL_UID=1234", "KAMAL_GID=1235"}
	now := time.Now()
	s.sh("echo | put .kamal/apps/shop/env/roles/web.env")
	s.must(Lock("shop", "run1", "me", "v1", now))
	s.must(Audit("shop", now, []string{"me"}, "Booted app version v1"))
	s.must(WriteMark(Mark{Kind: "role", Name: "shop-web"}))
	for _, name := range strings.Fields(s.sh("find .kamal")) {
		if uid, gid := s.owner(name); uid != 1234 || gid != 1235 {
			t.Errorf("%s belongs to %d:%d", name, uid, gid)
		}
	}
	if uid, _ := s.owner("."); uid == 1234 {
		t.Error("the home directory itself was given away")
	}
}
