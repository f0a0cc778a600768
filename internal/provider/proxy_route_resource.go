package provider

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/kamal"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/proxy"
)

var (
	_ resource.ResourceWithConfigure      = &proxyRouteResource{}
	_ resource.ResourceWithIdentity       = &proxyRouteResource{}
	_ resource.ResourceWithImportState    = &proxyRouteResource{}
	_ resource.ResourceWithModifyPlan     = &proxyRouteResource{}
	_ resource.ResourceWithValidateConfig = &proxyRouteResource{}
)

type proxyRouteResource struct{ base }

func newProxyRouteResource() resource.Resource { return &proxyRouteResource{} }

func (r *proxyRouteResource) Metadata(_ context.Context, _ resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = "kamal_proxy_route"
	// The identity holds the servers, which come and go, and the service, which may move.
	resp.ResourceBehavior.MutableIdentity = true
}

func (r *proxyRouteResource) Schema(ctx context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	resp.Schema = proxyRouteSchema(ctx)
}

func (r *proxyRouteResource) IdentitySchema(_ context.Context, _ resource.IdentitySchemaRequest, resp *resource.IdentitySchemaResponse) {
	resp.IdentitySchema = proxyRouteIdentitySchema()
}

func (r *proxyRouteResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var plan, config proxyRouteModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	resp.Diagnostics.Append(req.Config.Get(ctx, &config)...)
	if resp.Diagnostics.HasError() {
		return
	}
	timeout, diags := plan.Timeouts.Create(ctx, 10*time.Minute)
	resp.Diagnostics.Append(diags...)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()

	route, diags := plan.wanted(ctx, config)
	resp.Diagnostics.Append(diags...)
	if resp.Diagnostics.HasError() {
		return
	}
	servers := stringList(plan.Servers)
	report, err := proxy.ApplyRoute(ctx, r.deps.fleet, proxy.RouteChange{Route: route, Servers: servers, Create: true})
	r.warn(&resp.Diagnostics, report.Warnings)
	if err != nil {
		// Undone on all servers: nothing to keep.
		r.deps.addError(&resp.Diagnostics, "route to "+route.Service, "", err)
		return
	}
	plan.ID = plan.importID(ctx)
	plan.setInstances(route, report.Instances, nil)
	resp.Diagnostics.Append(r.deps.savePins(ctx, resp.Private, servers)...)
	resp.Diagnostics.Append(resp.Identity.Set(ctx, plan.identity(ctx))...)
	resp.Diagnostics.Append(resp.State.Set(ctx, plan)...)
}

func (r *proxyRouteResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var m proxyRouteModel
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	resp.Diagnostics.Append(resp.Identity.Set(ctx, m.identity(ctx))...)
	importing := m.ID.IsNull()
	what := "kamal_proxy_route " + m.importID(ctx).ValueString()
	if r.deps.unknown && !importing {
		r.deps.warnUnknown(&resp.Diagnostics, what)
		return
	}
	resp.Diagnostics.Append(r.deps.loadPins(ctx, req.Private)...)
	timeout, diags := m.Timeouts.Read(ctx, 2*time.Minute)
	resp.Diagnostics.Append(diags...)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()

	prior, diags := m.route(ctx)
	resp.Diagnostics.Append(diags...)
	servers := m.everywhere()
	look := r.look(ctx, what, prior.Service, servers, m.Instances.Elements(), importing)
	resp.Diagnostics.Append(look.diags...)
	if resp.Diagnostics.HasError() {
		return
	}
	if look.gone {
		if importing {
			resp.Diagnostics.AddError("Nothing to import",
				fmt.Sprintf("kamal-proxy has no service %s on %s.", prior.Service, strings.Join(servers, ", ")))
			return
		}
		resp.State.RemoveResource(ctx)
		return
	}
	var observed []proxy.Route
	for _, s := range servers {
		if i := look.instances[s]; i != nil {
			observed = append(observed, i.Route)
		}
	}
	route := proxy.Merge(prior, observed)
	if importing && len(observed) > 0 {
		route.App = observed[0].App
	}
	resp.Diagnostics.Append(m.take(ctx, route, prior)...)
	m.ID = m.importID(ctx)
	m.setInstances(route, look.instances, look.kept)
	resp.Diagnostics.Append(r.deps.savePins(ctx, resp.Private, servers)...)
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}

// routeLook is what a look at the servers of a route found.
type routeLook struct {
	instances map[string]*proxy.Instance
	// kept are instances of servers that could not be asked.
	kept map[string]attr.Value
	// gone: every server was asked, has a kamal-proxy, and none has the route.
	gone  bool
	diags diag.Diagnostics
}

func (r *proxyRouteResource) look(ctx context.Context, what, service string, servers []string, known map[string]attr.Value, importing bool) routeLook {
	l := routeLook{instances: map[string]*proxy.Instance{}, kept: map[string]attr.Value{}, gone: true}
	keep := func(s string) {
		l.gone = false
		if v, ok := known[s]; ok {
			l.kept[s] = v
		}
	}
	asked := r.deps.observe(ctx, servers)
	for _, s := range servers {
		snap, err := asked[s].snapshot, asked[s].err
		switch {
		case err != nil && fleet.IsUnreachable(err) && r.deps.fleet.KeepUnreachable && !importing:
			r.deps.warnKept(&l.diags, what, []string{s}, err)
			keep(s)
			continue
		case err != nil && fleet.IsGone(err) && known[s] != nil && !importing:
			keep(s)
			l.kept[s] = r.deps.unseen(ctx, known[s].(types.Object), err)
			continue
		case err == nil && snap.Docker.Installed && !snap.Docker.Running && !importing:
			// kamal_server or kamal_proxy of the same plan may mend that: it must go on.
			r.deps.addWarning(&l.diags, what+" could not be refreshed on "+s, "Docker does not answer there: "+snap.Docker.Failure+"\n\nIts state is kept as it was.")
			keep(s)
			continue
		case err == nil && snap.Proxy.Container == nil:
			// A kamal-proxy that is booted from the old volume has the route again.
			l.gone = l.gone && importing
			continue
		}
		var i *proxy.Instance
		if err == nil {
			i, err = proxy.ObserveRoute(service, snap)
		}
		if err != nil {
			r.deps.addError(&l.diags, "read "+what, s, err)
		} else if i != nil {
			l.instances[s], l.gone = i, false
		}
	}
	return l
}

