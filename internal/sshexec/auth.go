package sshexec

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// defaultKeys are tried where nothing is given to log in with.
var defaultKeys = []string{"~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa"}

// An identity is a key to log in with, and how to name it in errors.
type identity struct {
	signer ssh.Signer
	source string
}

// identities are the keys for one log-in, in the order they are offered.
type identities struct {
	list    []identity
	skipped []string // what could not be used, and why
	close   func()   // ends the connection to the agent
}

// loadIdentities reads the keys of a target: the given one, those of the SSH
// configuration, the agent's; the default ones where nothing is given.
func loadIdentities(ctx context.Context, t *target) (*identities, error) {
	o := t.opts
	ids := &identities{close: func() {}}
	switch {
	case o.PrivateKey != "":
		s, err := parseKey([]byte(o.PrivateKey), o.Passphrase, "the private key")
		if err != nil {
			return nil, err
		}
		ids.add(s, "given")
	case o.PrivateKeyFile != "":
		s, err := readKey(o.PrivateKeyFile, o.Passphrase)
		if err != nil {
			return nil, err
		}
		ids.add(s, "file "+o.PrivateKeyFile)
	}
	nothingGiven := len(ids.list) == 0 && !o.Agent
	for _, f := range t.identityFiles {
		ids.tryFile(f, o.Passphrase)
	}
	if o.Agent || nothingGiven && os.Getenv("SSH_AUTH_SOCK") != "" {
		if err := ids.addAgent(ctx); err != nil {
			if o.Agent {
				return nil, err
			}
			ids.skipped = append(ids.skipped, err.Error())
		}
	}
	if nothingGiven && len(t.identityFiles) == 0 {
		for _, f := range defaultKeys {
			ids.tryFile(f, o.Passphrase)
		}
	}
	if o.Certificate != "" {
		if err := ids.addCertificate(o.Certificate); err != nil {
			ids.close()
			return nil, err
		}
	}
	if len(ids.list) == 0 {
		ids.close()
		s := "there is no key to log in with: give a private key or an agent"
		if len(ids.skipped) > 0 {
			s += " (" + strings.Join(ids.skipped, "; ") + ")"
		}
		return nil, errors.New(s)
	}
	return ids, nil
}

func (ids *identities) add(s ssh.Signer, source string) {
	ids.list = append(ids.list, identity{s, source})
}

// tryFile adds the key of a file that need not be there.
func (ids *identities) tryFile(path, passphrase string) {
	s, err := readKey(path, passphrase)
	switch {
	case err == nil:
		ids.add(s, "file "+path)
	case !errors.Is(err, fs.ErrNotExist):
		ids.skipped = append(ids.skipped, err.Error())
	}
}

func readKey(path, passphrase string) (ssh.Signer, error) {
	pem, err := os.ReadFile(expandHome(path))
	if err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	return parseKey(pem, passphrase, path)
}

func parseKey(pem []byte, passphrase, name string) (ssh.Signer, error) {
	s, err := ssh.ParsePrivateKey(pem)
	var missing *ssh.PassphraseMissingError
	switch {
	case err == nil:
		return s, nil
	case !errors.As(err, &missing):
		return nil, fmt.Errorf("%s is no private key that can be read: %w", name, err)
	case passphrase == "":
		return nil, fmt.Errorf("%s is encrypted: give its passphrase", name)
	}
	s, err = ssh.ParsePrivateKeyWithPassphrase(pem, []byte(passphrase))
	if errors.Is(err, x509.IncorrectPasswordError) {
		return nil, fmt.Errorf("the passphrase does not open %s: %w", name, err)
	}
	if err != nil {
		return nil, fmt.Errorf("%s is no private key that can be read: %w", name, err)
	}
	return s, nil
}

// addAgent adds the agent's keys. The connection to it stays open until close:
// it signs during the handshake.
func (ids *identities) addAgent(ctx context.Context) error {
	socket := os.Getenv("SSH_AUTH_SOCK")
	if socket == "" {
		return errors.New("the SSH agent is asked for, and SSH_AUTH_SOCK is not set")
	}
	var d net.Dialer
	nc, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return fmt.Errorf("SSH agent: %w", err)
	}
	// An agent that says nothing must not outlive ctx.
	stop := context.AfterFunc(ctx, func() { _ = nc.Close() })
	closeAll := func() { stop(); _ = nc.Close() }
	signers, err := agent.NewClient(nc).Signers()
	if err != nil {
		closeAll()
		return fmt.Errorf("SSH agent: %w", err)
	}
	ids.close = closeAll
	for _, s := range signers {
		ids.add(s, "agent")
	}
	if len(signers) == 0 {
		ids.skipped = append(ids.skipped, "the SSH agent holds no keys")
	}
	return nil
}

// addCertificate puts the certificate before the keys; its own key must be
// among them. text is its content or its path.
func (ids *identities) addCertificate(text string) error {
	content, name := []byte(text), "the certificate"
	if !strings.ContainsAny(strings.TrimSpace(text), " \n") {
		var err error
		name = text
		if content, err = os.ReadFile(expandHome(text)); err != nil {
			return fmt.Errorf("certificate: %w", err)
		}
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(content)
	if err != nil {
		return fmt.Errorf("%s is no SSH certificate: %w", name, err)
	}
	cert, ok := key.(*ssh.Certificate)
	if !ok {
		return fmt.Errorf("%s is a public key, and no SSH certificate", name)
	}
	for _, id := range ids.list {
		if string(id.signer.PublicKey().Marshal()) != string(cert.Key.Marshal()) {
			continue
		}
		s, err := ssh.NewCertSigner(cert, id.signer)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		ids.list = append([]identity{{s, "certificate " + cert.KeyId}}, ids.list...)
		return nil
	}
	return fmt.Errorf("%s is for the key %s, which is not among those given", name, ssh.FingerprintSHA256(cert.Key))
}

func (ids *identities) signers() []ssh.Signer {
	var out []ssh.Signer
	for _, id := range ids.list {
		out = append(out, id.signer)
	}
	return out
}

// names lists what is offered: "key SHA256:… (file ~/.ssh/id_ed25519)".
func (ids *identities) names() []string {
	var out []string
	for _, id := range ids.list {
		key := id.signer.PublicKey()
		if cert, ok := key.(*ssh.Certificate); ok {
			key = cert.Key
		}
		out = append(out, fmt.Sprintf("key %s (%s)", ssh.FingerprintSHA256(key), id.source))
	}
	return append(out, ids.skipped...)
}
