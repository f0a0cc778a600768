package proxy

import (
	"encoding/pem"
	"net/textproto"
	"slices"
	"strings"
	"time"
)

// A Route is how one service is reached through kamal-proxy: what visitors
// see is the route's own, what belongs to the container comes from its role.
type Route struct {
	// Service is the name at kamal-proxy and the start of the containers' names: SVC-ROLE[-DEST].
	Service string
	// App is Kamal's SVC[-DEST]; "" where the target is not an app's role.
	App     string
	AppPort int
	Health  Health
	// DeployTimeout and DrainTimeout go with each deploy; kamal-proxy doesn't store them.
	DeployTimeout, DrainTimeout time.Duration

	// Hosts is empty for any host.
	Hosts           []string
	PathPrefixes    []string
	StripPathPrefix bool
	TLS             *TLS
	CanonicalHost   string
	ForwardHeaders  bool
	ResponseTimeout time.Duration
	Buffering       Buffering
	// LogRequestHeaders and LogResponseHeaders are logged with each request.
	LogRequestHeaders, LogResponseHeaders []string
	Maintenance                           *Maintenance
}

// TLS is how a route speaks https: with certificates from Let's Encrypt, or with its own.
type TLS struct {
	// ACME: kamal-proxy gets the certificates itself; Staging: from Let's Encrypt's staging.
	ACME, Staging bool
	// Certificate is the chain in PEM; "" with ACME, and where it can't be read.
	Certificate string
	// PrivateKey is only in what is wanted, never in what is observed.
	PrivateKey string
	// Redirect sends http to https.
	Redirect bool
}

// Buffering says what kamal-proxy holds back until it is complete. Sizes are in bytes, 0 is no limit.
type Buffering struct {
	Requests, Responses             bool
	Memory                          int64
	MaxRequestBody, MaxResponseBody int64
}

// Maintenance means that visitors get a maintenance page with this message.
type Maintenance struct{ Message string }

// State is what kamal-proxy should do with the route's requests.
func (r Route) State() PauseState {
	if r.Maintenance != nil {
		return Stopped
	}
	return Running
}

// A field is a part of a Route that is compared and shown by its name.
type field struct {
	name  string
	equal func(a, b *Route) bool
	copy  func(dst, src *Route)
}

// fields are what an entry of kamal-proxy tells of a route. App and the
// timeouts are not among them: it doesn't store them.
var fields = []field{
	{"target.app_port", func(a, b *Route) bool { return a.AppPort == b.AppPort }, func(d, s *Route) { d.AppPort = s.AppPort }},
	{"target.healthcheck", func(a, b *Route) bool { return a.Health == b.Health }, func(d, s *Route) { d.Health = s.Health }},
	{"hosts", func(a, b *Route) bool { return slices.Equal(a.Hosts, b.Hosts) }, func(d, s *Route) { d.Hosts = s.Hosts }},
	{"path_prefixes", func(a, b *Route) bool { return slices.Equal(normalPaths(a), normalPaths(b)) }, func(d, s *Route) { d.PathPrefixes = s.PathPrefixes }},
	{"strip_path_prefix", func(a, b *Route) bool { return a.StripPathPrefix == b.StripPathPrefix }, func(d, s *Route) { d.StripPathPrefix = s.StripPathPrefix }},
	{"tls", func(a, b *Route) bool { return a.TLS.equal(b.TLS) }, func(d, s *Route) { d.TLS = s.TLS }},
	{"canonical_host", func(a, b *Route) bool { return a.CanonicalHost == b.CanonicalHost }, func(d, s *Route) { d.CanonicalHost = s.CanonicalHost }},
	{"forward_headers", func(a, b *Route) bool { return a.ForwardHeaders == b.ForwardHeaders }, func(d, s *Route) { d.ForwardHeaders = s.ForwardHeaders }},
	{"response_timeout", func(a, b *Route) bool { return a.ResponseTimeout == b.ResponseTimeout }, func(d, s *Route) { d.ResponseTimeout = s.ResponseTimeout }},
	{"buffering", func(a, b *Route) bool { return a.Buffering == b.Buffering }, func(d, s *Route) { d.Buffering = s.Buffering }},
	{"log_headers", func(a, b *Route) bool {
		return sameHeaders(a.LogRequestHeaders, b.LogRequestHeaders) && sameHeaders(a.LogResponseHeaders, b.LogResponseHeaders)
	}, func(d, s *Route) {
		d.LogRequestHeaders, d.LogResponseHeaders = s.LogRequestHeaders, s.LogResponseHeaders
	}},
	{"maintenance", func(a, b *Route) bool { return equalPointers(a.Maintenance, b.Maintenance) }, func(d, s *Route) { d.Maintenance = s.Maintenance }},
}

// Diff names what differs in meaning between two routes of the same service,
// by the names of the resource's attributes.
func Diff(a, b Route) []string {
	var names []string
	for _, f := range fields {
		if !f.equal(&a, &b) {
			names = append(names, f.name)
		}
	}
	return names
}

// Merge is one route for what several servers have: where any of them has what
// prior says, that; else what the first has.
func Merge(prior Route, observed []Route) Route {
	for _, f := range fields {
		same := func(o Route) bool { return f.equal(&prior, &o) }
		if len(observed) > 0 && !slices.ContainsFunc(observed, same) {
			f.copy(&prior, &observed[0])
		}
	}
	return prior
}

func (t *TLS) equal(u *TLS) bool {
	if t == nil || u == nil {
		return t == u
	}
	return t.ACME == u.ACME && t.Staging == u.Staging && t.Redirect == u.Redirect && SamePEM(t.Certificate, u.Certificate)
}

// SamePEM says whether two texts hold the same PEM blocks, whatever is around them.
func SamePEM(a, b string) bool {
	if a == b {
		return true
	}
	x, y := pemBlocks(a), pemBlocks(b)
	return len(x) > 0 && slices.Equal(x, y)
}

func pemBlocks(text string) []string {
	var out []string
	for rest := []byte(text); ; {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			return out
		}
		out = append(out, b.Type+"\n"+string(b.Bytes))
	}
}

// sameHeaders compares header names as kamal-proxy stores them.
func sameHeaders(a, b []string) bool {
	return slices.EqualFunc(a, b, func(x, y string) bool {
		return textproto.CanonicalMIMEHeaderKey(x) == textproto.CanonicalMIMEHeaderKey(y)
	})
}

func normalPaths(r *Route) []string {
	if len(r.PathPrefixes) == 0 {
		return []string{"/"}
	}
	out := make([]string, len(r.PathPrefixes))
	for i, p := range r.PathPrefixes {
		out[i] = NormalizePath(p)
	}
	return out
}

func equalPointers[T comparable](a, b *T) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}

// at names where a route is found, for people: "shop.example.com/api".
func at(host, path string) string {
	if host == "" {
		host = "any host"
		if path != "/" {
			host += " at "
		}
	}
	return host + strings.TrimSuffix(path, "/")
}
