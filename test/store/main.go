// Command store is a provider that the tests take secrets from, as users take
// them from a secrets manager: the ephemeral resource and the data source
// store_secret.
//
// A secret is a file in the directory $STORE. The ephemeral resource makes up
// a value of its own where there is no such file, another one each time, as
// short-lived tokens are.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	datasourceschema "github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/ephemeral"
	ephemeralschema "github.com/hashicorp/terraform-plugin-framework/ephemeral/schema"
	"github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-framework/providerserver"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

func main() {
	err := providerserver.Serve(context.Background(), func() provider.Provider { return store{} },
		providerserver.ServeOpts{Address: "registry.terraform.io/hashicorp/store"})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

type store struct{}

func (store) Metadata(_ context.Context, _ provider.MetadataRequest, resp *provider.MetadataResponse) {
	resp.TypeName = "store"
}

func (store) Schema(context.Context, provider.SchemaRequest, *provider.SchemaResponse) {}

func (store) Configure(context.Context, provider.ConfigureRequest, *provider.ConfigureResponse) {}

func (store) Resources(context.Context) []func() resource.Resource { return nil }

func (store) DataSources(context.Context) []func() datasource.DataSource {
	return []func() datasource.DataSource{func() datasource.DataSource { return data{} }}
}

func (store) EphemeralResources(context.Context) []func() ephemeral.EphemeralResource {
	return []func() ephemeral.EphemeralResource{func() ephemeral.EphemeralResource { return token{} }}
}

type secret struct {
	Name  types.String `tfsdk:"name"`
	Value types.String `tfsdk:"value"`
}

func read(name string) (string, error) {
	content, err := os.ReadFile(filepath.Join(os.Getenv("STORE"), name))
	return string(content), err
}

type data struct{}

func (data) Metadata(_ context.Context, _ datasource.MetadataRequest, resp *datasource.MetadataResponse) {
	resp.TypeName = "store_secret"
}

func (data) Schema(_ context.Context, _ datasource.SchemaRequest, resp *datasource.SchemaResponse) {
	resp.Schema = datasourceschema.Schema{Attributes: map[string]datasourceschema.Attribute{
		"name": datasourceschema.StringAttribute{Required: true}, "value": datasourceschema.StringAttribute{Computed: true, Sensitive: true},
	}}
}

func (data) Read(ctx context.Context, req datasource.ReadRequest, resp *datasource.ReadResponse) {
	var s secret
	resp.Diagnostics.Append(req.Config.Get(ctx, &s)...)
	value, err := read(s.Name.ValueString())
	if err != nil {
		resp.Diagnostics.AddError("No such secret", err.Error())
	}
	s.Value = types.StringValue(value)
	resp.Diagnostics.Append(resp.State.Set(ctx, s)...)
}

type token struct{}

func (token) Metadata(_ context.Context, _ ephemeral.MetadataRequest, resp *ephemeral.MetadataResponse) {
	resp.TypeName = "store_secret"
}

func (token) Schema(_ context.Context, _ ephemeral.SchemaRequest, resp *ephemeral.SchemaResponse) {
	resp.Schema = ephemeralschema.Schema{Attributes: map[string]ephemeralschema.Attribute{
		"name": ephemeralschema.StringAttribute{Required: true}, "value": ephemeralschema.StringAttribute{Computed: true},
	}}
}

func (token) Open(ctx context.Context, req ephemeral.OpenRequest, resp *ephemeral.OpenResponse) {
	var s secret
	resp.Diagnostics.Append(req.Config.Get(ctx, &s)...)
	value, err := read(s.Name.ValueString())
	if errors.Is(err, fs.ErrNotExist) {
		value, err = "token-"+rand.Text(), nil
	}
	if err != nil {
		resp.Diagnostics.AddError("No such secret", err.Error())
	}
	s.Value = types.StringValue(value)
	resp.Diagnostics.Append(resp.Result.Set(ctx, s)...)
}
