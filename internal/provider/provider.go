// Package provider is Terraform's skin: schemas, models, plans, diagnostics.
// What happens on servers is in the packages of the nouns.
package provider

import (
	"context"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/ephemeral"
	"github.com/hashicorp/terraform-plugin-framework/function"
	"github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-framework/resource"
)

var _ provider.Provider = &kamalProvider{}

type kamalProvider struct{ version string }

// New returns the constructor that the plugin server wants.
func New(version string) func() provider.Provider {
	return func() provider.Provider { return &kamalProvider{version: version} }
}

func (p *kamalProvider) Metadata(_ context.Context, _ provider.MetadataRequest, resp *provider.MetadataResponse) {
	resp.TypeName = "kamal"
	resp.Version = p.version
}

func (p *kamalProvider) Schema(_ context.Context, _ provider.SchemaRequest, resp *provider.SchemaResponse) {
	resp.Schema = providerSchema()
}

// Configure only stores: values may be unknown while planning, and a
// connection that nobody needs should not be made.
func (p *kamalProvider) Configure(ctx context.Context, req provider.ConfigureRequest, resp *provider.ConfigureResponse) {
	var m providerModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	d := newDeps(ctx, m, !req.Config.Raw.IsFullyKnown(), &resp.Diagnostics)
	resp.ResourceData, resp.DataSourceData, resp.EphemeralResourceData = d, d, d
}

func (p *kamalProvider) Resources(context.Context) []func() resource.Resource {
	return []func() resource.Resource{
		newServerResource,
		newFirewallResource,
		newProxyResource,
		newAccessoryResource,
		newTaskResource,
		newAppRoleResource,
		newProxyRouteResource,
	}
}

func (p *kamalProvider) DataSources(context.Context) []func() datasource.DataSource {
	return []func() datasource.DataSource{newExposedPortsDataSource, newServerDataSource}
}

func (p *kamalProvider) EphemeralResources(context.Context) []func() ephemeral.EphemeralResource {
	return nil
}

func (p *kamalProvider) Functions(context.Context) []func() function.Function {
	return []func() function.Function{newPostgresURL, newRedisURL}
}