func (r *proxyRouteResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var plan, state, config proxyRouteModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	resp.Diagnostics.Append(req.Config.Get(ctx, &config)...)
	resp.Diagnostics.Append(r.deps.loadPins(ctx, req.Private)...)
	if resp.Diagnostics.HasError() {
		return
	}
	timeout, diags := plan.Timeouts.Update(ctx, 10*time.Minute)
	resp.Diagnostics.Append(diags...)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()

	plan.ID = plan.importID(ctx)
	resp.Diagnostics.Append(resp.Identity.Set(ctx, plan.identity(ctx))...)
	if plan.Instances.Equal(state.Instances) {
		// Only what goes with the next deploy has changed.
		resp.Diagnostics.Append(resp.State.Set(ctx, plan)...)
		return
	}
	route, diags := plan.wanted(ctx, config)
	resp.Diagnostics.Append(diags...)
	prior, diags := state.route(ctx)
	resp.Diagnostics.Append(diags...)
	if resp.Diagnostics.HasError() {
		return
	}
	servers := stringList(plan.Servers)
	report, err := proxy.ApplyRoute(ctx, r.deps.fleet, proxy.RouteChange{
		Route: route, Was: prior.Service, Servers: servers, Known: state.machines(),
		Leaving: slices.DeleteFunc(state.everywhere(), func(s string) bool { return slices.Contains(servers, s) }),
	})
	r.warn(&resp.Diagnostics, report.Warnings)
	resp.Diagnostics.Append(r.deps.savePins(ctx, resp.Private, servers)...)
	if err == nil {
		plan.setInstances(route, report.Instances, nil)
		resp.Diagnostics.Append(resp.State.Set(ctx, plan)...)
		return
	}
	r.deps.addError(&resp.Diagnostics, "route to "+route.Service, "", err)
	// What was observed, under the configuration that was: so the next plan
	// shows the change again, with or without a refresh.
	kept := map[string]attr.Value{}
	for _, s := range report.Unseen {
		if i, ok := state.Instances.Elements()[s]; ok {
			kept[s] = i
		}
	}
	state.setInstances(prior, report.Instances, kept)
	resp.Diagnostics.Append(resp.Identity.Set(ctx, state.identity(ctx))...)
	resp.Diagnostics.Append(resp.State.Set(ctx, state)...)
}

func (r *proxyRouteResource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	var state proxyRouteModel
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	resp.Diagnostics.Append(r.deps.loadPins(ctx, req.Private)...)
	if resp.Diagnostics.HasError() {
		return
	}
	timeout, diags := state.Timeouts.Delete(ctx, 5*time.Minute)
	resp.Diagnostics.Append(diags...)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()

	route, diags := state.route(ctx)
	resp.Diagnostics.Append(diags...)
	warnings, err := proxy.RemoveRoute(ctx, r.deps.fleet, route, state.everywhere())
	r.warn(&resp.Diagnostics, warnings)
	r.deps.addError(&resp.Diagnostics, "remove the route "+route.Service, "", err)
}

func (r *proxyRouteResource) warn(diags *diag.Diagnostics, warnings []proxy.RouteWarning) {
	for _, w := range warnings {
		r.deps.addWarning(diags, w.Summary, w.Detail)
	}
}

// wanted is the planned route with what only the configuration has: the private key.
func (m proxyRouteModel) wanted(ctx context.Context, config proxyRouteModel) (proxy.Route, diag.Diagnostics) {
	route, diags := m.route(ctx)
	var tls routeTLSModel
	diags.Append(as(ctx, config.TLS, &tls)...)
	if route.TLS != nil {
		route.TLS.PrivateKey = tls.PrivateKey.ValueString()
	}
	return route, diags
}

// ImportState takes `service@server[,server…]`, or the identity.
func (r *proxyRouteResource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	id := importedID(ctx, req, parseRouteID, "A route is imported by service@server[,server…], as in shop-web@10.0.0.1,10.0.0.2. `kamal-proxy list` names the services.", &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	resp.Diagnostics.Append(resp.State.SetAttribute(ctx, path.Root("servers"), id.Servers)...)
	// kamal-proxy doesn't store the timeouts.
	target := routeTargetModel{Service: id.Service, Healthcheck: types.ObjectNull(healthTypes),
		DeployTimeout: types.StringValue(defaultDeployTimeout), DrainTimeout: types.StringValue(defaultDrainTimeout)}
	resp.Diagnostics.Append(resp.State.SetAttribute(ctx, path.Root("target"), target.object())...)
	resp.Diagnostics.Append(resp.Identity.Set(ctx, id)...)
}

func parseRouteID(s string) (proxyRouteIdentity, error) {
	service, servers, err := cutImportID(s)
	if err != nil {
		return proxyRouteIdentity{}, err
	}
	if !kamal.NamePattern.MatchString(service) {
		return proxyRouteIdentity{}, fmt.Errorf("%q is no name of a service", service)
	}
	if len(servers) == 0 {
		return proxyRouteIdentity{}, errors.New("it names no server")
	}
	return proxyRouteIdentity{types.StringValue(service), listValue(servers)}, nil
}
