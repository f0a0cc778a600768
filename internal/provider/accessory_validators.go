package provider

import (
	"context"
	"regexp"

	"github.com/hashicorp/terraform-plugin-framework/schema/validator"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/workload"
)

var (
	// A local path has no component "..", no colon, no control character.
	directoryPattern = regexp.MustCompile(`^(/|\.?[a-zA-Z0-9_-])(\.?[^:.\x00-\x1f]+)*:/[^:]*(:[a-zA-Z,]+)?$`)
	filePathPattern  = regexp.MustCompile(`^(/\.?[^/:.\x00-\x1f][^/:\x00-\x1f]*)+$`)
	modePattern      = regexp.MustCompile(`^0?[0-7]{3}$`)
	ownerPattern     = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9_-]*(:[a-zA-Z0-9_][a-zA-Z0-9_-]*)?$`)
)

// portValidator accepts what workload.ParsePort does.
type portValidator struct{}

func (portValidator) Description(context.Context) string {
	return "a port to publish: [address:]host:container[/protocol]"
}

func (v portValidator) MarkdownDescription(ctx context.Context) string { return v.Description(ctx) }

func (v portValidator) ValidateString(_ context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	if req.ConfigValue.IsNull() || req.ConfigValue.IsUnknown() {
		return
	}
	if _, err := workload.ParsePort(req.ConfigValue.ValueString()); err != nil {
		resp.Diagnostics.AddAttributeError(req.Path, "Invalid port", err.Error()+".")
	}
}
