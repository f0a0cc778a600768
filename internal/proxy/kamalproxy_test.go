package proxy

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// program builds kamal-proxy from the repository's pinned module, once.
var program = sync.OnceValues(func() (string, error) {
	out, err := exec.Command("../../tools/build.sh", "kamal-proxy").Output()
	return strings.TrimSpace(string(out)), err
})

// A kamalProxy is a real kamal-proxy of the version that Kamal boots, on ports
// of its own, without Docker.
type kamalProxy struct {
	t           *testing.T
	program     string
	dir         string
	http, https int
}

func startKamalProxy(t *testing.T) *kamalProxy {
	t.Helper()
	if testing.Short() {
		t.Skip("builds and runs kamal-proxy")
	}
	path, err := program()
	if err != nil {
		t.Fatalf("build kamal-proxy: %v", err)
	}
	p := &kamalProxy{t: t, program: path, dir: t.TempDir()}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, path, "run", "--http-port=0", "--https-port=0")
	cmd.Env = p.env()
	log, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	started, over := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		for s := bufio.NewScanner(log); s.Scan(); {
			var line struct {
				Msg         string
				HTTP, HTTPS int
			}
			if json.Unmarshal(s.Bytes(), &line) == nil && line.Msg == "Server started" {
				p.http, p.https = line.HTTP, line.HTTPS
				close(started)
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-over; _ = cmd.Wait() })
	select {
	case <-started:
	case <-over:
		t.Fatal("kamal-proxy ended at once")
	case <-time.After(time.Minute):
		t.Fatal("kamal-proxy did not start")
	}
	return p
}

func (p *kamalProxy) env() []string {
	return append(os.Environ(), "HOME="+p.dir, "XDG_RUNTIME_DIR="+p.dir)
}

// stateFile is where it keeps its services.
func (p *kamalProxy) stateFile() string {
	return filepath.Join(p.dir, ".config/kamal-proxy/kamal-proxy.state")
}

// run runs a command of kamal-proxy's command line.
func (p *kamalProxy) run(args ...string) error {
	p.t.Helper()
	cmd := exec.Command(p.program, args...)
	cmd.Env = p.env()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("kamal-proxy %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// argv runs a command as it would be run on a server.
func (p *kamalProxy) argv(argv []string) {
	p.t.Helper()
	args := argv[len(proxyCommand()):]
	if err := p.run(args...); err != nil {
		p.t.Fatal(err)
	}
}

func (p *kamalProxy) state() string {
	p.t.Helper()
	b, err := os.ReadFile(p.stateFile())
	if err != nil {
		p.t.Fatal(err)
	}
	return string(bytes.TrimSpace(b))
}

func (p *kamalProxy) entry(service string) Entry {
	p.t.Helper()
	entries, err := ParseState(p.state())
	if err != nil {
		p.t.Fatal(err)
	}
	e := Find(entries, service)
	if e == nil {
		p.t.Fatalf("no service %s in %s", service, p.state())
	}
	if len(e.Unknown) > 0 {
		p.t.Fatalf("kamal-proxy v0.9.2 has options that the provider does not know: %q", e.Unknown)
	}
	return *e
}

// startApp starts a healthy app and returns its address.
func startApp(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.URL.Path) }))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}
