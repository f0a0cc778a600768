package provider

import (
	"context"
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
	"github.com/kamal-terraform/terraform-provider-kamal/internal/proxy"
)

var (
	_ resource.ResourceWithConfigure      = &proxyResource{}
	_ resource.ResourceWithIdentity       = &proxyResource{}
	_ resource.ResourceWithImportState    = &proxyResource{}
	_ resource.ResourceWithModifyPlan     = &proxyResource{}
	_ resource.ResourceWithValidateConfig = &proxyResource{}
)

type proxyResource struct{ base }

func newProxyResource() resource.Resource { return &proxyResource{} }

func (r *proxyResource) Metadata(_ context.Context, _ resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = "kamal_proxy"
	resp.ResourceBehavior.MutableIdentity = true
}

func (r *proxyResource) Schema(ctx context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	resp.Schema = proxyResourceSchema(ctx)
}

func (r *proxyResource) IdentitySchema(_ context.Context, _ resource.IdentitySchemaRequest, resp *resource.IdentitySchemaResponse) {
	resp.IdentitySchema = serverIdentitySchema()
}

func (r *proxyResource) ValidateConfig(ctx context.Context, req resource.ValidateConfigRequest, resp *resource.ValidateConfigResponse) {
	var http, https types.Int64
	resp.Diagnostics.Append(req.Config.GetAttribute(ctx, path.Root("http_port"), &http)...)
	resp.Diagnostics.Append(req.Config.GetAttribute(ctx, path.Root("https_port"), &https)...)
	if http.IsUnknown() || https.IsUnknown() {
		return
	}
	ports := proxy.DefaultContainer
	if !http.IsNull() {
		ports.HTTPPort = int(http.ValueInt64())
	}
	if !https.IsNull() {
		ports.HTTPSPort = int(https.ValueInt64())
	}
	if ports.HTTPPort == ports.HTTPSPort {
		resp.Diagnostics.AddAttributeError(path.Root("https_port"), "One port for HTTP and HTTPS",
			fmt.Sprintf("Both http_port and https_port are %d. They must differ.", ports.HTTPPort))
	}
}

// ModifyPlan says what will be. Whatever makes the apply touch the container
// makes its id unknown: if it died in between, a new one is booted.
func (r *proxyResource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	if req.Plan.Raw.IsNull() {
		return
	}
	var name types.String
	resp.Diagnostics.Append(req.Plan.GetAttribute(ctx, path.Root("server"), &name)...)
	set := func(attribute string, v any) {
		resp.Diagnostics.Append(resp.Plan.SetAttribute(ctx, path.Root(attribute), v)...)
	}
	set("id", name)
	set("running", types.BoolValue(true))
	set("faults", noFaults())
	var plan proxyModel
	resp.Diagnostics.Append(resp.Plan.Get(ctx, &plan)...)
	if resp.Diagnostics.HasError() {
		return
	}
	if req.State.Raw.IsNull() {
		r.deps.warnProxyPorts(plan, &resp.Diagnostics)
		return
	}
	touched, published := false, false
	for _, a := range []string{"server", "image", "version", "http_port", "https_port", "bind_addresses", "metrics_port", "log_max_size", "debug", "running", "faults"} {
		var was, will attr.Value
		resp.Diagnostics.Append(req.State.GetAttribute(ctx, path.Root(a), &was)...)
		resp.Diagnostics.Append(resp.Plan.GetAttribute(ctx, path.Root(a), &will)...)
		if resp.Diagnostics.HasError() {
			return
		}
		touched = touched || !will.Equal(was)
		if a == "server" && touched {
			set("machine_id", types.StringUnknown())
		}
		published = published || !will.Equal(was) && slices.Contains([]string{"server", "http_port", "https_port", "bind_addresses"}, a)
	}
	if published {
		r.deps.warnProxyPorts(plan, &resp.Diagnostics)
	}
	if touched {
		set("container", types.StringUnknown())
	}
}

func (r *proxyResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var plan proxyModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	if resp.Diagnostics.HasError() {
		return
	}
	timeout, diags := plan.Timeouts.Create(ctx, 10*time.Minute)
	resp.Diagnostics.Append(diags...)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()

	name := plan.Server.ValueString()
	snap, err := proxy.Ensure(ctx, r.deps.fleet, r.deps.fleet.Server(name), plan.spec(), true)
	if err != nil {
		r.deps.addError(&resp.Diagnostics, "boot kamal-proxy", name, err)
		return
	}
	plan.settle(snap)
	resp.Diagnostics.Append(r.deps.savePins(ctx, resp.Private, []string{name})...)
	resp.Diagnostics.Append(resp.Identity.Set(ctx, serverIdentity{plan.Server})...)
	resp.Diagnostics.Append(resp.State.Set(ctx, plan)...)
}

