package sshexec

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// maxHops bounds a chain of bastions, which an SSH configuration can make
// circular.
const maxHops = 5

// A target is a destination with everything decided: defaults and the SSH
// configuration are applied.
type target struct {
	server     string // as the user wrote it
	user, host string
	port       int
	opts       Options
	// identityFiles come from the SSH configuration; one that is missing is
	// no error.
	identityFiles []string
	sudoPassword  string
	bastion       *target
}

func resolve(server string, o Options) (*target, error) { return resolveHop(server, o, 0) }

func resolveHop(server string, o Options, hops int) (*target, error) {
	if hops > maxHops {
		return nil, fmt.Errorf("more than %d bastions: does the chain lead back to itself?", maxHops)
	}
	d, err := ParseDestination(server)
	if err != nil {
		return nil, err
	}
	if err := checkOptions(o); err != nil {
		return nil, err
	}
	t := &target{server: server, opts: o, sudoPassword: o.SudoPassword}
	conf := &hostConfig{}
	if o.Config != "" {
		if conf, err = readConfig(o.Config, d.Address); err != nil {
			return nil, err
		}
	}
	t.user = firstOf(d.User, o.User, conf.user, defaultUser)
	t.host = firstOf(conf.hostName, d.Address)
	t.port = firstOf(d.Port, o.Port, conf.port, defaultPort)
	for _, f := range conf.identityFiles {
		t.identityFiles = append(t.identityFiles, expandTokens(f, t.host, t.user))
	}
	if o.KnownHosts == "" && len(conf.knownHosts) > 0 {
		t.opts.KnownHosts = strings.Join(append(conf.knownHosts, systemKnownHosts), string(os.PathListSeparator))
	}
	switch {
	case o.Bastion != nil:
		b := o.Bastion.Options
		if t.bastion, err = resolveHop(o.Bastion.Destination, b, hops+1); err != nil {
			return nil, fmt.Errorf("bastion: %w", err)
		}
	case len(conf.proxyJump) > 0:
		if t.bastion, err = resolveJumps(conf.proxyJump, o, hops+1); err != nil {
			return nil, fmt.Errorf("ProxyJump in %s: %w", o.Config, err)
		}
	}
	return t, nil
}

// resolveJumps makes a chain of ProxyJump's list: the last one is next to the
// server. The hops log in with the keys of the server they lead to, and what
// the configuration says of them.
func resolveJumps(jumps []string, o Options, hops int) (*target, error) {
	o.User, o.Port, o.HostKey, o.SudoPassword, o.Bastion = "", 0, "", "", nil
	if n := len(jumps); n > 1 {
		// Where a list is given, it decides, and not what the configuration
		// of the hop itself says.
		before, err := resolveJumps(jumps[:n-1], o, hops+1)
		if err != nil {
			return nil, err
		}
		t, err := resolveHop(jumps[n-1], o, hops)
		if err != nil {
			return nil, err
		}
		t.bastion = before
		return t, nil
	}
	return resolveHop(jumps[0], o, hops)
}

func checkOptions(o Options) error {
	switch o.HostKeyPolicy {
	case "", PolicyStrict, PolicyAcceptNew:
	default:
		return fmt.Errorf("host key policy %q: it is %q or %q", o.HostKeyPolicy, PolicyStrict, PolicyAcceptNew)
	}
	if o.Port < 0 || o.Port > 65535 {
		return fmt.Errorf("port %d: it is 1 to 65535", o.Port)
	}
	if o.PrivateKey != "" && o.PrivateKeyFile != "" {
		return errors.New("a private key and the file of one are given: give one of them")
	}
	if strings.ContainsAny(o.SudoPassword, "\n\x00") {
		return errors.New("the sudo password has a newline or NUL, which cannot be given to sudo")
	}
	if o.HostKey != "" {
		if _, err := parsePin(o.HostKey); err != nil {
			return err
		}
	}
	return nil
}

func (t *target) address() string { return net.JoinHostPort(t.host, strconv.Itoa(t.port)) }

// key tells targets apart that need a connection of their own.
func (t *target) key() string {
	o := t.opts
	o.User, o.Port, o.Config, o.Bastion = "", 0, "", nil
	via := ""
	if t.bastion != nil {
		via = t.bastion.key()
	}
	// Marshalling these cannot fail. The sum keeps secrets out of map keys.
	b, _ := json.Marshal([]any{t.user, strings.ToLower(t.host), t.port, o, t.identityFiles, via})
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// addOptionSecrets registers what the options hold of secrets.
func (p *Pool) addOptionSecrets(t *target) {
	for ; t != nil; t = t.bastion {
		p.AddSecret(t.opts.PrivateKey, t.opts.Passphrase, t.opts.SudoPassword)
	}
}

func firstOf[T comparable](values ...T) T {
	var zero T
	for _, v := range values {
		if v != zero {
			return v
		}
	}
	return zero
}

// expandHome replaces a leading ~.
func expandHome(path string) string {
	if path != "~" && !strings.HasPrefix(path, "~/") {
		return path
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return path
	}
	return filepath.Join(home, path[1:])
}
