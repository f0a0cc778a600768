package provider

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/server"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

var (
	_ resource.ResourceWithConfigure      = &serverResource{}
	_ resource.ResourceWithIdentity       = &serverResource{}
	_ resource.ResourceWithImportState    = &serverResource{}
	_ resource.ResourceWithModifyPlan     = &serverResource{}
	_ resource.ResourceWithValidateConfig = &serverResource{}
)

// bootWait is how long a server that is to be set up may take to boot: two
// minutes, but there must be time left for a last attempt and for saying why
// it failed.
func bootWait(timeout time.Duration) time.Duration {
	return max(time.Second, min(2*time.Minute, timeout-20*time.Second))
}

type serverResource struct{ base }

func newServerResource() resource.Resource { return &serverResource{} }

func (r *serverResource) Metadata(_ context.Context, _ resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = "kamal_server"
	resp.ResourceBehavior.MutableIdentity = true
}

func (r *serverResource) Schema(ctx context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	resp.Schema = serverResourceSchema(ctx)
}

func (r *serverResource) IdentitySchema(_ context.Context, _ resource.IdentitySchemaRequest, resp *resource.IdentitySchemaResponse) {
	resp.IdentitySchema = serverIdentitySchema()
}

// ValidateConfig refuses a script that would never be run.
func (r *serverResource) ValidateConfig(ctx context.Context, req resource.ValidateConfigRequest, resp *resource.ValidateConfigResponse) {
	var install types.Bool
	var script types.String
	at := path.Root("docker")
	resp.Diagnostics.Append(req.Config.GetAttribute(ctx, at.AtName("install"), &install)...)
	resp.Diagnostics.Append(req.Config.GetAttribute(ctx, at.AtName("install_script"), &script)...)
	if !script.IsNull() && !install.IsNull() && !install.IsUnknown() && !install.ValueBool() {
		resp.Diagnostics.AddAttributeError(at.AtName("install_script"), "A script that is never run", "docker.install_script is set and docker.install is false.")
	}
}

// ModifyPlan says what will be: everything that an apply makes so is known. It dials nothing.
func (r *serverResource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	if req.Plan.Raw.IsNull() {
		return
	}
	var name types.String
	resp.Diagnostics.Append(req.Plan.GetAttribute(ctx, path.Root("server"), &name)...)
	set := func(attribute string, v any) {
		resp.Diagnostics.Append(resp.Plan.SetAttribute(ctx, path.Root(attribute), v)...)
	}
	set("id", name)
	set("docker_running", types.BoolValue(true))
	set("docker_enabled", types.BoolValue(true))
	set("network", types.BoolValue(true))
	if req.State.Raw.IsNull() {
		return
	}
	var state serverModel
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	if resp.Diagnostics.HasError() {
		return
	}
	// Perhaps another spelling, perhaps another machine: only a look can tell.
	if !name.Equal(state.Server) {
		for _, fact := range []string{"machine_id", "os", "os_version", "architecture", "docker_version", "host_key"} {
			set(fact, types.StringUnknown())
		}
		set("cpus", types.Int64Unknown())
		set("memory", types.Int64Unknown())
	}
	if state.DockerVersion.IsNull() {
		set("docker_version", types.StringUnknown())
	}
}

func (r *serverResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var plan serverModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	if resp.Diagnostics.HasError() {
		return
	}
	timeout, diags := plan.Timeouts.Create(ctx, 15*time.Minute)
	resp.Diagnostics.Append(diags...)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()

	name := plan.Server.ValueString()
	r.deps.waitForBoot(name, bootWait(timeout))
	done, err := server.Apply(ctx, r.deps.fleet.Server(name), plan.spec(nil))
	if err != nil {
		r.deps.addError(&resp.Diagnostics, "set up the server", name, err)
		return
	}
	r.warn(&resp.Diagnostics, name, done)
	plan.settle(done.Snapshot, r.deps.fleet.Server(name).HostKey())
	resp.Diagnostics.Append(r.deps.savePins(ctx, resp.Private, []string{name})...)
	resp.Diagnostics.Append(resp.Identity.Set(ctx, serverIdentity{plan.Server})...)
	resp.Diagnostics.Append(resp.State.Set(ctx, plan)...)
}

