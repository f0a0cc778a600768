package engine

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	stdlog "log"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/test/testbed"
)

const robot = "robot" // the user of a tokenRegistry

// A tokenRegistry has what the testbed's registry has, for another log-in: a
// token that can be replaced at any time, as a cloud's registry wants it.
type tokenRegistry struct {
	Address string

	ca     []byte
	front  *httputil.ReverseProxy
	mu     sync.Mutex
	token  string
	refuse int             // status for another token
	heard  map[string]bool // what came as user:password, "" without any
	during func()          // called once, in the middle of a pull
}

// newTokenRegistry runs on the address that this machine has among the servers.
func newTokenRegistry(t *testing.T, b *testbed.Bed, token string) *tokenRegistry {
	t.Helper()
	host, _, err := net.SplitHostPort(b.Registry.Address)
	if err != nil {
		t.Fatal(err)
	}
	gateway := net.ParseIP(host).To4()
	gateway[3] = 1
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp4", net.JoinHostPort(gateway.String(), "0"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IPAddresses: []net.IP{gateway}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	upstream := x509.NewCertPool()
	ca, err := os.ReadFile(b.Registry.CAFile)
	if err != nil || !upstream.AppendCertsFromPEM(ca) {
		t.Fatalf("the testbed's CA: %v", err)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: upstream}}
	quiet := stdlog.New(io.Discard, "", 0)
	r := &tokenRegistry{
		Address: listener.Addr().String(), token: token, refuse: http.StatusUnauthorized, heard: map[string]bool{},
		ca: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		front: &httputil.ReverseProxy{Transport: transport, ErrorLog: quiet, Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(&url.URL{Scheme: "https", Host: b.Registry.Address})
			p.Out.SetBasicAuth(b.Registry.Username, b.Registry.Password)
		}},
	}
	server := httptest.NewUnstartedServer(r)
	server.Listener.Close()
	server.Listener, server.Config.ErrorLog = listener, quiet
	server.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	server.StartTLS()
	t.Cleanup(func() {
		server.Close()
		transport.CloseIdleConnections()
	})
	return r
}

func (r *tokenRegistry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	user, password, given := req.BasicAuth()
	said, status := "", http.StatusUnauthorized
	r.mu.Lock()
	if given {
		said, status = user+":"+password, r.refuse
	}
	r.heard[said] = true
	known := said == robot+":"+r.token
	during := func() {}
	if known && r.during != nil && strings.Contains(req.URL.Path, "/manifests/") {
		during, r.during = r.during, nil
	}
	r.mu.Unlock()
	if known {
		during()
		r.front.ServeHTTP(w, req)
		return
	}
	w.Header().Set("WWW-Authenticate", `Basic realm="tokens"`)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	code := map[int]string{http.StatusUnauthorized: "UNAUTHORIZED", http.StatusForbidden: "DENIED"}[status]
	fmt.Fprintf(w, `{"errors":[{"code":%q,"message":"Your authorization token has expired. Reauthenticate and try again."}]}`, code)
}

// rotate makes another token the only one; others get a status.
func (r *tokenRegistry) rotate(token string, refuse int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.token, r.refuse, r.heard = token, refuse, map[string]bool{}
}

// wantHeard wants these log-ins, and no other, to have come since the last rotation.
func (r *tokenRegistry) wantHeard(t *testing.T, logins ...string) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.heard, "") // docker asks without any first
	if heard := slices.Sorted(maps.Keys(r.heard)); !slices.Equal(heard, logins) {
		t.Errorf("the registry heard %q, want %q", heard, logins)
	}
}
