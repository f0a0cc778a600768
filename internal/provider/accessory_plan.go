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

// ModifyPlan says what an apply will make of the container. It dials nothing:
// everything it needs to know is in the state, which Read has just filled.
func (r *accessoryResource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	if req.Plan.Raw.IsNull() {
		return
	}
	var plan accessoryModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	var state *accessoryModel
	if !req.State.Raw.IsNull() {
		state = &accessoryModel{}
		resp.Diagnostics.Append(req.State.Get(ctx, state)...)
	}
	if resp.Diagnostics.HasError() {
		return
	}
	variables, known := configSecrets(ctx, req.Config, &resp.Diagnostics)
	checkSecrets(ctx, req.Config, variables, plan.Env, &resp.Diagnostics)
	files, filesKnown := configFileSecrets(ctx, req.Config, &resp.Diagnostics)
	checkFileSecrets(files, &resp.Diagnostics)
	set := union(variables, files)
	known = known && filesKnown
	plan.check(ctx, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	before, versionBefore := types.MapNull(types.StringType), types.StringNull()
	if state != nil {
		before, versionBefore = state.SecretDigests, state.SecretsVersion
		if known {
			var ofVariables, ofFiles []string
			for _, name := range slices.Sorted(maps.Keys(before.Elements())) {
				if isFilePath(name) {
					ofFiles = append(ofFiles, name)
				} else {
					ofVariables = append(ofVariables, name)
				}
			}
			checkLost(ctx, req.Private, path.Root("secrets"), variables, ofVariables, withSecrets, &resp.Diagnostics)
			checkLost(ctx, req.Private, path.Root("files"), files, ofFiles, "Give each file of them its secret_content, as it is on the server.", &resp.Diagnostics)
		}
	}
	if state == nil || !plan.Ports.Equal(state.Ports) {
		r.deps.warnPublic(plan.full(), plan.Ports, []string{plan.Server.ValueString()}, &resp.Diagnostics)
	}
	// The framework marks computed values as unknown exactly where the
	// configuration changes something; a replacement because of drift is ours to see.
	replaces := state == nil || plan.replaces(ctx, *state)
	digests := planDigests(set, known, before, salt(ctx, req.Private, &resp.Diagnostics), plan.SecretsVersion, versionBefore,
		replaces || plan.ID.IsUnknown())
	plan.SecretDigests = digests.digests
	plan.describe()
	plan.setPlanned(state, replaces || digests.differ)
	for name, v := range map[string]attr.Value{
		"id": plan.ID, "proxy": plan.Proxy, "secret_digests": plan.SecretDigests, "container": plan.Container, "digest": plan.Digest,
		"running": plan.Running, "machine_id": plan.MachineID, "drift": plan.Drift,
	} {
		resp.Diagnostics.Append(resp.Plan.SetAttribute(ctx, path.Root(name), v)...)
	}
}

// check refuses, while planning, what docker would refuse.
func (m accessoryModel) check(ctx context.Context, diags *diag.Diagnostics) {
	for _, v := range []attr.Value{m.Ports, m.Volumes, m.Directories, m.Files, m.SecretsAsFiles, m.Options, m.Memory} {
		if !fullyKnown(ctx, v) {
			return
		}
	}
	spec, d := m.spec(ctx)
	diags.Append(d...)
	addRefusal(diags, "An accessory that docker can't run", spec.Check())
}

// setPlanned fills what will be of the container: what is, unless it is replaced.
func (m *accessoryModel) setPlanned(state *accessoryModel, replaced bool) {
	m.MachineID = types.StringUnknown()
	if state != nil {
		// Another machine is refused, so that this comes true.
		m.MachineID = state.MachineID
	}
	if state != nil && !replaced {
		m.Container, m.Digest, m.Running, m.Drift = state.Container, state.Digest, state.Running, state.Drift
		return
	}
	m.Container, m.Digest, m.Running = types.StringUnknown(), types.StringUnknown(), types.BoolValue(true)
	m.Drift = stringsValue(nil)
}

// replaces says that an apply has something to do with the container: the
// configuration changes what it is made of or where it is, or it isn't as the
// state has it.
func (m accessoryModel) replaces(ctx context.Context, state accessoryModel) bool {
	if !m.Server.Equal(state.Server) || !state.Running.ValueBool() || faulty(state.Drift) {
		return true
	}
	if !m.known(ctx) || !fullyKnown(ctx, m.Directories) || !fullyKnown(ctx, m.Files) || !fullyKnown(ctx, m.Network) {
		return true
	}
	now, diags := m.spec(ctx)
	was, more := state.spec(ctx)
	return diags.HasError() || more.HasError() || len(now.Changes(was)) > 0
}
