package provider

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/firewall"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
)

var (
	_ resource.ResourceWithConfigure      = &firewallResource{}
	_ resource.ResourceWithIdentity       = &firewallResource{}
	_ resource.ResourceWithImportState    = &firewallResource{}
	_ resource.ResourceWithModifyPlan     = &firewallResource{}
	_ resource.ResourceWithValidateConfig = &firewallResource{}
)

type firewallResource struct{ base }

func newFirewallResource() resource.Resource { return &firewallResource{} }

func (r *firewallResource) Metadata(_ context.Context, _ resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = "kamal_firewall"
	resp.ResourceBehavior.MutableIdentity = true
}

func (r *firewallResource) Schema(ctx context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	resp.Schema = firewallSchema(ctx)
}

func (r *firewallResource) IdentitySchema(_ context.Context, _ resource.IdentitySchemaRequest, resp *resource.IdentitySchemaResponse) {
	resp.IdentitySchema = serverIdentitySchema()
}

func (r *firewallResource) ValidateConfig(ctx context.Context, req resource.ValidateConfigRequest, resp *resource.ValidateConfigResponse) {
	var m firewallModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	spec, places, _, diags := m.spec(ctx)
	resp.Diagnostics.Append(diags...)
	for _, err := range spec.Validate() {
		invalid(&resp.Diagnostics, places, err)
	}
}

// ModifyPlan says what will be, and warns where the rules close a port of
// kamal-proxy. It dials nothing: which ports those are, the last Read found.
func (r *firewallResource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	if req.Plan.Raw.IsNull() {
		return
	}
	var plan firewallModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	if resp.Diagnostics.HasError() {
		return
	}
	spec, _, known, diags := plan.spec(ctx)
	resp.Diagnostics.Append(diags...)
	if known && !plan.Server.IsUnknown() {
		r.deps.planFirewall(plan.Server.ValueString(), spec)
	}
	set := func(attribute string, v any) {
		resp.Diagnostics.Append(resp.Plan.SetAttribute(ctx, path.Root(attribute), v)...)
	}
	set("id", plan.Server)
	set("drift", textList(ctx, nil))
	interfaces, interfacesKnown := texts(plan.Interfaces)
	switch {
	case !interfacesKnown:
		set("guarded_interfaces", types.ListUnknown(types.StringType))
	case len(interfaces) > 0:
		set("guarded_interfaces", textList(ctx, slices.Sorted(slices.Values(interfaces))))
	}
	if req.State.Raw.IsNull() {
		return
	}
	var state firewallModel
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	if resp.Diagnostics.HasError() {
		return
	}
	moved := !plan.Server.Equal(state.Server)
	if len(interfaces) == 0 && interfacesKnown && (moved || !plan.Interfaces.Equal(state.Interfaces)) {
		set("guarded_interfaces", types.ListUnknown(types.StringType))
	}
	if moved {
		set("backend", types.StringUnknown())
		set("machine_id", types.StringUnknown())
	} else if known {
		r.warnClosed(&resp.Diagnostics, plan.Server.ValueString(), closed(spec, loadProxyPorts(ctx, req.Private)))
	}
}

func (r *firewallResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var plan firewallModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	if resp.Diagnostics.HasError() {
		return
	}
	timeout, diags := plan.Timeouts.Create(ctx, 5*time.Minute)
	resp.Diagnostics.Append(diags...)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()

	snap := r.apply(ctx, &plan, "", resp.Private, &resp.Diagnostics)
	if snap == nil {
		return
	}
	if spec, _, _, d := plan.spec(ctx); !d.HasError() { // a plan of something new could not know the ports
		r.warnClosed(&resp.Diagnostics, plan.Server.ValueString(), closed(spec, firewall.ProxyPorts(snap)))
	}
	resp.Diagnostics.Append(resp.Identity.Set(ctx, serverIdentity{plan.Server})...)
	resp.Diagnostics.Append(resp.State.Set(ctx, plan)...)
}

