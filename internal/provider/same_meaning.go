package provider

import (
	"context"
	"strconv"
	"time"

	"github.com/docker/go-units"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
)

// sameMeaning plans a text as the state has it where the configuration's says
// the same: "1m" and "60s", "256m" and "268435456". The CLIs let a plan keep
// what was there before.
type sameMeaning struct {
	// of is a text's meaning, "" for none.
	of func(string) string
}

func (sameMeaning) Description(context.Context) string { return "Another spelling is no change." }

func (m sameMeaning) MarkdownDescription(ctx context.Context) string { return m.Description(ctx) }

func (m sameMeaning) PlanModifyString(_ context.Context, req planmodifier.StringRequest, resp *planmodifier.StringResponse) {
	if req.StateValue.IsNull() || req.StateValue.IsUnknown() || req.PlanValue.IsNull() || req.PlanValue.IsUnknown() {
		return
	}
	if is := m.of(req.PlanValue.ValueString()); is != "" && is == m.of(req.StateValue.ValueString()) {
		resp.PlanValue = req.StateValue
	}
}

func durationMeaning(s string) string {
	d, err := time.ParseDuration(s)
	if err != nil {
		return ""
	}
	return d.String()
}

func sizeMeaning(s string) string {
	n, err := units.RAMInBytes(s)
	if err != nil {
		return ""
	}
	return strconv.FormatInt(n, 10)
}

// withMeanings are attributes of which those texts keep their spelling whose
// validator says that they are durations or sizes: so that none is forgotten.
func withMeanings(attributes map[string]schema.Attribute) map[string]schema.Attribute {
	for name, a := range attributes {
		switch a := a.(type) {
		case schema.StringAttribute:
			if of := meaningOf(a.Validators); of != nil {
				a.PlanModifiers = append(a.PlanModifiers, sameMeaning{of})
				attributes[name] = a
			}
		case schema.SingleNestedAttribute:
			a.Attributes = withMeanings(a.Attributes)
			attributes[name] = a
		}
	}
	return attributes
}

func meaningOf(validators []validator.String) func(string) string {
	for _, v := range validators {
		switch v.(type) {
		case durationValidator:
			return durationMeaning
		case memoryValidator, swapValidator:
			return sizeMeaning
		}
	}
	return nil
}
