package provider

import (
	"context"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

func TestRegistryHosts(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{ // "" is fine
		"docker.io": "", "ghcr.io": "", "registry.example.com:5000": "", "localhost": "", "localhost:5000": "", "10.0.0.1:5000": "", "[fd00::1]:5000": "",
		"123456789012.dkr.ecr.eu-central-1.amazonaws.com": "", "europe-docker.pkg.dev": "",
		"https://ghcr.io": `Write "ghcr.io".`, "http://ghcr.io/": `Write "ghcr.io".`, "ghcr.io/": `Write "ghcr.io".`, "ghcr.io/team": `Write "ghcr.io".`,
		"registry.example.com:5000/v2/": `Write "registry.example.com:5000".`,
		"index.docker.io":               `Write "docker.io".`, "https://index.docker.io/v1/": `Write "docker.io".`, "hub.docker.com": `Write "docker.io".`, "https://hub.docker.com/u/me": `Write "docker.io".`,
		"": "is not", "registry": "is not", "shop/web": "is not", "ghcr .io": "is not", "user@ghcr.io": "is not", "ghcr.io:": "is not",
	} {
		resp := &validator.StringResponse{}
		at := path.Root("registries").AtMapKey(given)
		registryHostValidator{}.ValidateString(context.Background(), validator.StringRequest{Path: at, ConfigValue: types.StringValue(given)}, resp)
		switch d := resp.Diagnostics; {
		case want == "":
			if d.HasError() {
				t.Errorf("%q is refused: %v", given, d)
			}
		case !d.HasError() || !strings.Contains(d[0].Detail(), want) || !strings.Contains(d[0].Detail(), "registries"):
			t.Errorf("%q: %v, want %q", given, d, want)
		case want == "is not" && strings.Contains(d[0].Detail(), "Write"):
			t.Errorf("%q: %q advises what is not meant", given, d[0].Detail())
		}
	}
}
