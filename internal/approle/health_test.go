package approle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/proxy"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

// A fakeServer stands for the SSH connection: whatever address is dialled, the
// app in this process answers.
type fakeServer struct {
	app *httptest.Server
	// dial, if not nil, says what becomes of the n-th dial, from 1.
	dial func(n int) error

	mu       sync.Mutex
	dialled  []string
	requests []*http.Request
}

// seen is what came so far.
func (f *fakeServer) seen() (dialled []string, requests []*http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.dialled), slices.Clone(f.requests)
}

func newFakeServer(t *testing.T, handler http.HandlerFunc) *fakeServer {
	t.Helper()
	f := &fakeServer{}
	f.app = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		f.requests = append(f.requests, r.Clone(context.WithoutCancel(r.Context())))
		f.mu.Unlock()
		handler(w, r)
	}))
	t.Cleanup(f.app.Close)
	return f
}

func (f *fakeServer) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	f.mu.Lock()
	f.dialled = append(f.dialled, network+" "+address)
	n := len(f.dialled)
	f.mu.Unlock()
	if f.dial != nil {
		if err := f.dial(n); err != nil {
			return nil, err
		}
	}
	var d net.Dialer
	return d.DialContext(ctx, "tcp", f.app.Listener.Addr().String())
}

const target = "0123456789ab:3000"

var quick = proxy.Health{Path: "/up", Interval: time.Millisecond, Timeout: 5 * time.Second}

// within probes with a bound, as awaitHealth does.
func (f *fakeServer) within(t *testing.T, bound time.Duration, h proxy.Health) (Probe, error) {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), bound, errNotHealthy)
	defer cancel()
	return probe(ctx, f, "172.18.0.2", target, h)
}

// The requests of kamal-proxy v0.9.2's health check, as its source makes them:
// http.DefaultClient, its User-Agent, the target or the given host as Host.
func TestProbeSendsWhatKamalProxySends(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		health              func(*proxy.Health)
		dialled, host, path string
	}{
		"plain":                  {func(*proxy.Health) {}, "172.18.0.2:3000", "0123456789ab:3000", "/up"},
		"another port":           {func(h *proxy.Health) { h.Port = 9000 }, "172.18.0.2:9000", "0123456789ab:9000", "/up"},
		"a shorter port":         {func(h *proxy.Health) { h.Port = 80 }, "172.18.0.2:80", "0123456789ab:80", "/up"},
		"a longer port":          {func(h *proxy.Health) { h.Port = 30000 }, "172.18.0.2:30000", "0123456789ab:30000", "/up"},
		"a host":                 {func(h *proxy.Health) { h.Host = "app.example.com" }, "172.18.0.2:3000", "app.example.com", "/up"},
		"a host and a port":      {func(h *proxy.Health) { h.Host, h.Port = "app.example.com", 9000 }, "172.18.0.2:9000", "app.example.com", "/up"},
		"a path that is escaped": {func(h *proxy.Health) { h.Path = "/health%20check/a//b/../c/" }, "172.18.0.2:3000", "0123456789ab:3000", "/health%20check/a/c/"},
		"a question mark":        {func(h *proxy.Health) { h.Path = "/up?x=1" }, "172.18.0.2:3000", "0123456789ab:3000", "/up%3Fx=1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFakeServer(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok") }) //nolint:errcheck // the probe tells
			h := quick
			tt.health(&h)
			if last, err := f.within(t, 10*time.Second, h); err != nil || last.Status != 200 || last.Body != "ok" {
				t.Fatalf("%v, %v", last, err)
			}
			dialled, requests := f.seen()
			if len(dialled) != 1 || dialled[0] != "tcp "+tt.dialled {
				t.Errorf("dialled %q, want %s", dialled, tt.dialled)
			}
			r := requests[0]
			if r.Method != http.MethodGet || r.Host != tt.host || r.RequestURI != tt.path {
				t.Errorf("%s %s of %s, want %s of %s", r.Method, r.RequestURI, r.Host, tt.path, tt.host)
			}
			// Exactly these: an app may choke on another one.
			if len(r.Header) != 2 || r.Header.Get("User-Agent") != "kamal-proxy" || r.Header.Get("Accept-Encoding") != "gzip" {
				t.Errorf("headers %v", r.Header)
			}
			if r.Proto != "HTTP/1.1" {
				t.Errorf("protocol %s", r.Proto)
			}
		})
	}
}

