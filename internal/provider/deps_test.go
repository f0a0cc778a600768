package provider

import (
	"context"
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

// configured configures a provider with a configuration whose attributes are
// null but for change's.
func configured(t *testing.T, change func(typ tftypes.Object, values map[string]tftypes.Value)) (*deps, provider.ConfigureResponse) {
	t.Helper()
	ctx := context.Background()
	p := New("test")()
	var schema provider.SchemaResponse
	p.Schema(ctx, provider.SchemaRequest{}, &schema)
	typ := schema.Schema.Type().TerraformType(ctx).(tftypes.Object)
	values := map[string]tftypes.Value{}
	for name, a := range typ.AttributeTypes {
		values[name] = tftypes.NewValue(a, nil)
	}
	change(typ, values)
	var resp provider.ConfigureResponse
	p.Configure(ctx, provider.ConfigureRequest{Config: tfsdk.Config{Schema: schema.Schema, Raw: tftypes.NewValue(typ, values)}}, &resp)
	d, _ := resp.ResourceData.(*deps)
	return d, resp
}

func TestAnyPartOfTheConfigurationMayBeUnknown(t *testing.T) {
	t.Parallel()
	object := func(typ tftypes.Type, name string, v any) tftypes.Value {
		values := map[string]tftypes.Value{}
		for n, a := range typ.(tftypes.Object).AttributeTypes {
			values[n] = tftypes.NewValue(a, nil)
			if n == name {
				values[n] = tftypes.NewValue(a, v)
			}
		}
		return tftypes.NewValue(typ, values)
	}
	for name, change := range map[string]func(tftypes.Object, map[string]tftypes.Value){
		"ssh": func(typ tftypes.Object, values map[string]tftypes.Value) {
			values["ssh"] = tftypes.NewValue(typ.AttributeTypes["ssh"], tftypes.UnknownValue)
		},
		"a value of ssh": func(typ tftypes.Object, values map[string]tftypes.Value) {
			values["ssh"] = object(typ.AttributeTypes["ssh"], "private_key", tftypes.UnknownValue)
		},
		"the bastion": func(typ tftypes.Object, values map[string]tftypes.Value) {
			values["ssh"] = object(typ.AttributeTypes["ssh"], "bastion", tftypes.UnknownValue)
		},
		// { (hcloud_server.web.ipv4_address) = { … } } before the server is made.
		"the servers of server_overrides": func(typ tftypes.Object, values map[string]tftypes.Value) {
			values["server_overrides"] = tftypes.NewValue(typ.AttributeTypes["server_overrides"], tftypes.UnknownValue)
		},
		"a host key": func(typ tftypes.Object, values map[string]tftypes.Value) {
			m := typ.AttributeTypes["server_overrides"].(tftypes.Map)
			values["server_overrides"] = tftypes.NewValue(m, map[string]tftypes.Value{"10.0.0.1": object(m.ElementType, "host_key", tftypes.UnknownValue)})
		},
		"registries": func(typ tftypes.Object, values map[string]tftypes.Value) {
			values["registries"] = tftypes.NewValue(typ.AttributeTypes["registries"], tftypes.UnknownValue)
		},
	} {
		d, resp := configured(t, change)
		if resp.Diagnostics.HasError() || d == nil {
			t.Errorf("%s: %v", name, resp.Diagnostics)
		} else if !d.unknown {
			t.Errorf("%s: the configuration counts as known", name)
		}
	}
	if d, resp := configured(t, func(tftypes.Object, map[string]tftypes.Value) {}); resp.Diagnostics.HasError() || d.unknown {
		t.Errorf("nothing configured: %v", resp.Diagnostics)
	}
}

func TestSecretsOfTheConfigurationAreRedacted(t *testing.T) {
	t.Parallel()
	d, resp := configured(t, func(typ tftypes.Object, values map[string]tftypes.Value) {
		m := typ.AttributeTypes["registries"].(tftypes.Map)
		values["registries"] = tftypes.NewValue(m, map[string]tftypes.Value{"registry.example.com": tftypes.NewValue(m.ElementType, map[string]tftypes.Value{
			"username": tftypes.NewValue(tftypes.String, "deploy"), "password": tftypes.NewValue(tftypes.String, "correct horse"),
		})})
	})
	if resp.Diagnostics.HasError() {
		t.Fatal(resp.Diagnostics)
	}
	if got := d.fleet.Redact("the password is correct horse"); got != "the password is [redacted]" {
		t.Errorf("%q", got)
	}
	if got := d.fleet.Logins["registry.example.com"]; got.Username != "deploy" || got.Password != "correct horse" {
		t.Error("the log-in did not arrive")
	}
}
