package byhand

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/test/load"
	"github.com/kamal-terraform/terraform-provider-kamal/test/testbed"
)

// An Answer is what a visitor gets.
type Answer struct {
	Status   int
	Body     string
	Location string
	Cert     *x509.Certificate
	Err      error // there was no answer
}

// Visit asks a server for a URL as a visitor who resolves its host to the server.
func Visit(t testing.TB, s *testbed.Server, url string) Answer {
	t.Helper()
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			_, port, err := net.SplitHostPort(addr)
			if err != nil {
				return nil, err
			}
			return (&net.Dialer{}).DialContext(ctx, network, net.JoinHostPort(s.Address, port))
		},
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}
	defer transport.CloseIdleConnections()
	client := http.Client{Transport: transport, Timeout: 30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	req, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return Answer{Err: err}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := Answer{Status: resp.StatusCode, Body: string(body), Location: resp.Header.Get("Location")}
	if resp.TLS != nil {
		a.Cert = resp.TLS.PeerCertificates[0]
	}
	return a
}

// WantVersion wants a URL to be answered by a version of the app.
func WantVersion(t testing.TB, s *testbed.Server, url, version string) {
	t.Helper()
	if a := Visit(t, s, url); a.Status != 200 || !strings.Contains(a.Body, `"version":"`+version+`"`) {
		t.Errorf("%s on %s: %d %q %v, want version %s", url, s.Name, a.Status, a.Body, a.Err, version)
	}
}

// WantStatus wants a URL to be answered with a status.
func WantStatus(t testing.TB, s *testbed.Server, url string, status int) Answer {
	t.Helper()
	a := Visit(t, s, url)
	if a.Status != status {
		t.Errorf("%s on %s: %d %q %v, want %d", url, s.Name, a.Status, a.Body, a.Err, status)
	}
	return a
}

// PortStatus is the HTTP status that a server answers with on a port, 0 for none.
func PortStatus(t testing.TB, s *testbed.Server, port int) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://%s/", net.JoinHostPort(s.Address, fmt.Sprint(port))), nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return 0
	}
	return resp.StatusCode
}

// WantPort wants a port to answer with a status, 0 for none.
func WantPort(t testing.TB, s *testbed.Server, port, want int) {
	t.Helper()
	if got := PortStatus(t, s, port); got != want {
		t.Errorf("port %d answers %d, want %d", port, got, want)
	}
}

// StartLoad sends requests for shop.example.com to port 80 of servers until the
// test ends.
func StartLoad(t testing.TB, servers ...*testbed.Server) *load.Load {
	t.Helper()
	var targets []load.Target
	for _, s := range servers {
		targets = append(targets, load.Target{URL: "http://shop.example.com/", Addr: s.Address + ":80"})
	}
	l, err := load.Start(context.WithoutCancel(t.Context()), load.Options{Targets: targets, Rate: 100})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Stop() })
	return l
}

// WantNoneFailed fails the test if a request failed since the last look, or
// none was sent.
func WantNoneFailed(t testing.TB, l *load.Load, when string) {
	t.Helper()
	r := l.Take()
	t.Logf("%s: %d requests, %d failed, slowest %s", when, r.Requests, r.Failed, r.Slowest)
	if r.Failed > 0 || r.Requests == 0 {
		t.Errorf("%s: %d of %d requests failed: %q", when, r.Failed, r.Requests, r.Failures)
	}
}

// SelfSigned makes a certificate for hosts that only its serial number tells
// from others, and its key, both in PEM.
func SelfSigned(t testing.TB, serial int64, hosts ...string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), DNSNames: hosts, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
}
