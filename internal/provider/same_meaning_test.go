package provider

import (
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

func TestAnotherSpellingIsPlannedAsItWas(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		of                  func(string) string
		before, given, want types.String
	}{
		"a duration":       {durationMeaning, types.StringValue("60s"), types.StringValue("1m"), types.StringValue("60s")},
		"another one":      {durationMeaning, types.StringValue("60s"), types.StringValue("2m"), types.StringValue("2m")},
		"a size":           {sizeMeaning, types.StringValue("256m"), types.StringValue("268435456"), types.StringValue("256m")},
		"in other letters": {sizeMeaning, types.StringValue("1g"), types.StringValue("1024M"), types.StringValue("1g")},
		"another size":     {sizeMeaning, types.StringValue("256m"), types.StringValue("256"), types.StringValue("256")},
		"no limit":         {sizeMeaning, types.StringValue("-1"), types.StringValue("256m"), types.StringValue("256m")},
		"set":              {sizeMeaning, types.StringNull(), types.StringValue("256m"), types.StringValue("256m")},
		"taken away":       {sizeMeaning, types.StringValue("256m"), types.StringNull(), types.StringNull()},
		"not known yet":    {sizeMeaning, types.StringValue("256m"), types.StringUnknown(), types.StringUnknown()},
		"what is neither":  {durationMeaning, types.StringValue(""), types.StringValue("x"), types.StringValue("x")},
	} {
		resp := planmodifier.StringResponse{PlanValue: tt.given}
		sameMeaning{tt.of}.PlanModifyString(t.Context(), planmodifier.StringRequest{StateValue: tt.before, PlanValue: tt.given}, &resp)
		if !resp.PlanValue.Equal(tt.want) {
			t.Errorf("%s: %s, want %s", name, resp.PlanValue, tt.want)
		}
	}
}

// Every text with a meaning has it in every resource, within objects too.
func TestEveryDurationAndSizeKeepsItsSpelling(t *testing.T) {
	t.Parallel()
	found := map[string]int{}
	var walk func(of string, attributes map[string]schema.Attribute)
	walk = func(of string, attributes map[string]schema.Attribute) {
		for name, a := range attributes {
			switch a := a.(type) {
			case schema.SingleNestedAttribute:
				walk(of, a.Attributes)
			case schema.StringAttribute:
				if meaningOf(a.Validators) == nil {
					continue
				}
				found[of]++
				if len(a.PlanModifiers) == 0 {
					t.Errorf("%s: %s", of, name)
				}
			}
		}
	}
	ctx := t.Context()
	for of, s := range map[string]schema.Schema{"role": appRoleSchema(ctx), "accessory": accessorySchema(ctx), "task": taskSchema(),
		"route": proxyRouteSchema(ctx), "server": serverResourceSchema(ctx)} {
		walk(of, s.Attributes)
		if found[of] == 0 {
			t.Errorf("none in %s", of)
		}
	}
	if found["role"] < 10 {
		t.Errorf("only %d in a role", found["role"])
	}
}