func (r *proxyResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var m proxyModel
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	resp.Diagnostics.Append(resp.Identity.Set(ctx, serverIdentity{m.Server})...)
	name, importing := m.Server.ValueString(), m.ID.IsNull()
	snap := r.look(ctx, "kamal_proxy", name, importing, m.Timeouts, req.Private, resp)
	if snap == nil {
		return
	}
	if importing && snap.Proxy.Container == nil {
		resp.Diagnostics.AddError("Nothing to import", fmt.Sprintf("There is no kamal-proxy on %s. %s", name, snap.Docker.Failure))
		return
	}
	m.refresh(snap)
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}

func (r *proxyResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var plan, state proxyModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	resp.Diagnostics.Append(r.deps.loadPins(ctx, req.Private)...)
	if resp.Diagnostics.HasError() {
		return
	}
	timeout, diags := plan.Timeouts.Update(ctx, 10*time.Minute)
	resp.Diagnostics.Append(diags...)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()

	name := plan.Server.ValueString()
	if plan.Container.IsUnknown() {
		moved, err := r.moved(ctx, plan, state)
		var snap *fleet.Snapshot
		if err == nil {
			snap, err = proxy.Ensure(ctx, r.deps.fleet, r.deps.fleet.Server(name), plan.spec(), moved)
		}
		if err != nil {
			r.deps.addError(&resp.Diagnostics, "update kamal-proxy", name, err)
			return
		}
		plan.settle(snap)
		if moved {
			r.leave(ctx, state.Server.ValueString(), name, &resp.Diagnostics)
		}
	}
	plan.ID = plan.Server
	resp.Diagnostics.Append(r.deps.savePins(ctx, resp.Private, []string{name})...)
	resp.Diagnostics.Append(resp.Identity.Set(ctx, serverIdentity{plan.Server})...)
	resp.Diagnostics.Append(resp.State.Set(ctx, plan)...)
}

// moved says whether the server of the plan is another machine than the state's.
func (r *proxyResource) moved(ctx context.Context, plan, state proxyModel) (bool, error) {
	if plan.Server.Equal(state.Server) {
		return false, nil
	}
	snap, err := r.deps.fleet.Server(plan.Server.ValueString()).Snapshot(ctx)
	if err != nil {
		return false, err
	}
	return snap.Facts.MachineID != state.MachineID.ValueString(), nil
}

// leave removes kamal-proxy from the machine that the resource left, if it
// serves nothing there. The apps move later than their proxy, so what is
// served goes on being served.
func (r *proxyResource) leave(ctx context.Context, old, next string, diags *diag.Diagnostics) {
	warn := func(why string) {
		r.deps.addWarning(diags, fmt.Sprintf("kamal-proxy was left on %s", old),
			fmt.Sprintf("It was booted on %s, another machine. On %s %s. If that machine still exists, remove kamal-proxy from it when nothing needs it: docker rm -f kamal-proxy.", next, old, why))
	}
	snap, err := r.deps.fleet.Server(old).Snapshot(ctx)
	if err != nil {
		warn("nobody could look: " + plainly(err).Error())
		return
	}
	services, err := proxy.Services(snap)
	switch {
	case err != nil:
		warn("its routes can't be read: " + err.Error())
	case len(services) > 0:
		warn("it serves " + strings.Join(services, ", ") + ", and goes on doing so")
	default:
		if _, err := proxy.Remove(ctx, r.deps.fleet.Server(old)); err != nil {
			warn("it could not be removed: " + plainly(err).Error())
		}
	}
}

func (r *proxyResource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	var state proxyModel
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
	served, err := proxy.Remove(ctx, r.deps.fleet.Server(name))
	switch {
	case err != nil && fleet.IsUnreachable(err) && r.deps.fleet.KeepUnreachable:
		r.deps.addWarning(&resp.Diagnostics, "kamal-proxy was not removed from "+name,
			fmt.Sprintf("%v\n\nIt is forgotten all the same, because on_unreachable is \"keep\".", plainly(err)))
	case err != nil:
		r.deps.addError(&resp.Diagnostics, "remove kamal-proxy", name, err)
	case len(served) > 0:
		r.deps.addWarning(&resp.Diagnostics, "Nothing serves these apps on "+name+" any more",
			fmt.Sprintf("kamal-proxy had their routes: %s. The routes are in the volume kamal-proxy-config, and served again when kamal-proxy is booted on this server.", strings.Join(served, ", ")))
	}
}

func (r *proxyResource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	importServer(ctx, req, resp)
}
