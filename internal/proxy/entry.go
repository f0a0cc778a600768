package proxy

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Entry is one service in kamal-proxy's state file, with the field names of
// kamal-proxy v0.9.2. Two options in it may be derived: an entry that doesn't
// serve "/" has the TLS and the TLS redirect of the entry that does, see Root.
type Entry struct {
	Name            string          `json:"name"`
	Options         Options         `json:"options"`
	TargetOptions   TargetOptions   `json:"target_options"`
	ActiveTargets   []string        `json:"active_targets"`
	ActiveReaders   []string        `json:"active_readers"`
	RolloutTargets  []string        `json:"rollout_targets"`
	RolloutReaders  []string        `json:"rollout_readers"`
	PauseController PauseController `json:"pause_controller"`
	// RolloutController is there while a part of the visitors is sent to the rollout targets.
	RolloutController *RolloutController `json:"rollout_controller"`

	// Unknown are the options that this provider doesn't know and that aren't
	// zero, by path: "options.tls_on_demand_url". A deploy would lose them.
	Unknown []string `json:"-"`
}

// Options are a service's options on the visitors' side.
type Options struct {
	// Hosts is [""] for any host.
	Hosts              []string `json:"hosts"`
	PathPrefixes       []string `json:"path_prefixes"`
	TLSEnabled         bool     `json:"tls_enabled"`
	TLSCertificatePath string   `json:"tls_certificate_path"`
	TLSPrivateKeyPath  string   `json:"tls_private_key_path"`
	TLSRedirect        bool     `json:"tls_redirect"`
	CanonicalHost      string   `json:"canonical_host"`
	// ACMEDirectory is "" for Let's Encrypt itself, or ACMEStaging.
	ACMEDirectory               string        `json:"acme_directory"`
	ACMECachePath               string        `json:"acme_cache_path"`
	ErrorPagePath               string        `json:"error_page_path"`
	StripPrefix                 bool          `json:"strip_prefix"`
	WriterAffinityTimeout       time.Duration `json:"writer_affinity_timeout"`
	ReadTargetsAcceptWebsockets bool          `json:"read_targets_accept_websockets"`
}

// TargetOptions are a service's options on the container's side.
type TargetOptions struct {
	HealthCheck         HealthCheckConfig `json:"health_check_config"`
	ResponseTimeout     time.Duration     `json:"response_timeout"`
	BufferRequests      bool              `json:"buffer_requests"`
	BufferResponses     bool              `json:"buffer_responses"`
	MaxMemoryBufferSize int64             `json:"max_memory_buffer_size"`
	MaxRequestBodySize  int64             `json:"max_request_body_size"`
	MaxResponseBodySize int64             `json:"max_response_body_size"`
	LogRequestHeaders   []string          `json:"log_request_headers"`
	LogResponseHeaders  []string          `json:"log_response_headers"`
	ForwardHeaders      bool              `json:"forward_headers"`
	ScopeCookiePaths    bool              `json:"scope_cookie_paths"`
}

// HealthCheckConfig is Health as the state file has it.
type HealthCheckConfig struct {
	Path     string        `json:"path"`
	Port     int           `json:"port"`
	Interval time.Duration `json:"interval"`
	Timeout  time.Duration `json:"timeout"`
	Host     string        `json:"host"`
}

// PauseController says whether a service lets requests through. It survives a deploy.
type PauseController struct {
	State       PauseState    `json:"state"`
	StopMessage string        `json:"stop_message"`
	FailAfter   time.Duration `json:"fail_after"`
}

// RolloutController says who is sent to the rollout targets.
type RolloutController struct {
	Percentage           int      `json:"percentage"`
	PercentageSplitPoint float64  `json:"percentage_split_point"`
	Allowlist            []string `json:"allowlist"`
}

// PauseState is kamal-proxy's number for what it does with requests.
type PauseState int

// The states of a service: requests are let through, held back, or answered with the stop message.
const (
	Running PauseState = iota
	Paused
	Stopped
)

func (s PauseState) String() string {
	switch s {
	case Running:
		return "running"
	case Paused:
		return "paused"
	case Stopped:
		return "stopped"
	}
	return fmt.Sprintf("state %d", int(s))
}

