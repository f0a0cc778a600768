package provider

import (
	"context"
	"errors"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
)

// unseenMark begins the one sentence of drift that an unseen instance has.
const unseenMark = "not seen: "

// unseen is the instance of a server that is gone: what the state said, and
// why nobody knows whether it still holds, with the advice that fits on the
// lines behind. Read can't tell whether the server
// is leaving the resource in this very plan; refuseUnseen, which can, makes an
// error of it otherwise.
func (d *deps) unseen(ctx context.Context, in types.Object, err error) types.Object {
	why := d.fleet.Redact(strings.ReplaceAll(err.Error(), "\n", " ") + "\n" + fleet.AdviceFor(err))
	a := in.Attributes()
	a["drift"] = types.ListValueMust(types.StringType, []attr.Value{types.StringValue(unseenMark + why)})
	return types.ObjectValueMust(in.AttributeTypes(ctx), a)
}

// refuseUnseen makes an error of each server that Read could not ask and that
// stays in servers: to plan on what nobody saw would be a guess.
func refuseUnseen(what string, servers types.List, instances types.Map, diags *diag.Diagnostics) {
	for _, s := range servers.Elements() {
		name, ok := s.(types.String)
		if !ok || name.IsUnknown() {
			continue
		}
		in, ok := instances.Elements()[name.ValueString()].(types.Object)
		if !ok {
			continue
		}
		drift, ok := in.Attributes()["drift"].(types.List)
		if !ok || len(drift.Elements()) != 1 {
			continue
		}
		sentence, _ := drift.Elements()[0].(types.String)
		why, ok := strings.CutPrefix(sentence.ValueString(), unseenMark)
		if !ok {
			continue
		}
		why, advice, _ := strings.Cut(why, "\n")
		f := fleet.Failure{What: "read " + what, Server: name.ValueString(), Err: errors.New(why),
			Running: "not known. The state is kept as it was.",
			Next:    strings.TrimSpace(advice + "\nIf the server is gone for good, take it out of servers: what was on it is then forgotten.")}
		diags.AddAttributeError(path.Root("servers"), f.Summary(), f.Detail())
	}
}
