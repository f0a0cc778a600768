package provider

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/attr"
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

// stringList, stringSet and stringMap are what a collection says: nil for one
// that is null, unknown or empty, which all mean that nothing is set. An entry
// of a map that is null means so too. In lists and sets noNulls refuses nulls;
// a state of before it did may hold one, which is left out. The set is in order.
func stringList(l types.List) []string {
	return stringsOf(l.Elements())
}

func stringSet(s types.Set) []string {
	out := stringsOf(s.Elements())
	slices.Sort(out)
	return out
}

func stringMap(m types.Map) map[string]string {
	var out map[string]string
	for key, v := range m.Elements() {
		s, ok := v.(types.String)
		if !ok || s.IsNull() {
			continue
		}
		if out == nil {
			out = map[string]string{}
		}
		out[key] = s.ValueString()
	}
	return out
}

func stringsOf(elements []attr.Value) []string {
	var out []string
	for _, v := range elements {
		if s, ok := v.(types.String); ok && !s.IsNull() {
			out = append(out, s.ValueString())
		}
	}
	return out
}

// listValue, setValue and mapValue are null for what is empty.
func listValue(list []string) types.List {
	if len(list) == 0 {
		return types.ListNull(types.StringType)
	}
	elems := make([]attr.Value, len(list))
	for i, s := range list {
		elems[i] = types.StringValue(s)
	}
	return types.ListValueMust(types.StringType, elems)
}

func setValue(list []string) types.Set {
	if len(list) == 0 {
		return types.SetNull(types.StringType)
	}
	return types.SetValueMust(types.StringType, listValue(list).Elements())
}

func mapValue(m map[string]string) types.Map {
	if len(m) == 0 {
		return types.MapNull(types.StringType)
	}
	elems := make(map[string]attr.Value, len(m))
	for k, v := range m {
		elems[k] = types.StringValue(v)
	}
	return types.MapValueMust(types.StringType, elems)
}
