package provider

import (
	"context"
	"slices"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/proxy"
)

// ModifyPlan says what an apply will make of each server. It dials nothing:
// everything it needs to know is in the state, which Read has just filled.
func (r *proxyRouteResource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	if req.Plan.Raw.IsNull() {
		return
	}
	var plan, config proxyRouteModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	resp.Diagnostics.Append(req.Config.Get(ctx, &config)...)
	var state *proxyRouteModel
	if !req.State.Raw.IsNull() {
		state = &proxyRouteModel{}
		resp.Diagnostics.Append(req.State.Get(ctx, state)...)
	}
	if resp.Diagnostics.HasError() {
		return
	}
	if config.ForwardHeaders.IsNull() {
		// kamal-proxy's own default.
		plan.ForwardHeaders = types.BoolValue(config.TLS.IsNull())
		if config.TLS.IsUnknown() {
			plan.ForwardHeaders = types.BoolUnknown()
		}
	}
	if state != nil {
		refuseUnseen("kamal_proxy_route "+plan.importID(ctx).ValueString(), plan.Servers, state.Instances, &resp.Diagnostics)
		if resp.Diagnostics.HasError() {
			return
		}
	}
	touches := true
	if state != nil && plan.known(ctx) {
		wanted, diags := plan.route(ctx)
		prior, more := state.route(ctx)
		resp.Diagnostics.Append(append(diags, more...)...)
		plan.spellAs(ctx, *state, proxy.Diff(wanted, prior))
		touches = plan.touches(*state, wanted, prior)
	}
	plan.ID = plan.importID(ctx)
	if touches {
		plan.Instances = plan.plannedInstances(ctx, state)
	} else {
		plan.Instances = state.Instances
	}
	// What has the meaning of the state is planned as the state: the protocol
	// lets a provider do so, and there is no difference to show then.
	resp.Diagnostics.Append(resp.Plan.Set(ctx, plan)...)
}

// known says that everything that a route is made of is known.
func (m proxyRouteModel) known(ctx context.Context) bool {
	for _, v := range []attr.Value{m.Target, m.Servers, m.Hosts, m.PathPrefixes, m.StripPathPrefix, m.TLS, m.CanonicalHost,
		m.ForwardHeaders, m.ResponseTimeout, m.Buffering, m.LogHeaders, m.Maintenance} {
		if !fullyKnown(ctx, v) {
			return false
		}
	}
	return true
}

// spellAs gives what means the same as in the state the state's spelling: 60s
// and 1m, /api/ and /api, another blank line in a certificate.
func (m *proxyRouteModel) spellAs(ctx context.Context, state proxyRouteModel, diff []string) {
	same := func(name string, a, b attr.Value) bool {
		return !slices.Contains(diff, name) && !a.IsNull() && !b.IsNull()
	}
	if same("hosts", m.Hosts, state.Hosts) {
		m.Hosts = state.Hosts
	}
	if same("path_prefixes", m.PathPrefixes, state.PathPrefixes) {
		m.PathPrefixes = state.PathPrefixes
	}
	if same("tls", m.TLS, state.TLS) {
		m.TLS = state.TLS
	}
	if same("response_timeout", m.ResponseTimeout, state.ResponseTimeout) {
		m.ResponseTimeout = state.ResponseTimeout
	}
	if same("log_headers", m.LogHeaders, state.LogHeaders) {
		m.LogHeaders = state.LogHeaders
	}
	t, _ := m.target(ctx)
	was, _ := state.target(ctx)
	if same("target.healthcheck", t.Healthcheck, was.Healthcheck) {
		t.Healthcheck = was.Healthcheck
	}
	if duration(t.DeployTimeout) == duration(was.DeployTimeout) && !was.DeployTimeout.IsNull() {
		t.DeployTimeout = was.DeployTimeout
	}
	if duration(t.DrainTimeout) == duration(was.DrainTimeout) && !was.DrainTimeout.IsNull() {
		t.DrainTimeout = was.DrainTimeout
	}
	m.Target = t.object()
}

// touches says that an apply has something to do on a server. The timeouts
// don't count: kamal-proxy doesn't store them, they go with the next deploy.
func (m proxyRouteModel) touches(state proxyRouteModel, wanted, prior proxy.Route) bool {
	if wanted.Service != prior.Service || len(proxy.Diff(wanted, prior)) > 0 {
		return true
	}
	servers, instances := stringList(m.Servers), state.Instances.Elements()
	if len(servers) != len(instances) {
		return true
	}
	want := wanted.State().String()
	for _, s := range servers {
		o, ok := instances[s].(types.Object)
		if !ok || !o.Attributes()["state"].Equal(types.StringValue(want)) || !o.Attributes()["drift"].Equal(noStrings) {
			return true
		}
	}
	return false
}

// plannedInstances is what instances will be. The targets are unknown for all
// servers: a role that is swapped in the same apply changes them, and so does
// a container that dies between plan and apply.
func (m proxyRouteModel) plannedInstances(ctx context.Context, state *proxyRouteModel) types.Map {
	if !fullyKnown(ctx, m.Servers) {
		return types.MapUnknown(types.ObjectType{AttrTypes: routeInstanceTypes})
	}
	planned := types.StringUnknown()
	if !m.Maintenance.IsUnknown() {
		r := proxy.Route{}
		if !m.Maintenance.IsNull() {
			r.Maintenance = &proxy.Maintenance{}
		}
		planned = types.StringValue(r.State().String())
	}
	machines := map[string]string{}
	if state != nil {
		machines = state.machines()
	}
	elems := map[string]attr.Value{}
	for _, s := range stringList(m.Servers) {
		machine := types.StringUnknown()
		if machines[s] != "" {
			machine = types.StringValue(machines[s])
		}
		elems[s] = types.ObjectValueMust(routeInstanceTypes, map[string]attr.Value{
			"target": types.StringUnknown(), "state": planned, "machine_id": machine, "drift": noStrings})
	}
	return types.MapValueMust(types.ObjectType{AttrTypes: routeInstanceTypes}, elems)
}