// ACMEStaging is the directory that --tls-staging selects, the only one beside
// the default that kamal-proxy's command line can set.
const ACMEStaging = "https://acme-staging-v02.api.letsencrypt.org/directory"

// Health is the check as it was deployed.
func (c HealthCheckConfig) Health() Health {
	return Health{Path: c.Path, Port: c.Port, Host: c.Host, Interval: c.Interval, Timeout: c.Timeout}
}

// Targets are the addresses "ID:PORT" of the containers that get the traffic.
func (e Entry) Targets() []string { return e.ActiveTargets }

// Root says whether the service serves "/". If not, its TLS and its redirect
// are those of the service that does: they can't be set and are no drift.
func (e Entry) Root() bool { return slices.Contains(e.Options.PathPrefixes, "/") }

// Find returns the entry of a service, nil if there is none.
func Find(entries []Entry, service string) *Entry {
	for i := range entries {
		if entries[i].Name == service {
			return &entries[i]
		}
	}
	return nil
}

// ParseState parses kamal-proxy's state file, as a fleet.Proxy holds it. "[]"
// and "null" are no services; an empty text is an error, as it is what a read
// in the middle of kamal-proxy's writing gives.
func ParseState(state string) ([]Entry, error) {
	if strings.TrimSpace(state) == "" {
		return nil, errors.New("kamal-proxy's state file is empty")
	}
	var list []json.RawMessage
	if err := json.Unmarshal([]byte(state), &list); err != nil {
		return nil, fmt.Errorf("kamal-proxy's state file: %w", err)
	}
	entries := make([]Entry, len(list))
	for i, raw := range list {
		if err := entries[i].parse(raw); err != nil {
			return nil, fmt.Errorf("kamal-proxy's state file: service %d: %w", i+1, err)
		}
	}
	return entries, nil
}

// legacy are the fields of an entry as kamal-proxy before 0.9 wrote them. A
// newer one reads them and leaves the file as it is until the next change.
type legacy struct {
	ActiveTarget  string   `json:"active_target"`
	RolloutTarget string   `json:"rollout_target"`
	Hosts         []string `json:"hosts"`
	PathPrefixes  []string `json:"path_prefixes"`
}

func (e *Entry) parse(raw json.RawMessage) error {
	var old legacy
	if err := json.Unmarshal(raw, e); err != nil {
		return err
	}
	if err := json.Unmarshal(raw, &old); err != nil {
		return err
	}
	if len(e.ActiveTargets) == 0 && old.ActiveTarget != "" {
		e.ActiveTargets = []string{old.ActiveTarget}
	}
	if len(e.RolloutTargets) == 0 && old.RolloutTarget != "" {
		e.RolloutTargets = []string{old.RolloutTarget}
	}
	if len(e.Options.Hosts) == 0 {
		e.Options.Hosts = old.Hosts
	}
	if len(e.Options.PathPrefixes) == 0 {
		e.Options.PathPrefixes = old.PathPrefixes
	}
	e.Options.normalize()

	unknown, err := unknownFields(raw, append(fieldsOf(Entry{}), fieldsOf(legacy{})...))
	if err != nil {
		return err
	}
	if d := e.Options.ACMEDirectory; d != "" && d != ACMEStaging {
		unknown = append(unknown, "options.acme_directory")
	}
	slices.Sort(unknown)
	e.Unknown = unknown
	return nil
}

// normalize writes the options as kamal-proxy stores them.
func (o *Options) normalize() {
	if len(o.Hosts) == 0 {
		o.Hosts = []string{""}
	}
	if len(o.PathPrefixes) == 0 {
		o.PathPrefixes = []string{"/"}
	}
	paths := make([]string, len(o.PathPrefixes))
	for i, p := range o.PathPrefixes {
		paths[i] = NormalizePath(p)
	}
	o.PathPrefixes = paths
}

// NormalizePath is a path prefix as kamal-proxy stores it: "/api/" is "/api".
func NormalizePath(prefix string) string { return "/" + strings.Trim(prefix, "/") }
