package load

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func target(s *httptest.Server) Target {
	return Target{URL: "http://shop.example.com/", Addr: s.Listener.Addr().String()}
}

// until waits for a condition that traffic will make true.
func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

func start(t *testing.T, options Options) *Load {
	t.Helper()
	l, err := Start(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Stop() })
	return l
}

func TestKeepsToTheRateAndMixesConnections(t *testing.T) {
	var mu sync.Mutex
	connections := map[string]int{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		connections[r.RemoteAddr]++
		if r.Host != "shop.example.com" {
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	defer server.Close()

	begin := time.Now()
	l := start(t, Options{Targets: []Target{target(server)}, Rate: 200})
	until(t, "100 requests", func() bool {
		mu.Lock()
		defer mu.Unlock()
		n := 0
		for _, c := range connections {
			n += c
		}
		return n >= 100
	})
	took := time.Since(begin)
	r := l.Stop()
	if r.Failed != 0 {
		t.Fatalf("failed: %v", r.Failures)
	}
	if took < 400*time.Millisecond {
		t.Errorf("100 requests at 200/s took %s", took)
	}
	once, often := 0, 0
	for _, n := range connections {
		if n == 1 {
			once++
		} else {
			often += n
		}
	}
	if once < r.Requests/3 || often < r.Requests/3 {
		t.Errorf("of %d requests %d had a connection of their own, %d shared one", r.Requests, once, often)
	}
}

func TestSlowAnswersDoNotLowerTheRate(t *testing.T) {
	var arrived atomic.Int64
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		arrived.Add(1)
		<-release
	}))
	defer server.Close()
	l := start(t, Options{Targets: []Target{target(server)}, Rate: 500})
	until(t, "50 requests at once", func() bool { return arrived.Load() >= 50 })
	close(release)
	if r := l.Stop(); r.Failed != 0 || r.Requests < 50 {
		t.Errorf("%d requests, %d failed: %v", r.Requests, r.Failed, r.Failures)
	}
}

func TestCountsWhatFails(t *testing.T) {
	serve := func(h http.HandlerFunc) Target {
		s := httptest.NewServer(h)
		t.Cleanup(s.Close)
		return target(s)
	}
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	wrongBody := func(_ Target, _ int, body []byte) error {
		if string(body) != "v2" {
			return errors.New("body " + string(body))
		}
		return nil
	}
	for name, c := range map[string]struct {
		target Target
		check  Check
		want   string
	}{
		"status":   {serve(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }), nil, "status 503"},
		"redirect": {serve(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/", 301) }), nil, "status 301"},
		"body":     {serve(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("v1")) }), wrongBody, "body v1"},
		"cut answer": {serve(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "9")
			w.Write([]byte("v1"))
		}), nil, "unexpected EOF"},
		"cut off":      {serve(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }), nil, "EOF"},
		"no listener":  {Target{URL: "http://shop.example.com/", Addr: closed.Addr().String()}, nil, "connection refused"},
		"never an end": {serve(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }), nil, "deadline exceeded"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := start(t, Options{Targets: []Target{c.target}, Check: c.check, Rate: 50, Timeout: 300 * time.Millisecond})
			until(t, "a failure", func() bool { return failed(l) > 3 })
			r := l.Stop()
			if r.Failed != r.Requests {
				t.Errorf("%d of %d failed", r.Failed, r.Requests)
			}
			if !strings.Contains(r.Failures[0], c.want) || !strings.Contains(r.Failures[0], c.target.Addr) {
				t.Errorf("failure %q", r.Failures[0])
			}
		})
	}
}

// A server that closes a kept connection as the next request arrives: net/http
// would send it again and report success.
func TestARequestSentTwiceIsAFailure(t *testing.T) {
	var served sync.Map
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, again := served.LoadOrStore(r.RemoteAddr, true); again {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				conn.Close()
			}
		}
	}))
	defer server.Close()
	l := start(t, Options{Targets: []Target{target(server)}, Rate: 100})
	until(t, "a failure", func() bool { return failed(l) > 0 })
	if r := l.Stop(); !strings.Contains(r.Failures[0], "sent again") {
		t.Errorf("failure %q", r.Failures[0])
	}
}

func TestTakeCountsAnew(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	l := start(t, Options{Targets: []Target{target(server)}})
	until(t, "failures", func() bool { return failed(l) > 3 })
	if r := l.Take(); r.Failed != r.Requests || r.Failed == 0 {
		t.Errorf("%d requests, %d failed", r.Requests, r.Failed)
	}
	if n := failed(l); n > 3 {
		t.Errorf("%d failures right after Take", n)
	}
}

func TestARequestUnderWayMayPassEitherCheck(t *testing.T) {
	arrived, release := make(chan struct{}, 100), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		arrived <- struct{}{}
		<-release
		w.WriteHeader(http.StatusTeapot)
	}))
	defer server.Close()
	l := start(t, Options{Targets: []Target{target(server)}, Rate: 20, Check: Status(http.StatusTeapot)})
	<-arrived
	l.SetCheck(Status(http.StatusOK)) // the first is under way, and what it gets was right when it was sent
	for range 3 {
		<-arrived
	}
	close(release)
	r := l.Stop()
	if passed := r.Requests - r.Failed; passed < 1 || r.Failed < 2 {
		t.Errorf("%d passed, %d failed: %v", passed, r.Failed, r.Failures)
	}

	l = start(t, Options{Targets: []Target{target(server)}})
	l.SetCheck(Status(http.StatusTeapot))
	until(t, "requests", func() bool { l.mu.Lock(); defer l.mu.Unlock(); return l.result.Requests > 10 })
	if r := l.Stop(); r.Failed > 0 {
		t.Errorf("failed although the new check passes: %v", r.Failures)
	}
}

func failed(l *Load) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.result.Failed
}

func TestRefusesForeignAddresses(t *testing.T) {
	for _, addr := range []string{"192.0.2.1:80", "8.8.8.8:443", "[2001:db8::1]:80", "example.com:80", ""} {
		if _, err := Start(t.Context(), Options{Targets: []Target{{URL: "http://x/", Addr: addr}}}); err == nil {
			t.Errorf("%q was accepted", addr)
		}
	}
}