func TestProbeTakesAny2xx(t *testing.T) {
	t.Parallel()
	for _, status := range []int{200, 201, 204, 299} {
		f := newFakeServer(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
		if last, err := f.within(t, 10*time.Second, quick); err != nil || last.Status != status {
			t.Errorf("%d: %v, %v", status, last, err)
		}
	}
}

func TestProbeAsksUntilTheAppIsHealthy(t *testing.T) {
	t.Parallel()
	var f *fakeServer
	f = newFakeServer(t, func(w http.ResponseWriter, _ *http.Request) {
		if _, requests := f.seen(); len(requests) < 3 {
			http.Error(w, "booting", http.StatusServiceUnavailable)
		}
	})
	refused := fmt.Errorf("ssh: rejected: %w", syscall.ECONNREFUSED)
	f.dial = func(n int) error {
		if n <= 5 {
			return refused
		}
		return nil
	}
	last, err := f.within(t, 10*time.Second, quick)
	if dialled, _ := f.seen(); err != nil || last.Status != 200 || len(dialled) != 8 {
		t.Errorf("%v, %v, after %d dials", last, err, len(dialled))
	}
}

func TestProbeGivesUpWithTheLastAnswer(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		handler http.HandlerFunc
		dial    func(int) error
		health  func(*proxy.Health)
		want    string
	}{
		"unhealthy": {handler: func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "database is down", 503) }, want: "503 / database is down\n"},
		"refused":   {dial: func(int) error { return syscall.ECONNREFUSED }, want: "no answer: connection refused / "},
		"no answer in time": {handler: func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
			health: func(h *proxy.Health) { h.Timeout = 20 * time.Millisecond }, want: "no answer: no answer within 20ms / "},
		"hangs after an answer": {handler: func() http.HandlerFunc {
			var once sync.Once
			return func(w http.ResponseWriter, r *http.Request) {
				first := false
				once.Do(func() { first = true })
				if first {
					http.Error(w, "not yet", 503)
					return
				}
				<-r.Context().Done()
			}
		}(), want: "503 / not yet\n"},
		"cut off": {handler: func(w http.ResponseWriter, _ *http.Request) {
			c, _, _ := w.(http.Hijacker).Hijack()
			c.Close()
		}, want: "no answer: EOF / "},
		"no HTTP": {handler: func(w http.ResponseWriter, _ *http.Request) {
			c, _, _ := w.(http.Hijacker).Hijack()
			io.WriteString(c, "SSH-2.0-x\r\n") //nolint:errcheck // the probe tells
			c.Close()
		}, want: `no answer: net/http: HTTP/1.x transport connection broken: malformed HTTP response "SSH-2.0-x" / `},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFakeServer(t, tt.handler)
			f.dial = tt.dial
			h := quick
			if tt.health != nil {
				tt.health(&h)
			}
			last, err := f.within(t, time.Second, h)
			if !errors.Is(err, errNotHealthy) {
				t.Errorf("error %v", err)
			}
			if got := last.String() + " / " + last.Body; got != tt.want {
				t.Errorf("last answer %q, want %q", got, tt.want)
			}
		})
	}
}

func TestProbeFollowsRedirectsInsideTheContainerOnly(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		location string
		want     string // "" is healthy
	}{
		"relative":               {"/health", ""},
		"to the same host":       {"http://" + target + "/health", ""},
		"to https":               {"https://" + target + "/health", "301, redirects to https://" + target + "/health"},
		"to another host":        {"http://login.example.com/", "301, redirects to http://login.example.com/"},
		"to another port":        {"http://0123456789ab:9999/health", "301, redirects to http://0123456789ab:9999/health"},
		"to itself, for ever":    {"/up", "301, redirects to /up"},
		"to https of elsewhere ": {"https://shop.example.com/up", "301, redirects to https://shop.example.com/up"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFakeServer(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/health" {
					return
				}
				w.Header().Set("Location", tt.location)
				w.WriteHeader(http.StatusMovedPermanently)
			})
			last, err := f.within(t, time.Second, quick)
			switch {
			case tt.want == "":
				if err != nil || last.Status != 200 {
					t.Errorf("%s, %v", last, err)
				}
			case !errors.Is(err, errNotHealthy) || last.String() != tt.want:
				t.Errorf("%s, %v, want %s", last, err, tt.want)
			}
			dialled, requests := f.seen()
			for i, r := range requests {
				if r.Host != target {
					t.Errorf("request %d has Host %s", i, r.Host)
				}
			}
			for _, d := range dialled {
				if d != "tcp 172.18.0.2:3000" {
					t.Errorf("dialled %s", d)
				}
			}
		})
	}
}

func TestProbeReadsTheStartOfALongBody(t *testing.T) {
	t.Parallel()
	f := newFakeServer(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(500)
		io.WriteString(w, strings.Repeat("x", 1<<20)) //nolint:errcheck // the probe hangs up
	})
	if last, _ := f.within(t, time.Second, quick); last.Status != 500 || len(last.Body) != 2048 {
		t.Errorf("status %d, %d bytes", last.Status, len(last.Body))
	}
}

func TestProbeTellsWhereItCannotAsk(t *testing.T) {
	t.Parallel()
	f := newFakeServer(t, func(http.ResponseWriter, *http.Request) {})
	f.dial = func(int) error {
		return &sshexec.ForwardingError{Server: "s", Address: "172.18.0.2:3000", Err: errors.New("administratively prohibited")}
	}
	_, err := f.within(t, time.Minute, quick)
	if dialled, _ := f.seen(); !errors.Is(err, errNoForwarding) || len(dialled) != 1 {
		t.Errorf("%v after %d dials", err, len(dialled))
	}
}

func TestProbeEndsWithItsContext(t *testing.T) {
	t.Parallel()
	f := newFakeServer(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) })
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("the user pressed Ctrl-C")
	h := quick
	h.Interval = time.Hour // it waits for the next time to ask when it is stopped
	begin := time.Now()
	go func() {
		for requests := []*http.Request(nil); len(requests) == 0; time.Sleep(time.Millisecond) {
			_, requests = f.seen()
		}
		cancel(stop)
	}()
	if _, err := probe(ctx, f, "172.18.0.2", target, h); !errors.Is(err, stop) || time.Since(begin) > 10*time.Second {
		t.Errorf("%v after %s", err, time.Since(begin))
	}
}

func TestProbeRefusesATargetWithoutAPort(t *testing.T) {
	t.Parallel()
	if _, err := probe(t.Context(), nil, "172.18.0.2", "0123456789ab", quick); err == nil {
		t.Error("no error")
	}
}
