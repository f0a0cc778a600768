package provider

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

// routeConfig is a configuration with a target, servers and hosts.
func routeConfig(change func(*proxyRouteModel)) proxyRouteModel {
	target := routeTargetModel{Service: types.StringValue("shop-web"), App: types.StringValue("shop"), AppPort: types.Int64Value(3000),
		Healthcheck: defaultHealth, DeployTimeout: types.StringValue("30s"), DrainTimeout: types.StringValue("30s")}
	m := proxyRouteModel{
		Target: target.object(), Servers: stringsValue([]string{"10.0.0.1"}), Hosts: stringsValue([]string{"shop.example.com"}),
		PathPrefixes: types.ListNull(types.StringType), TLS: types.ObjectNull(routeTLSTypes), Buffering: types.ObjectNull(routeBufferingTypes),
		LogHeaders: types.ObjectNull(routeLogHeadersTypes), Maintenance: types.ObjectNull(routeMaintenanceTypes),
		Instances: types.MapNull(types.ObjectType{AttrTypes: routeInstanceTypes}),
	}
	if change != nil {
		change(&m)
	}
	return m
}

func routeTLS(t *testing.T, m routeTLSModel) types.Object {
	t.Helper()
	o, diags := types.ObjectValueFrom(context.Background(), routeTLSTypes, m)
	if diags.HasError() {
		t.Fatal(diags)
	}
	return o
}

