package acceptance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/go-version"
)

// commandTimeout bounds one command of the CLI.
const commandTimeout = 10 * time.Minute

// cli is the program under which the provider runs.
type cli struct {
	path    string
	name    string // "tofu" or "terraform"
	version *version.Version
}

func findCLI() (cli, error) {
	path := os.Getenv("KAMAL_TEST_CLI")
	if path == "" {
		for _, name := range []string{"tofu", "terraform"} {
			if found, err := exec.LookPath(name); err == nil {
				path = found
				break
			}
		}
	}
	if path == "" {
		return cli{}, errors.New("neither tofu nor terraform is on the PATH; KAMAL_TEST_CLI can name one, and tools/build.sh builds them")
	}
	command := exec.Command(path, "version")
	command.Env = append(os.Environ(), "CHECKPOINT_DISABLE=1", "TF_CLI_CONFIG_FILE="+os.DevNull)
	out, err := command.Output()
	if err != nil {
		return cli{}, fmt.Errorf("%s version: %w", path, err)
	}
	c, err := parseVersion(string(out))
	if err != nil {
		return cli{}, fmt.Errorf("%s version: %w", path, err)
	}
	if name := os.Getenv("KAMAL_TEST_CLI_NAME"); name != "" && name != c.name {
		return cli{}, fmt.Errorf("KAMAL_TEST_CLI_NAME is %q, but %s is %s", name, path, c.name)
	}
	c.path = path
	return c, nil
}

var versionLine = regexp.MustCompile(`(?m)^(OpenTofu|Terraform) v(\S+)$`)

// parseVersion reads what `tofu version` or `terraform version` prints.
func parseVersion(out string) (cli, error) {
	m := versionLine.FindStringSubmatch(out)
	if m == nil {
		return cli{}, fmt.Errorf("no version in %q", out)
	}
	v, err := version.NewVersion(m[2])
	if err != nil {
		return cli{}, err
	}
	return cli{name: map[string]string{"OpenTofu": "tofu", "Terraform": "terraform"}[m[1]], version: v}, nil
}

// A result is what a command of the CLI gave.
type result struct {
	command string // as typed
	output  string // stdout and stderr as they came, without colours
	stdout  string
	code    int
	log     string // file with the provider's log lines
	took    time.Duration
}

// command prepares the CLI with the workspace's environment and nothing of the
// user's: no rc file, no SSH agent, no variables.
func (w *workspace) command(ctx context.Context, log string, args ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, w.settings.cli.path, args...)
	command.Dir = w.Dir
	command.Env = []string{
		"PATH=" + os.Getenv("PATH"),
		"HOME=" + w.home,
		"TMPDIR=" + os.TempDir(),
		"TF_CLI_CONFIG_FILE=" + w.rcFile,
		"TF_DATA_DIR=" + w.dataDir,
		"TF_IN_AUTOMATION=1",
		"TF_INPUT=0",
		"CHECKPOINT_DISABLE=1",
		"TF_LOG_PROVIDER=DEBUG",
		"TF_LOG_PATH=" + log,
	}
	for name, value := range w.env {
		command.Env = append(command.Env, name+"="+value)
	}
	// A process group of its own: what is left of it can be ended by its id,
	// and an interrupt of the tests does not cut an apply.
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGKILL) }
	command.WaitDelay = 10 * time.Second
	return command
}

// run runs the CLI to its end. Any exit code is a result.
func (w *workspace) run(args ...string) result {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.t.Context()), commandTimeout)
	defer cancel()
	r := result{command: w.settings.cli.name + " " + strings.Join(args, " "), log: w.nextLog(args[0])}
	command := w.command(ctx, r.log, args...)
	var output lockedBuffer
	var stdout bytes.Buffer
	command.Stdout, command.Stderr = io.MultiWriter(&output, &stdout), &output
	begin := time.Now()
	err := command.Run()
	r.took = time.Since(begin)
	r.output, r.stdout, r.code = readable(output.String()), stdout.String(), command.ProcessState.ExitCode()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) || ctx.Err() != nil {
		w.t.Fatalf("%s: %v (after %s)\n%s", r.command, errors.Join(err, ctx.Err()), r.took, r.output)
	}
	// Beside the log, so that a search for secrets finds all that was said, however it was wrapped.
	w.write(r.log+".out", r.output+"\n"+unwrap(r.output))
	shown := r.output
	if args[0] == "show" {
		shown = fmt.Sprintf("(%d bytes)", len(r.output))
	}
	w.t.Logf("%s: exit %d after %.1f s\n%s", r.command, r.code, r.took.Seconds(), shown)
	return r
}
