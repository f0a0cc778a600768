package provider

import (
	"context"
	"maps"
	"slices"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

// ModifyPlan says what an apply will make of each server. It dials nothing:
// everything it needs to know is in the state, which Read has just filled.
func (r *appRoleResource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	if req.Plan.Raw.IsNull() {
		return
	}
	var plan appRoleModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	if resp.Diagnostics.HasError() {
		return
	}
	var state *appRoleModel
	if !req.State.Raw.IsNull() {
		state = &appRoleModel{}
		resp.Diagnostics.Append(req.State.Get(ctx, state)...)
		if resp.Diagnostics.HasError() {
			return
		}
	}
	if state != nil {
		refuseUnseen("kamal_app_role "+roleID(plan.role()), plan.Servers, state.Instances, &resp.Diagnostics)
		if resp.Diagnostics.HasError() {
			return
		}
	}
	plan.check(ctx, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	if servers, known := texts(plan.Servers); known && (state == nil || !plan.Ports.Equal(state.Ports)) {
		r.deps.warnPublic(plan.role().Prefix(), plan.Ports, servers, &resp.Diagnostics)
	}
	set, known := configSecrets(ctx, req.Config, &resp.Diagnostics)
	checkSecrets(ctx, req.Config, set, plan.Env, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	before, versionBefore := types.MapNull(types.StringType), types.StringNull()
	if state != nil {
		before, versionBefore = state.SecretDigests, state.SecretsVersion
		if known {
			checkLost(ctx, req.Private, path.Root("secrets"), set, slices.Sorted(maps.Keys(before.Elements())), withSecrets, &resp.Diagnostics)
		}
	}
	// The framework marks computed values as unknown exactly where the
	// configuration changes something; a roll-out because of drift is ours to see.
	changes := state == nil || plan.ID.IsUnknown() || plan.rollsOut(ctx, *state)
	digests := planDigests(set, known, before, salt(ctx, req.Private, &resp.Diagnostics), plan.SecretsVersion, versionBefore, changes)
	plan.SecretDigests = digests.digests

	plan.describe()
	plan.Instances = plan.plannedInstances(ctx, state, digests.differ)
	will := func(name string, v attr.Value) {
		resp.Diagnostics.Append(resp.Plan.SetAttribute(ctx, path.Root(name), v)...)
	}
	will("id", plan.ID)
	will("version", plan.Version)
	will("proxy", plan.Proxy)
	will("instances", plan.Instances)
	will("secret_digests", plan.SecretDigests)
}

// check refuses, while planning, what docker would refuse and what could never
// be swapped.
func (m appRoleModel) check(ctx context.Context, diags *diag.Diagnostics) {
	for _, v := range []attr.Value{m.Ports, m.Options, m.Memory, m.AssetPath, m.Boot} {
		if !fullyKnown(ctx, v) {
			return
		}
	}
	spec, d := m.spec(ctx)
	diags.Append(d...)
	addRefusal(diags, "A role that docker can't run", spec.Check())
}

// plannedInstances is what instances will be: the state's on a server where
// nothing has to be done, else what is known already.
func (m appRoleModel) plannedInstances(ctx context.Context, state *appRoleModel, secretsDiffer bool) types.Map {
	unknown := types.MapUnknown(types.ObjectType{AttrTypes: instanceTypes})
	if m.Servers.IsUnknown() {
		return unknown
	}
	for _, s := range m.Servers.Elements() {
		if s.IsUnknown() {
			return unknown
		}
	}
	if state != nil && !secretsDiffer && !m.rollsOut(ctx, *state) {
		return state.Instances
	}
	// Secrets with a version are not compared here, and may be other ones by now:
	// then the deploy replaces the containers that have the old ones, too.
	everywhere := state == nil || secretsDiffer || !m.SecretsVersion.IsNull() || m.changesContainers(ctx, *state)
	elems := map[string]attr.Value{}
	for _, s := range m.Servers.Elements() {
		name := s.(types.String).ValueString()
		machine := attr.Value(types.StringUnknown())
		if state != nil {
			if o, ok := state.Instances.Elements()[name].(types.Object); ok {
				machine = o.Attributes()["machine_id"]
				if !everywhere && m.settled(o) {
					elems[name] = o
					continue
				}
			}
		}
		elems[name] = types.ObjectValueMust(instanceTypes, map[string]attr.Value{
			"container": types.StringUnknown(), "image": m.Image, "digest": types.StringUnknown(),
			"running": types.BoolValue(true), "machine_id": machine, "drift": noStrings,
		})
	}
	return types.MapValueMust(types.ObjectType{AttrTypes: instanceTypes}, elems)
}

// settled says that there is nothing to do on a server, as the state tells.
func (m appRoleModel) settled(instance types.Object) bool {
	a := instance.Attributes()
	return a["running"].Equal(types.BoolValue(true)) && a["image"].Equal(m.Image) && !faulty(a["drift"])
}

// keepPlanned takes over, for the servers of which the plan said that they stay
// as they are, what it said; it tells of those that are not. planned is the
// plan's instances, m has those after the apply.
func (m *appRoleModel) keepPlanned(planned types.Map, diags *diag.Diagnostics) {
	elems := m.Instances.Elements()
	for name, v := range planned.Elements() {
		was, ok := v.(types.Object)
		if !ok || was.IsUnknown() || was.Attributes()["container"].IsUnknown() {
			continue
		}
		is, has := elems[name].(types.Object)
		if has && is.Attributes()["container"].Equal(was.Attributes()["container"]) && is.Attributes()["running"].Equal(was.Attributes()["running"]) {
			elems[name] = was
			continue
		}
		now := "it is gone"
		if has {
			now = "it is container " + is.Attributes()["container"].(types.String).ValueString()
		}
		diags.AddError("Changed since the plan: "+m.role().Prefix()+" on "+name,
			"The plan left it as it was, container "+was.Attributes()["container"].(types.String).ValueString()+"; now "+now+
				".\n\nRunning now: what the state has, which was seen at the end of this apply.\n\nWhat to do: plan again.")
	}
	m.Instances = types.MapValueMust(types.ObjectType{AttrTypes: instanceTypes}, elems)
}

// rollsOut says that an apply has something to do on a server: the
// configuration changes what a container is, or a server isn't as the state's
// configuration has it.
func (m appRoleModel) rollsOut(ctx context.Context, state appRoleModel) bool {
	if m.changesContainers(ctx, state) || m.Servers.IsUnknown() {
		return true
	}
	servers := m.Servers.Elements()
	if len(servers) != len(state.Instances.Elements()) {
		return true
	}
	for _, s := range servers {
		o, ok := state.Instances.Elements()[s.(types.String).ValueString()].(types.Object)
		if !ok || !m.settled(o) {
			return true
		}
	}
	return false
}

// changesContainers says that the configuration differs in what a container is
// made of, whatever its spelling.
func (m appRoleModel) changesContainers(ctx context.Context, state appRoleModel) bool {
	if !m.known(ctx) || m.AssetPath.IsUnknown() {
		return true
	}
	now, diags := m.spec(ctx)
	was, more := state.spec(ctx)
	return diags.HasError() || more.HasError() || len(now.Changes(was)) > 0
}
