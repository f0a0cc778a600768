package acceptance

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/test/testbed"
)

// bootProxy starts kamal-proxy as Kamal does, with root as its SSH user.
func bootProxy(t *testing.T, s *testbed.Server) {
	t.Helper()
	bootProxyAs(t, s, "root")
}

// bootProxyAs starts kamal-proxy with files of an SSH user.
func bootProxyAs(t *testing.T, s *testbed.Server, user string) {
	t.Helper()
	s.LogIn(t)
	s.SSH(t, `cd ~`+user+`
		docker network inspect kamal >/dev/null 2>&1 || docker network create kamal >/dev/null
		mkdir -p .kamal/proxy/apps-config; chown -R `+user+` .kamal
		docker run --name kamal-proxy --network kamal --detach --restart unless-stopped \
			--volume kamal-proxy-config:/home/kamal-proxy/.config/kamal-proxy \
			--volume $PWD/.kamal/proxy/apps-config:/home/kamal-proxy/.apps-config \
			--publish 80:80 --publish 443:443 --log-opt max-size=10m `+bed(t).Image("basecamp/kamal-proxy:v0.9.2")+` >/dev/null 2>&1
		until docker exec kamal-proxy kamal-proxy list >/dev/null 2>&1; do sleep 0.1; done`)
}

// runRole starts a container of a role of the app shop as Kamal does, and returns its id.
func runRole(t *testing.T, s *testbed.Server, role, version string) string {
	t.Helper()
	return strings.TrimSpace(s.SSH(t, fmt.Sprintf(`docker run --detach --restart unless-stopped --name shop-%s-%s --network kamal \
		--label service=shop --label role=%s --label destination %s 2>/dev/null`, role, version, role, bed(t).Image("app:"+version))))[:12]
}

// proxyCLI runs a command of kamal-proxy on a server.
func proxyCLI(t *testing.T, s *testbed.Server, command string) {
	t.Helper()
	s.SSH(t, "docker exec kamal-proxy kamal-proxy "+command)
}

// proxyEntry is a service in kamal-proxy's state file, nil if it has none.
func proxyEntry(t *testing.T, s *testbed.Server, service string) map[string]any {
	t.Helper()
	var list []map[string]any
	if err := json.Unmarshal([]byte(proxyState(t, s)), &list); err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		if e["name"] == service {
			return e
		}
	}
	return nil
}

func proxyState(t *testing.T, s *testbed.Server) string {
	t.Helper()
	return s.SSH(t, "docker cp kamal-proxy:/home/kamal-proxy/.config/kamal-proxy/kamal-proxy.state - 2>/dev/null | tar -xOf - || echo []")
}

// An answer is what a visitor gets.
type answer struct {
	status     int
	body       string
	location   string
	cert       *x509.Certificate
	connectErr error
}

// visit asks a server for a URL as a visitor who resolves its host to the server.
func visit(t *testing.T, s *testbed.Server, url string) answer {
	t.Helper()
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			_, port, _ := net.SplitHostPort(addr)
			return (&net.Dialer{}).DialContext(ctx, network, net.JoinHostPort(s.Address, port))
		},
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}
	defer transport.CloseIdleConnections()
	client := http.Client{Transport: transport, Timeout: 30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Get(url)
	if err != nil {
		return answer{connectErr: err}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := answer{status: resp.StatusCode, body: string(body), location: resp.Header.Get("Location")}
	if resp.TLS != nil {
		a.cert = resp.TLS.PeerCertificates[0]
	}
	return a
}

// wantVersion wants a URL to be answered by a version of the app.
func wantVersion(t *testing.T, s *testbed.Server, url, version string) {
	t.Helper()
	if a := visit(t, s, url); a.status != 200 || !strings.Contains(a.body, `"version":"`+version+`"`) {
		t.Errorf("%s on %s: %d %q %v, want version %s", url, s.Name, a.status, a.body, a.connectErr, version)
	}
}

// wantStatus wants a URL to be answered with a status.
func wantStatus(t *testing.T, s *testbed.Server, url string, status int) answer {
	t.Helper()
	a := visit(t, s, url)
	if a.status != status {
		t.Errorf("%s on %s: %d %q %v, want %d", url, s.Name, a.status, a.body, a.connectErr, status)
	}
	return a
}

// selfSigned makes a certificate for hosts that only its serial number tells from others, and its key.
func selfSigned(t *testing.T, serial int64, hosts ...string) (cert, key string) {
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
