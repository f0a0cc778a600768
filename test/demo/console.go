package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/go-version"

	"github.com/kamal-terraform/terraform-provider-kamal/test/testbed"
)

const (
	module = "github.com/kamal-terraform/terraform-provider-kamal"
	// mirrorVersion is the provider's version in the mirror. A pre-release would
	// have to be asked for by name, and 0.0.0 stands for no version.
	mirrorVersion = "0.0.1"
)

// oldest is the oldest version of either CLI that has write-only arguments.
var oldest = version.Must(version.NewVersion("1.11.0"))

// A cli is the program that applies.
type cli struct {
	path, title string
	registry    string // host of the provider's address where the configuration names none
}

// findCLI takes tofu, else terraform, from the PATH, else builds OpenTofu.
func findCLI(ctx context.Context) (cli, error) {
	for _, name := range []string{"tofu", "terraform"} {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		c, v, err := ask(ctx, path)
		if err != nil {
			return cli{}, err
		}
		if v.LessThan(oldest) {
			note("%s is older than %s: not used", c.title, oldest)
			continue
		}
		return c, nil
	}
	note("neither tofu nor terraform on the PATH: OpenTofu is built, once, which takes minutes")
	build := exec.CommandContext(ctx, "tools/build.sh", "tofu")
	build.Stderr = os.Stderr
	out, err := build.Output()
	if err != nil {
		return cli{}, fmt.Errorf("tools/build.sh tofu: %w", err)
	}
	c, _, err := ask(ctx, strings.TrimSpace(string(out)))
	return c, err
}

var versionLine = regexp.MustCompile(`(?m)^(OpenTofu|Terraform) v(\S+)$`)

func ask(ctx context.Context, path string) (cli, *version.Version, error) {
	command := exec.CommandContext(ctx, path, "version")
	command.Env = append(os.Environ(), "CHECKPOINT_DISABLE=1", "TF_CLI_CONFIG_FILE="+os.DevNull)
	out, err := command.Output()
	if err != nil {
		return cli{}, nil, fmt.Errorf("%s version: %w", path, err)
	}
	m := versionLine.FindStringSubmatch(string(out))
	if m == nil {
		return cli{}, nil, fmt.Errorf("%s version: no version in %q", path, out)
	}
	v, err := version.NewVersion(m[2])
	if err != nil {
		return cli{}, nil, fmt.Errorf("%s version: %w", path, err)
	}
	c := cli{path: path, title: m[1] + " " + m[2], registry: "registry.terraform.io"}
	if m[1] == "OpenTofu" {
		c.registry = "registry.opentofu.org"
	}
	return c, v, nil
}

// A console is a directory with the example's configuration, and a CLI in it.
type console struct {
	cli cli
	dir string
	env []string
}

// install builds the provider into a filesystem mirror below dir, as a user
// without the public registry has it, and copies the example beside it.
func install(ctx context.Context, cli cli, dir string) (*console, error) {
	mirror := filepath.Join(dir, "mirror")
	platform := runtime.GOOS + "_" + runtime.GOARCH
	program := filepath.Join(mirror, cli.registry, "kamal-terraform", "kamal", mirrorVersion, platform, "terraform-provider-kamal_v"+mirrorVersion)
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w -X main.version="+mirrorVersion, "-o", program, module)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("building the provider: %w\n%s", err, out)
	}
	note("%s", program)

	c := &console{cli: cli, dir: filepath.Join(dir, "config")}
	text := fmt.Sprintf(`provider_installation {
  filesystem_mirror {
    path    = %q
    include = ["kamal-terraform/kamal"]
  }
  direct {
    exclude = ["kamal-terraform/kamal"]
  }
}
`, mirror)
	if err := os.WriteFile(c.rcFile(), []byte(text), 0o600); err != nil {
		return nil, err
	}
	if err := os.CopyFS(c.dir, os.DirFS("examples/demo")); err != nil {
		return nil, err
	}
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "TF_") { // the user's own set-up must not change the demo
			c.env = append(c.env, e)
		}
	}
	c.env = append(c.env, "TF_CLI_CONFIG_FILE="+c.rcFile(), "CHECKPOINT_DISABLE=1")
	return c, nil
}

