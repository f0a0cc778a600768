package testbed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Status says what runs and how to reach it.
type Status struct {
	Name           string         `json:"name"`
	KeyFile        string         `json:"key_file"`
	KnownHostsFile string         `json:"known_hosts_file"`
	Users          []string       `json:"users"`
	Servers        []ServerStatus `json:"servers"`
	Registry       Registry       `json:"registry"`
	Images         []Image        `json:"images"`
}

// ServerStatus is one server of a Status.
type ServerStatus struct {
	Name    string `json:"name"`
	Kind    Kind   `json:"kind"`
	State   string `json:"state"` // as Docker calls it: running, exited, paused
	Address string `json:"address"`
	IPv6    string `json:"ipv6,omitempty"`
	HostKey string `json:"host_key"`
	SSH     string `json:"ssh"`            // a command line that works as typed
	Pool    string `json:"pool,omitempty"` // of a server that Warm lends: free, leased or kept
}

// ErrDown says that there is no such bed.
var ErrDown = errors.New("this testbed is not up")

// Find returns the bed as it is, without starting anything; ErrDown if it isn't up.
func Find(ctx context.Context, options Options) (*Bed, error) {
	b, err := newBed(options)
	if err != nil {
		return nil, err
	}
	subnet, err := docker(ctx, "network", "ls", "--quiet", "--filter", "label="+labelBed+"="+b.Name)
	if err != nil {
		return nil, err
	}
	password, err := os.ReadFile(filepath.Join(b.Dir, "registry", "password"))
	if subnet == "" || err != nil {
		return nil, fmt.Errorf("%s: %w", b.Name, ErrDown)
	}
	if err := b.ensureNetwork(ctx); err != nil {
		return nil, err
	}
	b.Registry = Registry{
		Address:  b.address(registryHost) + ":5000",
		Username: registryUser,
		Password: string(password),
		CAFile:   filepath.Join(b.Dir, "registry", "ca.crt"),
	}
	return b, nil
}

// Status looks at what runs now.
func (b *Bed) Status(ctx context.Context) (*Status, error) {
	servers, err := b.servers(ctx)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(servers, func(a, b *Server) int { return strings.Compare(a.Name, b.Name) })
	status := &Status{
		Name: b.Name, KeyFile: b.KeyFile, KnownHostsFile: b.KnownHostsFile, Users: []string{"root", User},
		Servers: []ServerStatus{}, Registry: b.Registry, Images: Images(),
	}
	for i := range status.Images {
		status.Images[i].Name = b.Image(status.Images[i].Name)
	}
	for _, s := range servers {
		pool, err := s.lent()
		if err != nil {
			return nil, err
		}
		status.Servers = append(status.Servers, ServerStatus{
			Name: s.Name, Kind: s.Kind, State: s.state, Address: s.Address, IPv6: s.Address6, HostKey: s.HostKey,
			SSH:  fmt.Sprintf("ssh -i %s -o IdentitiesOnly=yes -o UserKnownHostsFile=%s %s", b.KeyFile, b.KnownHostsFile, s.Destination()),
			Pool: pool,
		})
	}
	return status, nil
}

// Print writes the status for people.
func (s *Status) Print(w io.Writer) {
	fmt.Fprintf(w, "testbed %s\n\nservers (users: %s)\n", s.Name, strings.Join(s.Users, ", "))
	for _, server := range s.Servers {
		fmt.Fprintf(w, "  %-24s %-16s %-8s %-13s %s\n             %s\n", server.Name, server.Kind, server.State, server.Address, server.Pool, server.SSH)
	}
	fmt.Fprintf(w, "\nkey file     %s\nknown_hosts  %s\n", s.KeyFile, s.KnownHostsFile)
	fmt.Fprintf(w, "\nregistry\n  address   %s\n  user      %s\n  password  %s\n  CA file   %s\n\nimages\n",
		s.Registry.Address, s.Registry.Username, s.Registry.Password, s.Registry.CAFile)
	for _, image := range s.Images {
		fmt.Fprintf(w, "  %-46s %s\n", image.Name, image.What)
	}
}