func TestRouteRefusesAtPlanWhatKamalProxyCanNotDo(t *testing.T) {
	t.Parallel()
	now := time.Now()
	cert, key := testPair(t, now.Add(-time.Hour), now.Add(time.Hour), "shop.example.com")
	_, otherKey := testPair(t, now.Add(-time.Hour), now.Add(time.Hour), "shop.example.com")
	oldCert, oldKey := testPair(t, now.Add(-2*time.Hour), now.Add(-time.Hour), "shop.example.com")
	acme := routeTLS(t, routeTLSModel{ACME: types.BoolValue(true)})
	own := func(cert, key types.String) types.Object {
		return routeTLS(t, routeTLSModel{Certificate: cert, PrivateKey: key})
	}
	tests := map[string]struct {
		change func(*proxyRouteModel)
		want   string // of an error, or of a warning after "warning: "; "" for none
	}{
		"nothing wrong":       {nil, ""},
		"own certificate":     {func(m *proxyRouteModel) { m.TLS = own(types.StringValue(cert), types.StringValue(key)) }, ""},
		"unknown certificate": {func(m *proxyRouteModel) { m.TLS = own(types.StringUnknown(), types.StringUnknown()) }, ""},
		"unknown everything": {func(m *proxyRouteModel) {
			m.TLS, m.Servers = types.ObjectUnknown(routeTLSTypes), types.ListUnknown(types.StringType)
			m.Hosts, m.PathPrefixes = types.ListUnknown(types.StringType), types.ListUnknown(types.StringType)
			m.CanonicalHost, m.Target = types.StringValue("x.example.com"), types.ObjectUnknown(proxyTypes)
		}, ""},
		"TLS without hosts": {func(m *proxyRouteModel) { m.TLS, m.Hosts = acme, types.ListNull(types.StringType) }, "TLS without hosts"},
		"TLS below the root": {func(m *proxyRouteModel) { m.TLS, m.PathPrefixes = acme, stringsValue([]string{"/api"}) },
			"TLS on a route without the path /"},
		"TLS of the root and below": {func(m *proxyRouteModel) { m.TLS, m.PathPrefixes = acme, stringsValue([]string{"/api", "/"}) }, ""},
		"ACME on two servers":       {func(m *proxyRouteModel) { m.TLS, m.Servers = acme, stringsValue([]string{"a", "b"}) }, "ACME with several servers"},
		"ACME with a wildcard": {func(m *proxyRouteModel) { m.TLS, m.Hosts = acme, stringsValue([]string{"*.example.com"}) },
			"ACME with a wildcard host"},
		"ACME and an own certificate": {func(m *proxyRouteModel) {
			m.TLS = routeTLS(t, routeTLSModel{ACME: types.BoolValue(true), Certificate: types.StringValue(cert), PrivateKey: types.StringValue(key)})
		}, "Two kinds of certificate"},
		"TLS of nothing": {func(m *proxyRouteModel) { m.TLS = own(types.StringNull(), types.StringNull()) }, "TLS without a certificate"},
		"no key":         {func(m *proxyRouteModel) { m.TLS = own(types.StringValue(cert), types.StringNull()) }, "Half a certificate"},
		"staging alone":  {func(m *proxyRouteModel) { m.TLS = routeTLS(t, routeTLSModel{Staging: types.BoolValue(true)}) }, "Staging without ACME"},
		"another's key":  {func(m *proxyRouteModel) { m.TLS = own(types.StringValue(cert), types.StringValue(otherKey)) }, "do not fit"},
		"expired":        {func(m *proxyRouteModel) { m.TLS = own(types.StringValue(oldCert), types.StringValue(oldKey)) }, "warning: has expired"},
		"for other hosts": {func(m *proxyRouteModel) {
			m.TLS, m.Hosts = own(types.StringValue(cert), types.StringValue(key)), stringsValue([]string{"www.example.com"})
		}, "warning: not for all hosts"},
		"canonical host": {func(m *proxyRouteModel) { m.CanonicalHost = types.StringValue("www.example.com") },
			"Canonical host is none of the hosts"},
		"limit without buffering": {func(m *proxyRouteModel) {
			o, _ := types.ObjectValueFrom(context.Background(), routeBufferingTypes, routeBufferingModel{Requests: types.BoolValue(false), MaxRequestBody: types.Int64Value(5)})
			m.Buffering = o
		}, "Limit without buffering"},
		"one path twice":   {func(m *proxyRouteModel) { m.PathPrefixes = stringsValue([]string{"/api", "/api/"}) }, "Duplicate path prefix"},
		"one server twice": {func(m *proxyRouteModel) { m.Servers = stringsValue([]string{"10.0.0.1", "deploy@10.0.0.1"}) }, "Server named twice"},
	}
	for name, test := range tests {
		diags := routeConfig(test.change).validate(context.Background(), now)
		severity, text := diag.SeverityError, test.want
		if w, ok := strings.CutPrefix(test.want, "warning: "); ok {
			severity, text = diag.SeverityWarning, w
		}
		if text == "" {
			if len(diags) > 0 {
				t.Errorf("%s: %v", name, diags)
			}
			continue
		}
		if len(diags) != 1 || diags[0].Severity() != severity || !strings.Contains(diags[0].Summary(), text) {
			t.Errorf("%s: want %q, got %v", name, test.want, diags)
		}
		for _, d := range diags {
			if strings.Contains(d.Detail(), "PRIVATE") {
				t.Errorf("%s: the diagnostic holds the key", name)
			}
		}
	}
}

func TestRouteHosts(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"shop.example.com": "", "*.example.com": "", "localhost": "", "10.0.0.1": "", "xn--bcher-kva.example": "", "a_b.example.com": "",
		"": "leave hosts out", "*": "leave hosts out", "https://shop.example.com": "no scheme", "shop.example.com:443": "no port", "shop.example.com/": "no path",
		"Shop.example.com": "lower case", "shop.example.com.": "is not", "a.*.example.com": "is not", "*example.com": "is not", "bücher.example": "is not", "a b": "is not", "-a.example": "is not",
	}
	for host, want := range tests {
		resp := validator.StringResponse{}
		hostValidator{}.ValidateString(context.Background(), validator.StringRequest{Path: path.Root("hosts"), ConfigValue: types.StringValue(host)}, &resp)
		switch {
		case want == "" && resp.Diagnostics.HasError():
			t.Errorf("%q is refused: %v", host, resp.Diagnostics)
		case want != "" && (!resp.Diagnostics.HasError() || !strings.Contains(resp.Diagnostics[0].Detail(), want)):
			t.Errorf("%q: want %q, got %v", host, want, resp.Diagnostics)
		}
	}
}

// testPair makes a self-signed certificate and its key.
func testPair(t *testing.T, from, until time.Time, names ...string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: names, NotBefore: from, NotAfter: until}
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
