package provider

import (
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

func TestAnotherOrderIsNoChange(t *testing.T) {
	t.Parallel()
	list := func(v ...string) types.List { return listValue(v) }
	for name, c := range map[string]struct{ state, config, want types.List }{
		"the same":         {list("a", "b"), list("a", "b"), list("a", "b")},
		"another order":    {list("a", "b", "c"), list("c", "a", "b"), list("a", "b", "c")},
		"one more":         {list("a", "b"), list("b", "a", "c"), list("b", "a", "c")},
		"one less":         {list("a", "b"), list("b"), list("b")},
		"another one":      {list("a", "b"), list("b", "c"), list("b", "c")},
		"twice":            {list("a", "b"), list("b", "b"), list("b", "b")},
		"not there before": {types.ListNull(types.StringType), list("a"), list("a")},
		"not there now":    {list("a"), types.ListNull(types.StringType), types.ListNull(types.StringType)},
		"null after []":    {types.ListValueMust(types.StringType, nil), types.ListNull(types.StringType), types.ListNull(types.StringType)},
		"[] after null":    {types.ListNull(types.StringType), types.ListValueMust(types.StringType, nil), types.ListValueMust(types.StringType, nil)},
		"not known":        {list("a"), types.ListUnknown(types.StringType), types.ListUnknown(types.StringType)},
	} {
		resp := planmodifier.ListResponse{PlanValue: c.config}
		anyOrder{}.PlanModifyList(t.Context(), planmodifier.ListRequest{StateValue: c.state, ConfigValue: c.config, PlanValue: c.config}, &resp)
		if !resp.PlanValue.Equal(c.want) {
			t.Errorf("%s: plans %s, want %s", name, resp.PlanValue, c.want)
		}
	}
}