func (r *firewallResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var m firewallModel
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	resp.Diagnostics.Append(resp.Identity.Set(ctx, serverIdentity{m.Server})...)
	name := m.Server.ValueString()
	importing := m.ID.IsNull()
	snap := r.look(ctx, "kamal_firewall", name, importing, m.Timeouts, req.Private, resp)
	if snap == nil {
		return
	}
	o, err := firewall.Observe(snap)
	if err == nil {
		err = o.Denial()
	}
	switch {
	case err != nil:
		r.deps.addError(&resp.Diagnostics, "read the firewall", name, err)
		return
	case importing && o.Spec == nil:
		r.deps.addError(&resp.Diagnostics, "import the firewall", name, &fleet.Failure{What: "import the firewall", Server: name,
			Cause: "there is none of this provider, or one whose first apply did not come to its end.", Next: "create it: apply without importing it first."})
		return
	case importing:
		resp.Diagnostics.Append(m.imported(ctx, *o.Spec)...)
	case !o.Present():
		resp.State.RemoveResource(ctx)
		return
	}
	spec, _, _, diags := m.spec(ctx)
	resp.Diagnostics.Append(diags...)
	drift, err := firewall.Drift(spec, snap)
	if err != nil {
		r.deps.addError(&resp.Diagnostics, "read the firewall", name, err)
		return
	}
	m.ID = m.Server
	m.Drift = textList(ctx, drift)
	m.facts(ctx, o, spec, snap)
	resp.Diagnostics.Append(saveProxyPorts(ctx, resp.Private, snap)...)
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}

func (r *firewallResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var plan, state firewallModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	resp.Diagnostics.Append(r.deps.loadPins(ctx, req.Private)...)
	if resp.Diagnostics.HasError() {
		return
	}
	timeout, diags := plan.Timeouts.Update(ctx, 5*time.Minute)
	resp.Diagnostics.Append(diags...)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()

	snap := r.apply(ctx, &plan, state.MachineID.ValueString(), resp.Private, &resp.Diagnostics)
	if snap == nil {
		return
	}
	if name, before := plan.Server.ValueString(), state.Server.ValueString(); name != before && snap.Facts.MachineID != state.MachineID.ValueString() {
		r.deps.addWarning(&resp.Diagnostics, fmt.Sprintf("%s is another machine than %s", name, before),
			fmt.Sprintf("%s is guarded now. %s keeps its firewall as it was; it is no longer managed.", name, before))
	}
	resp.Diagnostics.Append(resp.Identity.Set(ctx, serverIdentity{plan.Server})...)
	resp.Diagnostics.Append(resp.State.Set(ctx, plan)...)
}

func (r *firewallResource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	var state firewallModel
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	resp.Diagnostics.Append(r.deps.loadPins(ctx, req.Private)...)
	if resp.Diagnostics.HasError() {
		return
	}
	timeout, diags := state.Timeouts.Delete(ctx, 5*time.Minute)
	resp.Diagnostics.Append(diags...)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()

	name := state.Server.ValueString()
	err := firewall.Remove(ctx, r.deps.fleet.Server(name))
	if fleet.IsUnreachable(err) && r.deps.fleet.KeepUnreachable {
		r.deps.addWarning(&resp.Diagnostics, "The firewall was not removed from "+name,
			fmt.Sprintf("%v\n\nIt is forgotten all the same, because on_unreachable is \"keep\".", err))
		return
	}
	r.deps.addError(&resp.Diagnostics, "remove the firewall", name, err)
}

func (r *firewallResource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	importServer(ctx, req, resp)
}

// apply makes the server as planned and fills what the plan left open. It
// returns nil where it fails.
func (r *firewallResource) apply(ctx context.Context, plan *firewallModel, ours string, private privateWriter, diags *diag.Diagnostics) *fleet.Snapshot {
	name := plan.Server.ValueString()
	spec, places, _, d := plan.spec(ctx)
	diags.Append(d...)
	if diags.HasError() {
		return nil
	}
	snap, err := firewall.Apply(ctx, r.deps.fleet.Server(name), spec, ours)
	if err != nil {
		if !invalid(diags, places, err) {
			r.deps.addError(diags, "set up the firewall", name, err)
		}
		return nil
	}
	o, err := firewall.Observe(snap)
	if err != nil {
		r.deps.addError(diags, "set up the firewall", name, err)
		return nil
	}
	seen := firewallModel{}
	seen.facts(ctx, o, spec, snap)
	known(&plan.GuardedInterfaces, seen.GuardedInterfaces)
	known(&plan.Backend, seen.Backend)
	known(&plan.MachineID, seen.MachineID)
	diags.Append(r.deps.savePins(ctx, private, []string{name})...)
	diags.Append(saveProxyPorts(ctx, private, snap)...)
	return snap
}

func (r *firewallResource) warnClosed(diags *diag.Diagnostics, server string, ports []firewall.Port) {
	for _, p := range ports {
		summary, detail := closedProxyPort(p.Port, server)
		r.deps.addWarning(diags, summary, detail)
	}
}
