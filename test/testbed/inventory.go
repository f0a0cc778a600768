package testbed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
)

// inspected is the part of `docker inspect` that the bed reads.
type inspected struct {
	ID     string `json:"Id"`
	Config struct {
		Image  string
		Labels map[string]string
	}
	State struct{ Status string }
}

// servers are the bed's servers as they are now, standing and fresh.
func (b *Bed) servers(ctx context.Context) ([]*Server, error) {
	ids, err := docker(ctx, "ps", "--all", "--quiet", "--no-trunc", "--filter", "label="+labelBed+"="+b.Name, "--filter", "label="+labelServer)
	if err != nil || ids == "" {
		return nil, err
	}
	// Another process may remove one of its servers meanwhile: what is left is printed.
	text, err := docker(ctx, append([]string{"inspect"}, lines(ids)...)...)
	var failed *CommandError
	if err != nil && !errors.As(err, &failed) {
		return nil, err
	}
	var all []inspected
	if err := json.Unmarshal([]byte(text), &all); err != nil {
		return nil, fmt.Errorf("docker inspect: %w", err)
	}
	var servers []*Server
	for _, c := range all {
		s := &Server{
			Name:      c.Config.Labels[labelServer],
			Kind:      Kind(c.Config.Labels[labelKind]),
			Address:   c.Config.Labels[labelAddress],
			bed:       b,
			container: c.ID,
			image:     c.Config.Image,
			state:     c.State.Status,
		}
		s.Address6 = b.address6(s.Address)
		s.owner, _ = strconv.Atoi(c.Config.Labels[labelOwner])
		_, s.pooled = c.Config.Labels[labelPool]
		if key, err := os.ReadFile(s.hostKeyFile()); err == nil {
			s.HostKey = string(key)
		}
		servers = append(servers, s)
	}
	return servers, nil
}
