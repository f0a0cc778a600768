package provider

import (
	"context"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/task"
)

var (
	_ resource.ResourceWithConfigure   = &taskResource{}
	_ resource.ResourceWithModifyPlan  = &taskResource{}
	_ resource.ResourceWithIdentity    = &taskResource{}
	_ resource.ResourceWithImportState = &taskResource{}
)

type taskResource struct{ base }

func newTaskResource() resource.Resource { return &taskResource{} }

func (r *taskResource) Metadata(_ context.Context, _ resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = "kamal_task"
	// All that it holds may change in place.
	resp.ResourceBehavior.MutableIdentity = true
}

func (r *taskResource) IdentitySchema(_ context.Context, _ resource.IdentitySchemaRequest, resp *resource.IdentitySchemaResponse) {
	resp.IdentitySchema = partIdentitySchema("task")
}

func (r *taskResource) Schema(_ context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	resp.Schema = taskSchema()
}

// ModifyPlan says whether an apply will run the command. It dials nothing.
func (r *taskResource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	if req.Plan.Raw.IsNull() {
		return
	}
	var plan taskModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	var state *taskModel
	if !req.State.Raw.IsNull() {
		state = &taskModel{}
		resp.Diagnostics.Append(req.State.Get(ctx, state)...)
	}
	if resp.Diagnostics.HasError() {
		return
	}
	set, known := configSecrets(ctx, req.Config, &resp.Diagnostics)
	checkSecrets(ctx, req.Config, set, plan.Env, &resp.Diagnostics)
	plan.check(ctx, set, known, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	if _, may := plan.runs(ctx, state, set, known, salt(ctx, req.Private, &resp.Diagnostics)); may {
		plan.setUnknown()
	} else {
		plan.keepRun(*state)
		if state.imported() {
			plan.SecretDigests = types.MapUnknown(types.StringType)
		}
	}
	plan.describe()
	for name, v := range plan.computed() {
		resp.Diagnostics.Append(resp.Plan.SetAttribute(ctx, path.Root(name), v)...)
	}
}

// Create runs the command. Where it fails there is no state, so that the next
// apply runs it again.
func (r *taskResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var plan taskModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	if !resp.Diagnostics.HasError() && r.run(ctx, &plan, req.Config, resp.Private, resp.Private, &resp.Diagnostics) {
		resp.Diagnostics.Append(resp.State.Set(ctx, plan)...)
		resp.Diagnostics.Append(resp.Identity.Set(ctx, plan.identity())...)
	}
}

// Read keeps the state as it is. A run that is over is history, which no look
// at the server can change: a refresh costs no call, and works for a server
// that is down.
func (r *taskResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	// A state that a CLI wrote in the middle of an apply has no identity.
	var m taskModel
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	resp.Diagnostics.Append(resp.Identity.Set(ctx, m.identity())...)
}

// Update runs the command if what triggers it has changed. Where it fails the
// state stays as it was, so that the next plan shows the change again.
func (r *taskResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var plan, state taskModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	if resp.Diagnostics.HasError() {
		return
	}
	set, known := configSecrets(ctx, req.Config, &resp.Diagnostics)
	must, _ := plan.runs(ctx, &state, set, known, salt(ctx, req.Private, &resp.Diagnostics))
	if resp.Diagnostics.HasError() {
		return
	}
	if !must {
		plan.describe()
		plan.keepRun(state)
		if state.imported() {
			plan.SecretDigests = digestsOf(keepSalt(ctx, req.Private, resp.Private, &resp.Diagnostics), set)
		}
	} else if !r.run(ctx, &plan, req.Config, req.Private, resp.Private, &resp.Diagnostics) {
		return
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, plan)...)
	resp.Diagnostics.Append(resp.Identity.Set(ctx, plan.identity())...)
}

// run runs the command and fills what it has left into plan; false: it failed.
func (r *taskResource) run(ctx context.Context, plan *taskModel, config tfsdk.Config, from privateReader, to privateWriter, diags *diag.Diagnostics) bool {
	spec, more := plan.spec(ctx)
	diags.Append(more...)
	spec.Secrets = r.secrets(ctx, config, diags)
	server := plan.Server.ValueString()
	diags.Append(r.deps.loadPins(ctx, from)...)
	if diags.HasError() {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, taskBound(spec))
	defer cancel()
	st, warnings, err := task.Apply(ctx, r.deps.fleet, server, spec)
	r.warn(diags, warnings)
	if err != nil {
		r.deps.addError(diags, "run the task "+spec.ID(), server, err)
		return false
	}
	plan.describe()
	plan.setRun(keepSalt(ctx, from, to, diags), spec.Secrets, *st)
	diags.Append(r.deps.savePins(ctx, to, []string{server})...)
	return true
}

// taskBound is how long a run may take: the command, a job of an earlier apply
// that is waited for first, and what else there is to do.
func taskBound(spec task.Spec) time.Duration { return 2*spec.Timeout + 15*time.Minute }

// Delete removes what a run that was cut off may have left.
func (r *taskResource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	var state taskModel
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	resp.Diagnostics.Append(r.deps.loadPins(ctx, req.Private)...)
	if resp.Diagnostics.HasError() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 15*time.Minute)
	defer cancel()
	spec, diags := state.spec(ctx)
	resp.Diagnostics.Append(diags...)
	server := state.Server.ValueString()
	warnings, err := task.Remove(ctx, r.deps.fleet, server, spec)
	r.warn(&resp.Diagnostics, warnings)
	r.deps.addError(&resp.Diagnostics, "remove the task "+spec.ID(), server, err)
}

func (r *taskResource) warn(diags *diag.Diagnostics, warnings []task.Warning) {
	for _, w := range warnings {
		r.deps.addWarning(diags, w.Summary, w.Detail)
	}
}

// ImportState takes `service/name@server`, or the identity. It asks nobody: that
// the command has run is what the import says.
func (r *taskResource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	id := importedID(ctx, req, parsePartID, "A task is imported by service/name@server, as in shop/migrate@10.0.0.1.", &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	for name, v := range map[string]attr.Value{"service": id.Service, "name": id.Name, "server": id.Server} {
		resp.Diagnostics.Append(resp.State.SetAttribute(ctx, path.Root(name), v)...)
	}
	resp.Diagnostics.Append(resp.Identity.Set(ctx, id)...)
}
