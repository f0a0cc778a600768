package provider

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

// duration is the value of a duration attribute; zero where it is null, unknown or not valid (a validator tells that).
func duration(v types.String) time.Duration {
	d, _ := time.ParseDuration(v.ValueString())
	return d
}

// durationValidator accepts what time.ParseDuration does, if it is not negative and at least Min.
type durationValidator struct{ Min time.Duration }

func (v durationValidator) Description(context.Context) string {
	if v.Min > 0 {
		return fmt.Sprintf("a duration of at least %s, as in \"30s\" or \"1m30s\"", v.Min)
	}
	return "a duration, as in \"30s\" or \"1m30s\""
}

func (v durationValidator) MarkdownDescription(ctx context.Context) string { return v.Description(ctx) }

func (v durationValidator) ValidateString(ctx context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	if req.ConfigValue.IsNull() || req.ConfigValue.IsUnknown() {
		return
	}
	d, err := time.ParseDuration(req.ConfigValue.ValueString())
	if err != nil || d < v.Min || d < 0 {
		// The path, because the CLIs don't show where it is inside an object.
		resp.Diagnostics.AddAttributeError(req.Path, "Invalid duration",
			fmt.Sprintf("Attribute %s: %q is not %s.", req.Path, req.ConfigValue.ValueString(), v.Description(ctx)))
	}
}

// serverValidator accepts `[user@]address[:port]` and aliases of an SSH configuration.
type serverValidator struct{}

func (serverValidator) Description(context.Context) string {
	return "a server: [user@]address[:port], IPv6 in brackets"
}

func (v serverValidator) MarkdownDescription(ctx context.Context) string { return v.Description(ctx) }

func (v serverValidator) ValidateString(_ context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	if req.ConfigValue.IsNull() || req.ConfigValue.IsUnknown() {
		return
	}
	if _, err := sshexec.ParseDestination(req.ConfigValue.ValueString()); err != nil {
		resp.Diagnostics.AddAttributeError(req.Path, "Invalid server address", err.Error()+
			".\nA server is written as [user@]address[:port], an IPv6 address in brackets, or as an alias of the SSH configuration.")
	}
}
