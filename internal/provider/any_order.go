package provider

import (
	"context"
	"slices"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
)

// anyOrder plans a list as the state has it where the configuration has the
// same elements in another order. Of mounts and ports the order means nothing,
// and Docker's own is by chance: an import could not show that of the
// configuration.
type anyOrder struct{}

var _ planmodifier.List = anyOrder{}

func (anyOrder) Description(context.Context) string { return "The order means nothing." }

func (m anyOrder) MarkdownDescription(ctx context.Context) string { return m.Description(ctx) }

func (anyOrder) PlanModifyList(ctx context.Context, req planmodifier.ListRequest, resp *planmodifier.ListResponse) {
	if req.StateValue.IsNull() || !fullyKnown(ctx, req.PlanValue) || len(req.PlanValue.Elements()) == 0 {
		return // null and [] say the same, and each has to be planned as it was written
	}
	left := slices.Clone(req.StateValue.Elements())
	for _, e := range req.PlanValue.Elements() {
		i := slices.IndexFunc(left, func(v attr.Value) bool { return v.Equal(e) })
		if i < 0 {
			return
		}
		left = slices.Delete(left, i, i+1)
	}
	if len(left) == 0 {
		resp.PlanValue = req.StateValue
	}
}
