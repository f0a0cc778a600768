package provider

import (
	"context"
	"fmt"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/schema/validator"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
)

// hubSite is what people take for Docker Hub's registry.
const hubSite = "hub.docker.com"

// registryHostValidator accepts hosts as image references have them: a log-in
// under another spelling would never be used, and nobody would say so.
type registryHostValidator struct{}

func (registryHostValidator) Description(context.Context) string {
	return "a registry's host as in image references: \"ghcr.io\", \"registry.example.com:5000\", \"docker.io\" for Docker Hub"
}

func (v registryHostValidator) MarkdownDescription(ctx context.Context) string {
	return v.Description(ctx)
}

func (v registryHostValidator) ValidateString(ctx context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	if req.ConfigValue.IsNull() || req.ConfigValue.IsUnknown() {
		return
	}
	given := req.ConfigValue.ValueString()
	host, err := docker.Registry(given + "/image")
	if err == nil && host == given && given != hubSite {
		return
	}
	detail := fmt.Sprintf("%s: %q is not %s.", req.Path.ParentPath(), given, v.Description(ctx))
	if want := registryHost(given); want != "" {
		detail += fmt.Sprintf(" Write %q.", want)
	}
	resp.Diagnostics.AddAttributeError(req.Path, "Invalid registry host", detail)
}

// registryHost guesses which host is meant, "" if none comes to mind.
func registryHost(given string) string {
	_, rest, found := strings.Cut(given, "://")
	if !found {
		rest = given
	}
	rest, _, _ = strings.Cut(rest, "/")
	if rest == hubSite {
		return "docker.io"
	}
	host, err := docker.Registry(rest + "/image")
	// Without a dot or a port docker takes it for a user of Docker Hub.
	if err != nil || host == "docker.io" && !strings.HasSuffix(rest, "docker.io") {
		return ""
	}
	return host
}
