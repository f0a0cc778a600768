package sshexec

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/skeema/knownhosts"
	"golang.org/x/crypto/ssh"
	xknownhosts "golang.org/x/crypto/ssh/knownhosts"
)

const (
	userKnownHosts   = "~/.ssh/known_hosts"
	systemKnownHosts = "/etc/ssh/ssh_known_hosts"
)

// knownHosts are the keys on record.
type knownHosts struct {
	db      *knownhosts.HostKeyDB
	sources []string          // how to name what was read
	names   map[string]string // from the file that was parsed to its source
}

// loadKnownHosts reads what Options.KnownHosts says. A file that is missing
// has no keys; among files that were asked for one must be there.
func loadKnownHosts(setting string) (*knownHosts, error) {
	k := &knownHosts{names: map[string]string{}}
	texts := map[string][]byte{}
	if strings.ContainsAny(setting, " \n") {
		k.sources = []string{"the known_hosts given"}
		texts[k.sources[0]] = []byte(setting)
	} else {
		k.sources = []string{userKnownHosts, systemKnownHosts}
		if setting != "" {
			k.sources = filepath.SplitList(strings.TrimSpace(setting))
		}
		var missing error
		for _, path := range k.sources {
			b, err := os.ReadFile(expandHome(path))
			if err != nil {
				if !errors.Is(err, fs.ErrNotExist) {
					return nil, fmt.Errorf("known_hosts: %w", err)
				}
				missing = err
				continue
			}
			texts[path] = b
		}
		if setting != "" && len(texts) == 0 && missing != nil {
			return nil, fmt.Errorf("known_hosts: %w", missing)
		}
	}

	// The parser takes files only, and gives up at the first line it does not
	// understand, where OpenSSH passes over it: so it gets clean copies.
	dir, err := os.MkdirTemp("", "known_hosts-")
	if err != nil {
		return nil, fmt.Errorf("known_hosts: %w", err)
	}
	defer os.RemoveAll(dir)
	var files []string
	for i, source := range k.sources {
		text, ok := texts[source]
		if !ok {
			continue
		}
		file := filepath.Join(dir, fmt.Sprint(i))
		if err := os.WriteFile(file, understoodLines(text), 0o600); err != nil {
			return nil, fmt.Errorf("known_hosts: %w", err)
		}
		k.names[file] = source
		files = append(files, file)
	}
	if k.db, err = knownhosts.NewDB(files...); err != nil {
		return nil, fmt.Errorf("known_hosts: %w", err)
	}
	return k, nil
}

// understoodLines blanks the lines that do not parse; line numbers stay.
func understoodLines(text []byte) []byte {
	lines := bytes.Split(text, []byte("\n"))
	for i, line := range lines {
		line = bytes.TrimSpace(line)
		if _, _, _, _, _, err := ssh.ParseKnownHosts(line); err != nil {
			line = nil
		}
		lines[i] = line
	}
	return bytes.Join(lines, []byte("\n"))
}

// place names where a key is on record: "~/.ssh/known_hosts:12".
func (k *knownHosts) place(key xknownhosts.KnownKey) string {
	return fmt.Sprintf("%s:%d", firstOf(k.names[key.Filename], key.Filename), key.Line)
}
