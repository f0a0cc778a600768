package provider

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

// noNulls refuses null elements of lists and sets, wherever they are in a
// configuration. One that went by would be a server, a volume or a host less
// than was written, and nobody would know. The CLIs validate once more when
// everything is known, before an apply does anything. Null entries of maps are
// fine: they mean "not set".
type noNulls struct{}

// Every resource and data source, and the provider, have it from what they embed.
var (
	_ resource.ResourceWithConfigValidators     = (*appRoleResource)(nil)
	_ datasource.DataSourceWithConfigValidators = (*exposedPortsDataSource)(nil)
	_ provider.ProviderWithConfigValidators     = (*kamalProvider)(nil)
)

// ConfigValidators are those of every resource.
func (b *base) ConfigValidators(context.Context) []resource.ConfigValidator {
	return []resource.ConfigValidator{noNulls{}}
}

// ConfigValidators are those of every data source.
func (b *dataBase) ConfigValidators(context.Context) []datasource.ConfigValidator {
	return []datasource.ConfigValidator{noNulls{}}
}

func (p *kamalProvider) ConfigValidators(context.Context) []provider.ConfigValidator {
	return []provider.ConfigValidator{noNulls{}}
}

func (noNulls) Description(context.Context) string { return "no element of a list or set may be null" }

func (v noNulls) MarkdownDescription(ctx context.Context) string { return v.Description(ctx) }

func (noNulls) ValidateResource(_ context.Context, req resource.ValidateConfigRequest, resp *resource.ValidateConfigResponse) {
	refuseNulls(req.Config, &resp.Diagnostics)
}

func (noNulls) ValidateDataSource(_ context.Context, req datasource.ValidateConfigRequest, resp *datasource.ValidateConfigResponse) {
	refuseNulls(req.Config, &resp.Diagnostics)
}

func (noNulls) ValidateProvider(_ context.Context, req provider.ValidateConfigRequest, resp *provider.ValidateConfigResponse) {
	refuseNulls(req.Config, &resp.Diagnostics)
}

func refuseNulls(config tfsdk.Config, diags *diag.Diagnostics) {
	var found []path.Path
	err := tftypes.Walk(config.Raw, func(at *tftypes.AttributePath, v tftypes.Value) (bool, error) {
		if t := v.Type(); v.IsNull() || !v.IsKnown() || !t.Is(tftypes.List{}) && !t.Is(tftypes.Set{}) {
			return true, nil
		}
		var elements []tftypes.Value
		if err := v.As(&elements); err != nil {
			return false, err
		}
		for i, e := range elements {
			if e.IsNull() {
				found = append(found, pathOf(at).AtListIndex(i))
			}
		}
		return true, nil
	})
	if err != nil {
		diags.AddError("Unreadable configuration", "This is a bug in the provider: "+err.Error())
	}
	slices.SortFunc(found, func(a, b path.Path) int { return strings.Compare(a.String(), b.String()) })
	for _, at := range found {
		diags.AddAttributeError(at.ParentPath(), "A null in a list",
			fmt.Sprintf("%s is null, and an element of a list can't be: it would be left out without a word. Take it out; compact([…]) leaves nulls out of a list of strings.", at))
	}
}

// pathOf is a path as the framework has it; an element of a set is told by
// its set alone.
func pathOf(at *tftypes.AttributePath) path.Path {
	p := path.Empty()
	for _, step := range at.Steps() {
		switch step := step.(type) {
		case tftypes.AttributeName:
			if p.Equal(path.Empty()) {
				p = path.Root(string(step))
			} else {
				p = p.AtName(string(step))
			}
		case tftypes.ElementKeyString:
			p = p.AtMapKey(string(step))
		case tftypes.ElementKeyInt:
			p = p.AtListIndex(int(step))
		}
	}
	return p
}

// notEmpty refuses a list without elements where that would not mean what it
// means elsewhere, "not set".
type notEmpty struct {
	// Instead says what to write.
	Instead string
}

func (v notEmpty) Description(context.Context) string {
	return "must have an element; instead: " + v.Instead
}

func (v notEmpty) MarkdownDescription(ctx context.Context) string { return v.Description(ctx) }

func (v notEmpty) ValidateList(_ context.Context, req validator.ListRequest, resp *validator.ListResponse) {
	if !req.ConfigValue.IsNull() && !req.ConfigValue.IsUnknown() && len(req.ConfigValue.Elements()) == 0 {
		resp.Diagnostics.AddAttributeError(req.Path, "An empty list", fmt.Sprintf("%s is empty. Instead: %s.", req.Path, v.Instead))
	}
}

// noServers is for servers that are an empty list.
const noServers = "destroy the resource, or set its count to 0"