func (r *serverResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var m serverModel
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	resp.Diagnostics.Append(resp.Identity.Set(ctx, serverIdentity{m.Server})...)
	name := m.Server.ValueString()
	snap := r.look(ctx, "kamal_server", name, m.ID.IsNull(), m.Timeouts, req.Private, resp)
	if snap == nil {
		return
	}
	if was := m.MachineID.ValueString(); was != "" && was != snap.Facts.MachineID {
		r.deps.addWarning(&resp.Diagnostics, fmt.Sprintf("Another machine answers as %s", name),
			fmt.Sprintf("It was machine %s before and is %s now. The plan sets the new one up; what ran on the old one is not there.", was, snap.Facts.MachineID))
	}
	if err := m.refresh(snap, r.deps.fleet.Server(name).HostKey()); err != nil {
		r.deps.addWarning(&resp.Diagnostics, "Docker's configuration is not readable on "+name,
			fmt.Sprintf("%v. An apply leaves it as it is and says so.", err))
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}

func (r *serverResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var plan, state serverModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	resp.Diagnostics.Append(r.deps.loadPins(ctx, req.Private)...)
	if resp.Diagnostics.HasError() {
		return
	}
	timeout, diags := plan.Timeouts.Update(ctx, 15*time.Minute)
	resp.Diagnostics.Append(diags...)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()

	name := plan.Server.ValueString()
	moved := !plan.Server.Equal(state.Server)
	if moved {
		r.deps.waitForBoot(name, bootWait(timeout))
	}
	done, err := server.Apply(ctx, r.deps.fleet.Server(name), plan.spec(&state))
	if err != nil {
		r.deps.addError(&resp.Diagnostics, "set up the server", name, err)
		return
	}
	r.warn(&resp.Diagnostics, name, done)
	if moved && state.MachineID.ValueString() != done.Snapshot.Facts.MachineID {
		r.deps.addWarning(&resp.Diagnostics, fmt.Sprintf("%s is another machine than %s", name, state.Server.ValueString()),
			fmt.Sprintf("%s was set up. %s was left as it is, with Docker and what runs there; it is no longer managed.", name, state.Server.ValueString()))
	}
	plan.settle(done.Snapshot, r.deps.fleet.Server(name).HostKey())
	resp.Diagnostics.Append(r.deps.savePins(ctx, resp.Private, []string{name})...)
	resp.Diagnostics.Append(resp.Identity.Set(ctx, serverIdentity{plan.Server})...)
	resp.Diagnostics.Append(resp.State.Set(ctx, plan)...)
}

// Delete forgets the server. Only where Docker is to be removed does it connect.
func (r *serverResource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	var state serverModel
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	if resp.Diagnostics.HasError() || !state.RemoveDockerOnDestroy.ValueBool() {
		return
	}
	resp.Diagnostics.Append(r.deps.loadPins(ctx, req.Private)...)
	timeout, diags := state.Timeouts.Delete(ctx, 10*time.Minute)
	resp.Diagnostics.Append(diags...)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()

	name := state.Server.ValueString()
	err := server.RemoveDocker(ctx, r.deps.fleet.Server(name))
	if fleet.IsUnreachable(err) && r.deps.fleet.KeepUnreachable {
		r.deps.addWarning(&resp.Diagnostics, "Docker was not removed from "+name,
			fmt.Sprintf("%v\n\nThe server is forgotten all the same, because on_unreachable is \"keep\".", plainly(err)))
		return
	}
	r.deps.addError(&resp.Diagnostics, "remove Docker", name, err)
}

func (r *serverResource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	importServer(ctx, req, resp)
}

// warn passes on what setting a server up has to tell.
func (r *serverResource) warn(diags *diag.Diagnostics, name string, done *server.Result) {
	for _, w := range done.Warnings {
		r.deps.addWarning(diags, "Docker on "+name, w)
	}
}

// importServer imports what there is one of on a server, by id or by identity.
func importServer(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	if req.ID != "" {
		if _, err := sshexec.ParseDestination(req.ID); err != nil {
			resp.Diagnostics.AddError("Invalid import id", fmt.Sprintf("The id is the server, as the resource names it: %v.", err))
			return
		}
	}
	resource.ImportStatePassthroughWithIdentity(ctx, path.Root("server"), path.Root("server"), req, resp)
}
