package proxy

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// Whatever was deployed by hand or by Kamal, sending what the state file says
// must give the same state again: this is what keeps a role's swap from
// changing the route.
func TestDeployArgvGivesRealKamalProxyTheSameEntryAgain(t *testing.T) {
	t.Parallel()
	p := startKamalProxy(t)
	app := startApp(t)
	cert, key := writeCertificate(t, p.dir, "www.example.com")
	pages := filepath.Join(p.dir, "pages")
	if err := os.MkdirAll(pages, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, code := range []string{"404", "502"} {
		if err := os.WriteFile(filepath.Join(pages, code+".html"), []byte("sorry"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct{ name, flags string }{
		{"defaults", ""},
		{"kamal", "--host=kamal.example.com --buffer-requests --buffer-responses --log-request-header=Cache-Control --log-request-header=User-Agent"},
		{"acme", "--host=acme.example.com --tls --tls-redirect=false --tls-acme-cache-path=/tmp/certs"},
		{"staging", "--host=staging.example.com --tls --tls-staging --forward-headers"},
		{"own", "--host=www.example.com --host=example.com --host=*.example.net --tls --canonical-host=www.example.com --tls-certificate-path=" + cert + " --tls-private-key-path=" + key},
		{"below", "--host=www.example.com --path-prefix=/api/ --path-prefix=/v2 --strip-path-prefix=false --forward-headers=false"},
		{"rest", "--host=rest.example.com --error-pages=" + pages + " --writer-affinity-timeout=0s --read-target-websockets --target-timeout=0s " +
			"--buffer-requests --buffer-memory=5 --max-request-body=6 --log-request-header=x-one --log-response-header=\"x\"\"two,x\" --scope-cookie-paths " +
			"--health-check-path=/ready --health-check-host=rest.example.com --health-check-interval=200ms --health-check-timeout=2s"},
	}
	for _, test := range tests {
		args := append([]string{"deploy", test.name, "--target=" + app}, strings.Fields(test.flags)...)
		if err := p.run(args...); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.run("stop", "rest", "--message=Back at 5"); err != nil {
		t.Fatal(err)
	}
	before := map[string]Entry{}
	for _, test := range tests {
		before[test.name] = p.entry(test.name)
	}
	if below := before["below"]; !below.Options.TLSEnabled || below.Root() {
		t.Fatalf("the entry below the root should have inherited its TLS: %+v", below.Options)
	}
	for _, test := range tests {
		e := before[test.name]
		argv, err := e.DeployArgv(Target{Address: app, Health: e.TargetOptions.HealthCheck.Health(), DeployTimeout: 10 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		p.argv(argv)
	}
	for _, test := range tests {
		if after := p.entry(test.name); !reflect.DeepEqual(after, before[test.name]) {
			t.Errorf("%s: the entry changed\nfrom %+v\nto   %+v", test.name, before[test.name], after)
		}
	}
}

func TestDeployReadsACertificateAnewThatHasTheSameName(t *testing.T) {
	t.Parallel()
	p := startKamalProxy(t)
	app := startApp(t)
	cert, key := writeCertificate(t, p.dir, "old.example.com")
	if err := p.run("deploy", "shop-web", "--target="+app, "--host=shop.example.com", "--tls", "--tls-certificate-path="+cert, "--tls-private-key-path="+key); err != nil {
		t.Fatal(err)
	}
	if got := servedName(t, p.https); got != "old.example.com" {
		t.Fatalf("serves the certificate of %s", got)
	}
	writeCertificate(t, p.dir, "new.example.com")
	e := p.entry("shop-web")
	argv, err := e.DeployArgv(Target{Address: app, Health: e.TargetOptions.HealthCheck.Health(), DeployTimeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	p.argv(argv)
	if got := servedName(t, p.https); got != "new.example.com" {
		t.Errorf("after the deploy it still serves the certificate of %s", got)
	}
}

func servedName(t *testing.T, port int) string {
	t.Helper()
	conn, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port), &tls.Config{ServerName: "shop.example.com", InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].DNSNames[0]
}

// writeCertificate writes a certificate for a name and its key to cert.pem and key.pem.
func writeCertificate(t *testing.T, dir, name string) (cert, key string) {
	t.Helper()
	certPEM, keyPEM := selfSigned(t, name)
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	if err := cmp.Or(os.WriteFile(cert, []byte(certPEM), 0o600), os.WriteFile(key, []byte(keyPEM), 0o600)); err != nil {
		t.Fatal(err)
	}
	return cert, key
}

func selfSigned(t *testing.T, name string) (certPEM, keyPEM string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
}
