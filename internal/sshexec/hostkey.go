package sshexec

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
	xknownhosts "golang.org/x/crypto/ssh/knownhosts"
)

// Host key algorithms in the order in which they are asked for where nothing
// is known: as OpenSSH does.
var (
	hostKeyAlgorithms = []string{
		ssh.KeyAlgoED25519,
		ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521,
		ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256,
	}
	certAlgorithms = []string{
		ssh.CertAlgoED25519v01,
		ssh.CertAlgoECDSA256v01, ssh.CertAlgoECDSA384v01, ssh.CertAlgoECDSA521v01,
		ssh.CertAlgoRSASHA512v01, ssh.CertAlgoRSASHA256v01,
	}
)

// A hostKeyCheck decides on the host key of one handshake.
type hostKeyCheck struct {
	// algorithms to ask for, those of known keys first: a server has several
	// keys, and shows the first one that is asked for. The others follow, so
	// that a changed key is seen as what it is.
	algorithms []string
	check      func(address string, remote net.Addr, key ssh.PublicKey) error

	// What came of it:
	seen     ssh.PublicKey // the key shown, never a certificate
	accepted bool          // it was unknown, and taken
	err      error
}

func (h *hostKeyCheck) callback(address string, remote net.Addr, key ssh.PublicKey) error {
	h.seen = plainKey(key)
	h.err = h.check(address, remote, key)
	return h.err
}

// newHostKeyCheck prepares the check for t. remembered is the key that was
// taken before under PolicyAcceptNew, or nil.
func newHostKeyCheck(t *target, remembered ssh.PublicKey) (*hostKeyCheck, error) {
	if t.opts.HostKey != "" {
		p, err := parsePin(t.opts.HostKey)
		if err != nil {
			return nil, err
		}
		return pinCheck(t.server, p, "the pinned host key"), nil
	}
	if remembered != nil {
		return pinCheck(t.server, pin{key: remembered, fingerprint: ssh.FingerprintSHA256(remembered)}, "the key accepted before"), nil
	}
	k, err := loadKnownHosts(t.opts.KnownHosts)
	if err != nil {
		return nil, err
	}
	return k.newCheck(t), nil
}

// A pin is the one host key that counts, or its fingerprint.
type pin struct {
	key         ssh.PublicKey // nil for a mere fingerprint
	fingerprint string
}

// parsePin reads "ssh-ed25519 AAAA…" or "SHA256:…".
func parsePin(s string) (pin, error) {
	s = strings.TrimSpace(s)
	if sum, ok := strings.CutPrefix(s, "SHA256:"); ok {
		raw, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(sum, "="))
		if err != nil || len(raw) != 32 {
			return pin{}, fmt.Errorf("host key %q is no SHA256 fingerprint", s)
		}
		return pin{fingerprint: "SHA256:" + base64.RawStdEncoding.EncodeToString(raw)}, nil
	}
	key, _, _, rest, err := ssh.ParseAuthorizedKey([]byte(s))
	if err != nil || len(rest) > 0 {
		return pin{}, fmt.Errorf(`host key %q: write "ssh-ed25519 AAAA…" or "SHA256:…"`, s)
	}
	return pin{key: plainKey(key), fingerprint: ssh.FingerprintSHA256(plainKey(key))}, nil
}

func pinCheck(server string, p pin, source string) *hostKeyCheck {
	h := &hostKeyCheck{algorithms: hostKeyAlgorithms}
	if p.key != nil {
		h.algorithms = preferring(algorithmsOf(p.key.Type()))
	}
	h.check = func(_ string, _ net.Addr, key ssh.PublicKey) error {
		if ssh.FingerprintSHA256(key) == p.fingerprint {
			return nil
		}
		e := hostKeyError(server, key, source)
		e.Known = []string{p.fingerprint}
		if p.key != nil {
			e.Known[0] = p.key.Type() + " " + p.fingerprint
		}
		return e
	}
	return h
}

func (k *knownHosts) newCheck(t *target) *hostKeyCheck {
	h := &hostKeyCheck{algorithms: hostKeyAlgorithms}
	var known []string
	authority := false
	for _, key := range k.db.HostKeys(t.address()) {
		if key.Cert {
			authority = true // its type says nothing of the keys it signs
		} else {
			known = append(known, algorithmsOf(key.Type())...)
		}
	}
	h.algorithms = preferring(known)
	if authority {
		h.algorithms = slices.Concat(certAlgorithms, h.algorithms)
	}
	verify := k.db.HostKeyCallback()
	h.check = func(address string, remote net.Addr, key ssh.PublicKey) error {
		err := verify(address, remote, key)
		if err == nil {
			return nil
		}
		var certReason string
		if _, isCert := key.(*ssh.Certificate); isCert {
			// As in OpenSSH, the key under a certificate that does not count
			// may be known by itself.
			certReason = err.Error()
			if err = verify(address, remote, plainKey(key)); err == nil {
				return nil
			}
		}
		e := hostKeyError(t.server, key, strings.Join(k.sources, " or "))
		e.Reason = certReason
		var unknown *xknownhosts.KeyError
		var revoked *xknownhosts.RevokedError
		switch {
		case errors.As(err, &revoked):
			e.Reason, e.Source = "the key is revoked", k.place(revoked.Revoked)
		case !errors.As(err, &unknown):
			e.Reason = err.Error()
		case len(unknown.Want) == 0 && e.Reason == "" && t.opts.HostKeyPolicy == PolicyAcceptNew:
			if accepted := t.opts.AcceptedKey; accepted != "" && keyLine(plainKey(key)) != accepted {
				e.Known, e.Source = []string{accepted}, "the key accepted when the server was first seen"
				return e
			}
			h.accepted = true
			return nil
		case len(unknown.Want) > 0:
			var places []string
			for _, w := range unknown.Want {
				e.Known = append(e.Known, w.Key.Type()+" "+ssh.FingerprintSHA256(w.Key))
				places = append(places, k.place(w))
			}
			e.Source = strings.Join(places, ", ")
		}
		return e
	}
	return h
}

func hostKeyError(server string, key ssh.PublicKey, source string) *HostKeyError {
	key = plainKey(key)
	return &HostKeyError{
		Server: server, Offered: key.Type() + " " + ssh.FingerprintSHA256(key), OfferedLine: keyLine(key), Source: source,
	}
}

// plainKey returns the key under a certificate, and every other key as it is.
func plainKey(key ssh.PublicKey) ssh.PublicKey {
	if cert, ok := key.(*ssh.Certificate); ok {
		return cert.Key
	}
	return key
}

// keyLine returns "ssh-ed25519 AAAA…".
func keyLine(key ssh.PublicKey) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
}

// algorithmsOf returns the signature algorithms of a key type.
func algorithmsOf(keyType string) []string {
	if keyType == ssh.KeyAlgoRSA {
		return []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}
	}
	return []string{keyType}
}

// preferring returns all algorithms, those given first.
func preferring(first []string) []string {
	var out []string
	for _, a := range slices.Concat(first, hostKeyAlgorithms) {
		if slices.Contains(hostKeyAlgorithms, a) && !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out
}
