package docker

import (
	"encoding/json"
	"testing"
)

const digest = "sha256:16854097c3673cb811ac926d0a9904abae8e7638815b9840735e0518bc0a6d16"

func TestParseRef(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		ref, repository, familiar, tag, digest, registry string
	}{
		{"nginx", "nginx", "nginx", "latest", "", "docker.io"},
		{"nginx:1.27", "nginx", "nginx", "1.27", "", "docker.io"},
		{"docker.io/library/nginx:1.27", "docker.io/library/nginx", "nginx", "1.27", "", "docker.io"},
		{"acme/shop:v1", "acme/shop", "acme/shop", "v1", "", "docker.io"},
		{"ghcr.io/acme/shop:v1", "ghcr.io/acme/shop", "ghcr.io/acme/shop", "v1", "", "ghcr.io"},
		{"registry.example.com:5000/shop:v1", "registry.example.com:5000/shop", "registry.example.com:5000/shop", "v1", "", "registry.example.com:5000"},
		{"registry.example.com:5000/shop", "registry.example.com:5000/shop", "registry.example.com:5000/shop", "latest", "", "registry.example.com:5000"},
		{"localhost/shop:v1", "localhost/shop", "localhost/shop", "v1", "", "localhost"},
		{"[fd00::1]:5000/shop:v1", "[fd00::1]:5000/shop", "[fd00::1]:5000/shop", "v1", "", "[fd00::1]:5000"},
		{"shop@" + digest, "shop", "shop", "", digest, "docker.io"},
		{"registry.example.com:5000/shop@" + digest, "registry.example.com:5000/shop", "registry.example.com:5000/shop", "", digest, "registry.example.com:5000"},
		{"registry.example.com:5000/shop:v1@" + digest, "registry.example.com:5000/shop", "registry.example.com:5000/shop", "v1", digest, "registry.example.com:5000"},
	} {
		r, err := ParseRef(tt.ref)
		if err != nil {
			t.Errorf("%s: %v", tt.ref, err)
			continue
		}
		if (r != Ref{tt.repository, tt.tag, tt.digest}) || r.FamiliarRepository() != tt.familiar {
			t.Errorf("%s: %+v, familiar %s", tt.ref, r, r.FamiliarRepository())
		}
		if host, err := Registry(tt.ref); err != nil || host != tt.registry {
			t.Errorf("%s: registry %s, %v", tt.ref, host, err)
		}
	}
	for _, ref := range []string{"", "Shop:v1", "shop:", "shop:v 1", "shop@sha256:123", "https://registry.example.com/shop:v1", "shop:v1:v2"} {
		if r, err := ParseRef(ref); err == nil {
			t.Errorf("%q is taken for %+v", ref, r)
		}
		if _, err := Registry(ref); err == nil {
			t.Errorf("%q has a registry", ref)
		}
	}
}

func TestConfigJSONHoldsTheLogInOfTheImagesRegistryOnly(t *testing.T) {
	t.Parallel()
	logins := Logins{
		"registry.example.com:5000": {"ann", `pa"ss:w\ord` + "\n"},
		"docker.io":                 {"hub", "secret"},
	}
	for _, tt := range []struct{ image, host, auth string }{
		{"registry.example.com:5000/shop:v1", "registry.example.com:5000", "YW5uOnBhInNzOndcb3JkCg=="},
		{"registry.example.com:5000/shop@" + digest, "registry.example.com:5000", "YW5uOnBhInNzOndcb3JkCg=="},
		// What docker login writes for Docker Hub.
		{"nginx:1", "https://index.docker.io/v1/", "aHViOnNlY3JldA=="},
		{"docker.io/acme/shop:v1", "https://index.docker.io/v1/", "aHViOnNlY3JldA=="},
	} {
		text, err := logins.ConfigJSON(tt.image)
		if err != nil {
			t.Errorf("%s: %v", tt.image, err)
			continue
		}
		var config struct {
			Auths map[string]struct{ Auth string }
		}
		if err := json.Unmarshal([]byte(text), &config); err != nil {
			t.Fatalf("%s: %v\n%s", tt.image, err, text)
		}
		if len(config.Auths) != 1 || config.Auths[tt.host].Auth != tt.auth {
			t.Errorf("%s: %s", tt.image, text)
		}
	}
	for _, image := range []string{"registry.example.com/shop:v1", "ghcr.io/acme/shop:v1"} {
		if text, err := logins.ConfigJSON(image); err != nil || text != "" {
			t.Errorf("%s: %q, %v", image, text, err)
		}
	}
	if _, err := logins.ConfigJSON("Not An Image"); err == nil {
		t.Error("no error for what is no image")
	}
}
