package provider

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/providerserver"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

// refusedEmpty are the lists that mean something else than "not set" when they
// are empty, with a part of what to write instead.
var refusedEmpty = map[string]string{
	"kamal_app_role.servers": "destroy the resource", "kamal_proxy_route.servers": "destroy the resource",
	"kamal_app_role.verify": "to verify nothing", "kamal_task.command": "write the command",
	"kamal_proxy_route.hosts": "any host", "kamal_proxy_route.path_prefixes": `["/"]`,
	"kamal_proxy.bind_addresses": "all addresses", "kamal_firewall.interfaces": "default routes", "kamal_firewall.allow.sources": "take the rule out for nowhere",
}

// Of every collection at every depth: a null in it, and none in it.
func TestNullsAndNothingInEveryCollection(t *testing.T) {
	t.Parallel()
	server := providerserver.NewProtocol6(New("test")())()
	schemas, err := server.GetProviderSchema(t.Context(), &tfprotov6.GetProviderSchemaRequest{})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	check := func(owner string, schema *tfprotov6.Schema, validate func(*tfprotov6.DynamicValue) []*tfprotov6.Diagnostic) {
		for _, c := range collectionsOf(schema.Block.Attributes, nil) {
			if c.attribute.Computed && !c.attribute.Optional {
				continue
			}
			name := owner + "." + c.name()
			seen[name] = true
			errorAt := func(value tftypes.Value) string {
				config := c.config(schema.ValueType().(tftypes.Object), value)
				encoded, err := tfprotov6.NewDynamicValue(schema.ValueType(), config)
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				for _, d := range validate(&encoded) {
					if d.Severity == tfprotov6.DiagnosticSeverityError && plainPath(d.Attribute) == c.name() {
						return d.Summary + ": " + d.Detail
					}
				}
				return ""
			}
			kind := c.attribute.ValueType()
			_, isMap := kind.(tftypes.Map)
			with := func(elements ...tftypes.Value) tftypes.Value {
				if isMap {
					entries := map[string]tftypes.Value{}
					for i, e := range elements {
						entries[keysOf(name)[i]] = e
					}
					return tftypes.NewValue(kind, entries)
				}
				return tftypes.NewValue(kind, elements)
			}
			element := elementOf(kind)
			null, unknown := tftypes.NewValue(element, nil), tftypes.NewValue(element, tftypes.UnknownValue)
			got := errorAt(with(unknown, null))
			if isMap && got != "" {
				t.Errorf("%s with a null entry, which means not set: %s", name, got)
			} else if !isMap && (!strings.Contains(got, "A null in a list") || !strings.Contains(got, "[1] is null")) {
				t.Errorf("%s with a null element: %q", name, got)
			}
			if got := errorAt(with()); refusedEmpty[name] == "" && got != "" {
				t.Errorf("%s with nothing in it: %s", name, got)
			} else if instead := refusedEmpty[name]; instead != "" && !strings.Contains(got, instead) {
				t.Errorf("%s with nothing in it: %q, want an error that says %q", name, got, instead)
			}
			if got := errorAt(tftypes.NewValue(kind, tftypes.UnknownValue)); got != "" {
				t.Errorf("%s, not yet known: %s", name, got)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(schemas.ResourceSchemas)) {
		check(name, schemas.ResourceSchemas[name], func(config *tfprotov6.DynamicValue) []*tfprotov6.Diagnostic {
			resp, err := server.ValidateResourceConfig(t.Context(), &tfprotov6.ValidateResourceConfigRequest{TypeName: name, Config: config,
				ClientCapabilities: &tfprotov6.ValidateResourceConfigClientCapabilities{WriteOnlyAttributesAllowed: true}})
			if err != nil {
				t.Fatal(err)
			}
			return resp.Diagnostics
		})
	}
	for _, name := range slices.Sorted(maps.Keys(schemas.DataSourceSchemas)) {
		check("data."+name, schemas.DataSourceSchemas[name], func(config *tfprotov6.DynamicValue) []*tfprotov6.Diagnostic {
			resp, err := server.ValidateDataResourceConfig(t.Context(), &tfprotov6.ValidateDataResourceConfigRequest{TypeName: name, Config: config})
			if err != nil {
				t.Fatal(err)
			}
			return resp.Diagnostics
		})
	}
	check("provider", schemas.Provider, func(config *tfprotov6.DynamicValue) []*tfprotov6.Diagnostic {
		resp, err := server.ValidateProviderConfig(t.Context(), &tfprotov6.ValidateProviderConfigRequest{Config: config})
		if err != nil {
			t.Fatal(err)
		}
		return resp.Diagnostics
	})
	if len(seen) < 40 {
		t.Errorf("only %d collections were found: %q", len(seen), slices.Sorted(maps.Keys(seen)))
	}
	for name := range refusedEmpty {
		if !seen[name] {
			t.Errorf("there is no %s", name)
		}
	}
}

// keysOf are two keys that a map takes.
func keysOf(name string) [2]string {
	switch _, last, _ := strings.Cut(name, "options."); last {
	case "sysctls":
		return [2]string{"net.core.somaxconn", "kernel.msgmax"}
	case "tmpfs":
		return [2]string{"/a", "/b"}
	case "ulimits":
		return [2]string{"nofile", "nproc"}
	}
	return [2]string{"A", "B"}
}

// A collection is an attribute that holds elements, with what leads to it.
type collection struct {
	path      []*tfprotov6.SchemaAttribute // from the root, attribute is the last
	attribute *tfprotov6.SchemaAttribute
}

func (c collection) name() string {
	var names []string
	for _, a := range c.path {
		names = append(names, a.Name)
	}
	return strings.Join(names, ".")
}

func collectionsOf(attributes []*tfprotov6.SchemaAttribute, above []*tfprotov6.SchemaAttribute) (out []collection) {
	for _, a := range attributes {
		path := append(slices.Clone(above), a)
		if elementOf(a.ValueType()) != nil {
			out = append(out, collection{path, a})
		}
		if a.NestedType != nil {
			out = append(out, collectionsOf(a.NestedType.Attributes, path)...)
		}
	}
	return out
}

// elementOf is the type of a collection's elements, nil if it is none.
func elementOf(t tftypes.Type) tftypes.Type {
	switch t := t.(type) {
	case tftypes.List:
		return t.ElementType
	case tftypes.Set:
		return t.ElementType
	case tftypes.Map:
		return t.ElementType
	}
	return nil
}

// config is a configuration with the value at the collection's place, and all
// else null or, where a collection of objects leads to it, one object.
func (c collection) config(object tftypes.Object, value tftypes.Value) tftypes.Value {
	return within(object, c.path, value)
}

func within(object tftypes.Object, path []*tfprotov6.SchemaAttribute, value tftypes.Value) tftypes.Value {
	attributes := map[string]tftypes.Value{}
	for name, t := range object.AttributeTypes {
		attributes[name] = tftypes.NewValue(t, nil)
	}
	here := path[0]
	if len(path) == 1 {
		attributes[here.Name] = value
		return tftypes.NewValue(object, attributes)
	}
	switch t := here.ValueType().(type) {
	case tftypes.Object:
		attributes[here.Name] = within(t, path[1:], value)
	case tftypes.List:
		attributes[here.Name] = tftypes.NewValue(t, []tftypes.Value{within(t.ElementType.(tftypes.Object), path[1:], value)})
	case tftypes.Map:
		attributes[here.Name] = tftypes.NewValue(t, map[string]tftypes.Value{"x": within(t.ElementType.(tftypes.Object), path[1:], value)})
	}
	return tftypes.NewValue(object, attributes)
}

// plainPath is a path without keys and indices.
func plainPath(p *tftypes.AttributePath) string {
	var names []string
	for _, step := range p.Steps() {
		if name, ok := step.(tftypes.AttributeName); ok {
			names = append(names, string(name))
		}
	}
	return strings.Join(names, ".")
}

// What is null or empty says the same as what is not there.
func TestAbsentValues(t *testing.T) {
	t.Parallel()
	null, a := types.StringNull(), types.StringValue("a")
	if got := stringMap(types.MapValueMust(types.StringType, map[string]attr.Value{"A": a, "B": null})); !maps.Equal(got, map[string]string{"A": "a"}) {
		t.Errorf("a null entry: %q", got)
	}
	for name, m := range map[string]types.Map{"null": types.MapNull(types.StringType), "unknown": types.MapUnknown(types.StringType),
		"empty": types.MapValueMust(types.StringType, nil), "of nulls": types.MapValueMust(types.StringType, map[string]attr.Value{"B": null})} {
		if got := stringMap(m); got != nil {
			t.Errorf("a map that is %s: %q", name, got)
		}
	}
	for name, l := range map[string]types.List{"null": types.ListNull(types.StringType), "unknown": types.ListUnknown(types.StringType),
		"empty": types.ListValueMust(types.StringType, nil)} {
		if got := stringList(l); got != nil {
			t.Errorf("a list that is %s: %q", name, got)
		}
	}
	// As a state of before nulls were refused may have it.
	if got := stringList(types.ListValueMust(types.StringType, []attr.Value{a, null})); !slices.Equal(got, []string{"a"}) {
		t.Errorf("a list with a null: %q", got)
	}
}
