package provider

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

func TestSchemasAreValid(t *testing.T) {
	ctx := context.Background()
	p := New("test")()
	var schema provider.SchemaResponse
	p.Schema(ctx, provider.SchemaRequest{}, &schema)
	if d := schema.Schema.ValidateImplementation(ctx); d.HasError() {
		t.Errorf("provider: %v", d)
	}
	for _, n := range p.Resources(ctx) {
		r := n()
		var meta resource.MetadataResponse
		r.Metadata(ctx, resource.MetadataRequest{ProviderTypeName: "kamal"}, &meta)
		var schema resource.SchemaResponse
		r.Schema(ctx, resource.SchemaRequest{}, &schema)
		if d := schema.Schema.ValidateImplementation(ctx); d.HasError() {
			t.Errorf("%s: %v", meta.TypeName, d)
		}
		if _, ok := r.(resource.ResourceWithIdentity); !ok {
			t.Errorf("%s has no identity", meta.TypeName)
		}
		if _, ok := r.(resource.ResourceWithImportState); !ok {
			t.Errorf("%s cannot be imported", meta.TypeName)
		}
	}
}

func TestParseRoleID(t *testing.T) {
	for id, want := range map[string]string{
		"shop/web@10.0.0.1": "shop web - 10.0.0.1",
		"shop/web/staging@10.0.0.1,root@[2001:db8::1]:22": "shop web staging 10.0.0.1 root@[2001:db8::1]:22",
		"shop@10.0.0.1":           "error: service/role",
		"shop/web":                "error: NAME@SERVER",
		"shop/web@":               "error: NAME@SERVER",
		"a/b/c/d@10.0.0.1":        "error: service/role",
		"sh op/web@10.0.0.1":      "error: no name",
		"shop/web@10.0.0.1:99999": "error: server",
	} {
		got, err := parseRoleID(id)
		if text, bad := strings.CutPrefix(want, "error: "); bad {
			if err == nil || !strings.Contains(err.Error(), text) {
				t.Errorf("%s: error %v, want one with %q", id, err, text)
			}
			continue
		}
		destination := "-"
		if !got.Destination.IsNull() {
			destination = got.Destination.ValueString()
		}
		is := strings.Join(append([]string{got.Service.ValueString(), got.Role.ValueString(), destination}, stringList(got.Servers)...), " ")
		if err != nil || is != want {
			t.Errorf("%s: %q, %v, want %q", id, is, err, want)
		}
	}
}

func TestOverridesTakeTheRestFromTheProvider(t *testing.T) {
	base := sshexec.Options{User: "root", PrivateKeyFile: "a", Passphrase: "pa", KnownHosts: "kh", HostKeyPolicy: "accept-new"}
	for name, c := range map[string]struct{ over, want sshexec.Options }{
		"nothing":      {sshexec.Options{}, base},
		"another port": {sshexec.Options{Port: 2222}, sshexec.Options{User: "root", Port: 2222, PrivateKeyFile: "a", Passphrase: "pa", KnownHosts: "kh", HostKeyPolicy: "accept-new"}},
		// The passphrase belongs to the key that it came with.
		"another key": {sshexec.Options{PrivateKey: "b"}, sshexec.Options{User: "root", PrivateKey: "b", KnownHosts: "kh", HostKeyPolicy: "accept-new"}},
	} {
		if d := cmp.Diff(c.want, merge(base, c.over)); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

func TestValidatorsTellBadValues(t *testing.T) {
	ctx := context.Background()
	for _, c := range []struct {
		v     validator.String
		good  []string
		bad   []string
		title string
	}{
		{durationValidator{}, []string{"0s", "30s", "1m30s"}, []string{"", "30", "-1s", "1 s"}, "Invalid duration"},
		{durationValidator{Min: 1}, []string{"1ms"}, []string{"0s", "0"}, "Invalid duration"},
		{serverValidator{}, []string{"10.0.0.1", "root@web-1.example.com:2222", "[2001:db8::1]:22", "alias"}, []string{"", "ssh://a", "a b", "a:0", "2001:db8::1"}, "Invalid server address"},
		{imageValidator{}, []string{"shop:v1", "r.example.com:5000/a/shop:v1", "shop@sha256:" + strings.Repeat("a", 64)}, []string{"", "shop", "r.example.com:5000/shop", "Shop:v1", "shop:v 1"}, ""},
		{memoryValidator{}, []string{"512m", "2g", "6291456"}, []string{"", "lots", "1k", "-1m"}, "Invalid amount of memory"},
	} {
		check := func(s string) diag.Diagnostics {
			resp := &validator.StringResponse{}
			c.v.ValidateString(ctx, validator.StringRequest{Path: path.Root("a"), ConfigValue: types.StringValue(s)}, resp)
			return resp.Diagnostics
		}
		for _, s := range c.good {
			if d := check(s); d.HasError() {
				t.Errorf("%T refuses %q: %v", c.v, s, d)
			}
		}
		for _, s := range c.bad {
			if d := check(s); !d.HasError() || !strings.Contains(d[0].Summary(), c.title) {
				t.Errorf("%T on %q: %v", c.v, s, d)
			}
		}
		resp := &validator.StringResponse{}
		c.v.ValidateString(ctx, validator.StringRequest{Path: path.Root("a"), ConfigValue: types.StringUnknown()}, resp)
		if resp.Diagnostics.HasError() {
			t.Errorf("%T refuses what is not known yet", c.v)
		}
	}
}
