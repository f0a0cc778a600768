package testbed

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

func (s *Server) hostKeyFile() string {
	return filepath.Join(s.bed.Dir, "host-keys", s.Name)
}

// Destination is how to log in: "root@ADDRESS".
func (s *Server) Destination() string { return "root@" + s.Address }

// KnownHostsLine is the server's line in a known_hosts file.
func (s *Server) KnownHostsLine() string { return s.KnownHostsLineAt(s.Address, 22) }

// KnownHostsLineAt is the line under which the server is known when it is
// reached at another address, say through a Relay.
func (s *Server) KnownHostsLineAt(host string, port int) string {
	if port != 22 {
		host = fmt.Sprintf("[%s]:%d", host, port)
	}
	return host + " " + s.HostKey
}

// writeKnownHosts replaces the file. The caller holds the bed's lock.
func (b *Bed) writeKnownHosts(ctx context.Context) error {
	servers, err := b.servers(ctx)
	if err != nil {
		return err
	}
	var text strings.Builder
	for _, s := range servers {
		if s.HostKey != "" { // else it is still booting
			fmt.Fprintln(&text, s.KnownHostsLine())
			if s.Address6 != "" {
				fmt.Fprintln(&text, s.KnownHostsLineAt(s.Address6, 22))
			}
		}
	}
	return writeFile(b.KnownHostsFile, []byte(text.String()), 0o600)
}

func (b *Bed) refreshKnownHosts(ctx context.Context) error {
	unlock, err := b.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	return b.writeKnownHosts(ctx)
}

// keepHostKey writes down the key that the server has, if it had another meanwhile.
func (in *inside) keepHostKey(ctx context.Context) error {
	content, err := os.ReadFile(in.root + "/etc/ssh/ssh_host_ed25519_key.pub")
	if err != nil {
		return err
	}
	fields := strings.Fields(string(content))
	if len(fields) < 2 {
		return fmt.Errorf("host key of %s: %q", in.Name, content)
	}
	key := fields[0] + " " + fields[1]
	if known, err := os.ReadFile(in.hostKeyFile()); err == nil && string(known) == key {
		return nil
	}
	in.HostKey = key
	if err := writeFile(in.hostKeyFile(), []byte(key), 0o600); err != nil {
		return err
	}
	return in.bed.refreshKnownHosts(ctx)
}
