package sshexec

import (
	"fmt"
	"os"
	"os/user"
	"strconv"
	"strings"

	"github.com/kevinburke/ssh_config"
)

// A hostConfig is what an SSH client configuration says of one host.
type hostConfig struct {
	hostName, user string
	port           int
	identityFiles  []string
	knownHosts     []string
	proxyJump      []string
}

func readConfig(path, alias string) (*hostConfig, error) {
	f, err := os.Open(expandHome(path))
	if err != nil {
		return nil, fmt.Errorf("SSH configuration: %w", err)
	}
	defer f.Close()
	conf, err := ssh_config.Decode(f)
	if err != nil {
		return nil, fmt.Errorf("SSH configuration %s: %w", path, err)
	}
	var firstErr error
	get := func(key string) string {
		v, err := conf.Get(alias, key)
		if err != nil && firstErr == nil {
			firstErr = err
		}
		return strings.Trim(v, `"`)
	}
	h := &hostConfig{
		hostName: strings.ReplaceAll(get("HostName"), "%h", alias),
		user:     get("User"),
	}
	if p := get("Port"); p != "" {
		if h.port, err = strconv.Atoi(p); err != nil {
			return nil, fmt.Errorf("SSH configuration %s: Port %q", path, p)
		}
	}
	files, err := conf.GetAll(alias, "IdentityFile")
	if err != nil {
		firstErr = err
	}
	for _, f := range files {
		if f = strings.Trim(f, `"`); f != "none" {
			h.identityFiles = append(h.identityFiles, f)
		}
	}
	for _, f := range strings.Fields(get("UserKnownHostsFile")) {
		if f != "none" {
			h.knownHosts = append(h.knownHosts, f)
		}
	}
	if j := get("ProxyJump"); j != "" && j != "none" {
		for _, hop := range strings.Split(j, ",") {
			h.proxyJump = append(h.proxyJump, strings.TrimPrefix(strings.TrimSpace(hop), "ssh://"))
		}
	}
	if firstErr != nil {
		return nil, fmt.Errorf("SSH configuration %s: %w", path, firstErr)
	}
	return h, nil
}

// expandTokens replaces the tokens that ssh_config allows in IdentityFile.
func expandTokens(path, host, remoteUser string) string {
	if strings.Contains(path, "%") {
		home, _ := os.UserHomeDir()
		local := ""
		if u, err := user.Current(); err == nil {
			local = u.Username
		}
		path = strings.NewReplacer("%%", "%", "%d", home, "%h", host, "%r", remoteUser, "%u", local).Replace(path)
	}
	return expandHome(path)
}
