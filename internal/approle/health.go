package approle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/proxy"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

// A Probe is one answer of a health check.
type Probe struct {
	// Status is the HTTP status, 0 where there was no answer; then Err says why.
	Status   int
	Location string
	// Body is the start of the answer's body.
	Body string
	Err  error
}

func (p Probe) healthy() bool { return p.Status >= 200 && p.Status <= 299 }

func (p Probe) String() string {
	switch {
	case p.Status == 0 && p.Err != nil:
		return "no answer: " + p.Err.Error()
	case p.Location != "":
		return fmt.Sprintf("%d, redirects to %s", p.Status, p.Location)
	default:
		return fmt.Sprint(p.Status)
	}
}

// A dialer opens connections from a server.
type dialer interface {
	Dial(ctx context.Context, network, address string) (net.Conn, error)
}

// errNoForwarding says that the container cannot be asked from here.
var errNoForwarding = errors.New("sshd on the server does not forward connections")

// probe asks a new container for its health, through the SSH connection, until
// it answers as kamal-proxy wants it or ctx ends; it returns the last answer.
// It sends exactly what kamal-proxy will send (facts of kamal-proxy 0.9.2),
// so that what passes here passes there.
//
// The error is errNoForwarding where the server's sshd forbids it, ctx's error
// where the container did not get healthy in time, nil where it is healthy.
func probe(ctx context.Context, server dialer, containerIP, target string, h proxy.Health) (Probe, error) {
	id, port, err := net.SplitHostPort(target)
	if err != nil {
		return Probe{}, fmt.Errorf("target %q: %w", target, err)
	}
	if h.Port > 0 {
		port = strconv.Itoa(h.Port)
	}
	if h.Host == "" {
		h.Host = net.JoinHostPort(id, port)
	}
	var last Probe
	for {
		last = ask(ctx, server, net.JoinHostPort(containerIP, port), h, last)
		if last.healthy() {
			return last, nil
		}
		var forwarding *sshexec.ForwardingError
		if errors.As(last.Err, &forwarding) {
			return last, errNoForwarding
		}
		select {
		case <-ctx.Done():
			return last, context.Cause(ctx)
		case <-time.After(h.Interval):
		}
	}
}

// ask sends one health check. Where ctx ends before an answer, the answer
// before it tells more.
func ask(ctx context.Context, server dialer, address string, h proxy.Health, before Probe) Probe {
	host := h.Host
	// JoinPath, because kamal-proxy does it: it takes the path as escaped already.
	u := (&url.URL{Scheme: "http", Host: address}).JoinPath(h.Path)
	one, cancel := context.WithTimeout(ctx, h.Timeout)
	defer cancel()
	// Not DisableKeepAlives, which sends a header that kamal-proxy doesn't.
	transport := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return server.Dial(ctx, network, address)
	}}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, CheckRedirect: func(req *http.Request, via []*http.Request) error {
		// kamal-proxy follows redirects. One that leaves the container, or
		// wants https, can't succeed there either.
		if req.URL.Scheme != "http" || req.URL.Host != host && req.URL.Host != address || len(via) >= 10 {
			return http.ErrUseLastResponse
		}
		return nil
	}}
	req, err := http.NewRequestWithContext(one, http.MethodGet, u.String(), nil)
	if err != nil {
		return Probe{Err: err}
	}
	req.Host = host
	req.Header.Set("User-Agent", "kamal-proxy")
	resp, err := client.Do(req)
	if err != nil {
		if ctx.Err() != nil && (before.Status != 0 || before.Err != nil) {
			return before
		}
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			err = fmt.Errorf("no answer within %s", h.Timeout)
		}
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err
		}
		return Probe{Err: err}
	}
	defer func() { _ = resp.Body.Close() }()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 2048))
	return Probe{Status: resp.StatusCode, Location: resp.Header.Get("Location"), Body: string(body)}
}