// configure writes the values that stay the same.
func (c *console) configure(bed *testbed.Bed, servers []*testbed.Server) error {
	var addresses []string
	for _, s := range servers {
		addresses = append(addresses, fmt.Sprintf("%q", s.Address))
	}
	text := fmt.Sprintf(`servers              = [%s]
ssh_private_key_file = %q
ssh_known_hosts      = %q
registry             = %q
registry_username    = %q
proxy_image          = %q
`, strings.Join(addresses, ", "), bed.KeyFile, bed.KnownHostsFile, bed.Registry.Address, bed.Registry.Username, bed.Image("basecamp/kamal-proxy"))
	c.env = append(c.env, "TF_VAR_registry_password="+bed.Registry.Password)
	note("examples/demo is copied to %s, with this terraform.tfvars:", c.dir)
	for line := range strings.Lines(text) {
		note("  %s", strings.TrimSuffix(line, "\n"))
	}
	return errors.Join(
		os.WriteFile(filepath.Join(c.dir, "terraform.tfvars"), []byte(text), 0o600),
		os.WriteFile(c.envFile(), fmt.Appendf(nil, "export TF_CLI_CONFIG_FILE='%s' TF_VAR_registry_password='%s'\n", c.rcFile(), bed.Registry.Password), 0o600),
	)
}

// rcFile is the CLI's configuration; envFile is for whoever goes on by hand.
func (c *console) rcFile() string  { return filepath.Join(filepath.Dir(c.dir), "cli.rc") }
func (c *console) envFile() string { return filepath.Join(filepath.Dir(c.dir), "env") }

// run runs the CLI, shows what it does, and returns its exit code.
func (c *console) run(ctx context.Context, args ...string) (int, error) {
	var shown []string
	for _, a := range args {
		if strings.ContainsAny(a, `"[ `) {
			a = "'" + a + "'"
		}
		shown = append(shown, a)
	}
	fmt.Printf("\n   $ %s %s\n", filepath.Base(c.cli.path), strings.Join(shown, " "))
	command := exec.CommandContext(ctx, c.cli.path, args...)
	command.Dir, command.Env = c.dir, c.env
	// Ctrl-C reaches it once, through us: at a second one the CLI drops everything.
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) }
	command.WaitDelay = time.Minute
	out, in := io.Pipe()
	command.Stdout, command.Stderr = in, in
	done := make(chan struct{})
	go func() {
		defer close(done)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			fmt.Println("     " + lines.Text())
		}
		io.Copy(io.Discard, out) //nolint:errcheck // a line that was too long: the command must not block
	}()
	err := command.Run()
	in.Close()
	<-done
	if exit := (*exec.ExitError)(nil); ctx.Err() == nil && errors.As(err, &exit) {
		return exit.ExitCode(), nil
	}
	return 0, err
}

// must wants exit code 0.
func (c *console) must(ctx context.Context, args ...string) error {
	code, err := c.run(ctx, args...)
	if err == nil && code != 0 {
		err = fmt.Errorf("%s %s: exit code %d", c.cli.title, args[0], code)
	}
	return err
}

// planIsEmpty wants a plan with nothing to do; it is shown only if it has.
func (c *console) planIsEmpty(ctx context.Context, vars []string) error {
	args := append([]string{"plan", "-detailed-exitcode", "-input=false", "-no-color"}, vars...)
	command := exec.CommandContext(ctx, c.cli.path, args...)
	command.Dir, command.Env = c.dir, c.env
	var out bytes.Buffer
	command.Stdout, command.Stderr = &out, &out
	if err := command.Run(); err != nil {
		return fmt.Errorf("the plan after the apply is not empty: %w\n%s", err, &out)
	}
	note("and the plan is empty: nothing is left to do")
	return nil
}
