// Command make makes a fixture of package upgrade: it applies the configuration
// that is in the fixture's directory, with the provider of any build, to a fresh
// server of the testbed, and writes down what is then in the state and on the
// server.
//
//	make -provider FILE -cli FILE NAME
package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/kamal-terraform/terraform-provider-kamal/test/testbed"
	"github.com/kamal-terraform/terraform-provider-kamal/test/upgrade"
)

//go:embed record.sh
var recorder string

// The addresses of a fixture: the defaults of its variables.
const (
	serverAddress   = "192.0.2.10"
	registryAddress = "192.0.2.20:5000"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "make:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	m := maker{root: "test/upgrade"}
	flag.StringVar(&m.provider, "provider", "", "the built provider, a file terraform-provider-kamal")
	flag.StringVar(&m.cli, "cli", "", "the program tofu or terraform")
	flag.Parse()
	if flag.NArg() != 1 || m.provider == "" || m.cli == "" {
		return errors.New("usage: make -provider FILE -cli FILE NAME, in the repository's directory")
	}
	m.name = flag.Arg(0)
	var err error
	if m.bed, err = testbed.Up(ctx, testbed.Options{}); err != nil {
		return err
	}
	name := "fixture-" + strings.ToLower(strings.ReplaceAll(m.name, ".", "-"))
	if m.server, err = m.bed.Start(ctx, name, testbed.Debian12); err != nil {
		return err
	}
	return errors.Join(m.make(ctx), m.bed.Remove(context.WithoutCancel(ctx), name))
}

type maker struct {
	name, root, provider, cli string
	bed                       *testbed.Bed
	server                    *testbed.Server
}

func (m *maker) dir() string { return filepath.Join(m.root, m.name) }

func (m *maker) make(ctx context.Context) error {
	install := "mkdir /var/lib/recorded && touch /var/lib/recorded/begin && cat > /usr/local/bin/docker <<'END'\n" + recorder +
		"END\nchmod 755 /usr/local/bin/docker && ln -s docker /usr/local/bin/systemctl"
	if _, err := m.server.Run(ctx, install); err != nil {
		return err
	}
	state, err := m.apply(ctx)
	if err != nil {
		return err
	}
	noted, err := m.server.Run(ctx, `for f in /var/lib/recorded/*.done; do base64 --wrap 0 "$f"; echo; done`)
	if err != nil {
		return err
	}
	listed, err := m.server.Run(ctx, listTree)
	if err != nil {
		return err
	}
	looked, err := m.server.Run(ctx, upgrade.Look)
	if err != nil {
		return err
	}
	kernel, err := m.server.Run(ctx, "uname -r")
	if err != nil {
		return err
	}
	facts := upgrade.Facts{Server: m.server.Address, Registry: m.bed.Registry.Address, HostKey: m.server.HostKey}
	if err := facts.Learn(looked); err != nil {
		return err
	}
	neutral := facts
	neutral.Server, neutral.Registry = serverAddress, registryAddress
	if state, err = facts.InState(state, neutral); err != nil {
		return err
	}
	text, err := m.serverScript(noted, listed, facts)
	if err != nil {
		return err
	}
	text = strings.NewReplacer(facts.Registry, neutral.Registry, facts.Server, neutral.Server).Replace(text)
	return m.write(strings.ReplaceAll(state, strconv.Quote(kernel), `"6.1.0-40-amd64"`), text, neutral)
}

// apply applies the configuration, first with before.tfvars if there is such a
// file, and returns the state.
func (m *maker) apply(ctx context.Context) (string, error) {
	work, err := os.MkdirTemp("", "kamal-fixture-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	if err := os.CopyFS(work, os.DirFS(m.dir())); err != nil {
		return "", err
	}
	provider, err := filepath.Abs(m.provider)
	if err != nil {
		return "", err
	}
	for name, text := range map[string]string{
		"provider.tf": fmt.Sprintf("provider \"kamal\" {\n  ssh        = { private_key_file = %q, known_hosts = %q }\n  registries = { %q = { username = %q, password = %q } }\n}\n",
			m.bed.KeyFile, m.bed.KnownHostsFile, m.bed.Registry.Address, m.bed.Registry.Username, m.bed.Registry.Password),
		"cli.rc": fmt.Sprintf("provider_installation {\n  dev_overrides { %q = %q }\n  direct {}\n}\n", upgrade.Source, filepath.Dir(provider)),
	} {
		if err := os.WriteFile(filepath.Join(work, name), []byte(text), 0o600); err != nil {
			return "", err
		}
	}
	runs := [][]string{{"apply", "-auto-approve"}, {"plan", "-detailed-exitcode"}}
	if _, err := os.Stat(filepath.Join(work, "before.tfvars")); err == nil {
		runs = append([][]string{{"apply", "-auto-approve", "-var-file=before.tfvars"}}, runs...)
	}
	for _, args := range runs {
		command := exec.CommandContext(ctx, m.cli, args...)
		command.Dir, command.Stdout, command.Stderr = work, os.Stderr, os.Stderr
		command.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + work, "TF_CLI_CONFIG_FILE=" + filepath.Join(work, "cli.rc"), "TF_INPUT=0", "CHECKPOINT_DISABLE=1",
			"TF_VAR_server=" + m.server.Address, "TF_VAR_registry=" + m.bed.Registry.Address}
		if err := command.Run(); err != nil {
			return "", fmt.Errorf("%s: %w", strings.Join(args, " "), err)
		}
	}
	state, err := os.ReadFile(filepath.Join(work, "terraform.tfstate"))
	return string(state), err
}

// serverScript is what was done to the server, as one script. Who and where
// made it stands in marks and audit logs, and concerns nobody.
func (m *maker) serverScript(noted, listed string, facts upgrade.Facts) (string, error) {
	files, err := tree(listed)
	if err != nil {
		return "", err
	}
	calls, err := parseCalls(noted)
	if err != nil {
		return "", err
	}
	alive := map[string]string{}
	for name, id := range facts.Containers {
		alive[id] = name
	}
	called, err := script(calls, alive)
	if err != nil {
		return "", err
	}
	host, err := os.Hostname()
	if err != nil {
		return "", err
	}
	head := "# What the build " + m.name + " did to a fresh server. Written by command make: not to be edited.\nset -e\n"
	return strings.ReplaceAll(head+treeFunctions+"\n"+files+"\n"+called, "@"+host, "@workstation"), nil
}

func (m *maker) write(state, script string, facts upgrade.Facts) error {
	text, err := json.MarshalIndent(facts, "", "  ")
	if err != nil {
		return err
	}
	for name, content := range map[string]string{"state.json": state, "server.sh": script, "facts.json": string(text) + "\n"} {
		if err := os.WriteFile(filepath.Join(m.dir(), name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}
