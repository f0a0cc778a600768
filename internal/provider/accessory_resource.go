package provider

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/accessory"
)

var (
	_ resource.ResourceWithConfigure   = &accessoryResource{}
	_ resource.ResourceWithIdentity    = &accessoryResource{}
	_ resource.ResourceWithImportState = &accessoryResource{}
	_ resource.ResourceWithModifyPlan  = &accessoryResource{}
)

type accessoryResource struct{ base }

func newAccessoryResource() resource.Resource { return &accessoryResource{} }

func (r *accessoryResource) Metadata(_ context.Context, _ resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = "kamal_accessory"
	// The identity holds the server, which may get another spelling.
	resp.ResourceBehavior.MutableIdentity = true
}

func (r *accessoryResource) Schema(ctx context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	resp.Schema = accessorySchema(ctx)
}

func (r *accessoryResource) IdentitySchema(_ context.Context, _ resource.IdentitySchemaRequest, resp *resource.IdentitySchemaResponse) {
	resp.IdentitySchema = partIdentitySchema("accessory")
}

func (r *accessoryResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var plan accessoryModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	if resp.Diagnostics.HasError() {
		return
	}
	timeout, diags := plan.Timeouts.Create(ctx, 20*time.Minute)
	resp.Diagnostics.Append(diags...)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()

	spec, diags := plan.spec(ctx)
	resp.Diagnostics.Append(diags...)
	secrets := r.takeSecrets(ctx, req.Config, &spec, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	server := plan.Server.ValueString()
	st, warnings, err := accessory.Apply(ctx, r.deps.fleet, accessory.Change{Spec: spec, Server: server, Create: true, ImportID: plan.importID()})
	r.warn(&resp.Diagnostics, warnings)
	r.deps.addError(&resp.Diagnostics, "create the accessory "+plan.full(), server, err)
	if err != nil {
		return // undone: nothing to keep
	}
	plan.describe()
	plan.setState(*st)
	plan.SecretDigests = digestsOf(keepSalt(ctx, resp.Private, resp.Private, &resp.Diagnostics), secrets)
	keepGiven(ctx, secrets, resp.Private, &resp.Diagnostics)
	resp.Diagnostics.Append(r.deps.savePins(ctx, resp.Private, []string{server})...)
	resp.Diagnostics.Append(resp.Identity.Set(ctx, plan.identity())...)
	resp.Diagnostics.Append(resp.State.Set(ctx, plan)...)
}

func (r *accessoryResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var m accessoryModel
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	resp.Diagnostics.Append(resp.Identity.Set(ctx, m.identity())...)
	importing := m.ID.IsNull()
	what, server := "kamal_accessory "+m.full(), m.Server.ValueString()
	snap := r.look(ctx, what, server, importing, m.Timeouts, req.Private, resp)
	if snap == nil {
		return
	}
	o, err := accessory.Observe(snap, m.Service.ValueString(), m.Name.ValueString())
	if err != nil {
		r.deps.addError(&resp.Diagnostics, "read "+what, server, err)
		return
	}
	if d := snap.Docker; d.Installed && !d.Running {
		// The container is there, whatever became of docker.
		why := "docker does not answer: " + d.Failure
		if importing {
			r.deps.addError(&resp.Diagnostics, "import "+what, server, errors.New(why))
			return
		}
		m.Running = types.BoolValue(false)
		m.Drift = stringsValue([]string{why})
		resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
		return
	}
	if was := m.MachineID.ValueString(); was != "" && was != snap.Facts.MachineID {
		r.deps.addWarning(&resp.Diagnostics, fmt.Sprintf("Another machine answers as %s", server),
			fmt.Sprintf("It was machine %s before and is %s now. The accessory %s and its data are not on it, unless you moved them.", was, snap.Facts.MachineID, m.full()))
	}
	if o.Current == nil || o.Foreign {
		if importing {
			resp.Diagnostics.AddError("Nothing to import", fmt.Sprintf("There is no accessory %s on %s: an accessory's container has that name and the label service=%s.", m.full(), server, m.full()))
			return
		}
		resp.State.RemoveResource(ctx)
		return
	}
	if importing && o.EntryPort() > 0 {
		m.AppPort = types.Int64Value(int64(o.EntryPort()))
		m.ProxyHealthcheck = healthValue(o.Entry.TargetOptions.HealthCheck.Health())
	}
	values := snap.Secrets(*o.Current)
	for _, name := range m.secretNames(o) {
		r.deps.fleet.AddSecret(values[name])
	}
	resp.Diagnostics.Append(m.refresh(ctx, keepSalt(ctx, req.Private, resp.Private, &resp.Diagnostics), o)...)
	if importing {
		resp.Diagnostics.Append(r.importFiles(ctx, server, &m)...)
		warnLosses(&resp.Diagnostics, o.Current.ContainerName()+" on "+server, o.Losses())
	}
	m.describe()
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}

// importFiles takes over the content of the files that this provider made, and
// says which others have to be filled in.
func (r *accessoryResource) importFiles(ctx context.Context, server string, m *accessoryModel) diag.Diagnostics {
	spec, diags := m.spec(ctx)
	files, err := accessory.ReadFiles(ctx, r.deps.fleet.Server(server), spec.Files)
	if err != nil {
		r.deps.addError(&diags, "read the files of "+m.full(), server, err)
		return diags
	}
	var unseen []string
	for _, f := range files {
		if f.Seen != (accessory.Seen{}) {
			unseen = append(unseen, fmt.Sprintf("- %s: ssh %s cat %s", f.Path, server, f.Seen.Local))
		}
	}
	if len(unseen) > 0 {
		diags.AddAttributeWarning(path.Root("files"), "Files whose content has to be filled in",
			"They may hold secrets, so that their content is not in the state. Until the configuration has it, as content with the same text, a plan refuses them; the container goes on with them as they are:\n"+strings.Join(unseen, "\n"))
	}
	m.Files = filesValue(files)
	return diags
}

func (r *accessoryResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var plan, state accessoryModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	resp.Diagnostics.Append(r.deps.loadPins(ctx, req.Private)...)
	if resp.Diagnostics.HasError() {
		return
	}
	timeout, diags := plan.Timeouts.Update(ctx, 20*time.Minute)
	resp.Diagnostics.Append(diags...)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()

	plan.describe()
	resp.Diagnostics.Append(resp.Identity.Set(ctx, plan.identity())...)
	spec, diags := plan.spec(ctx)
	resp.Diagnostics.Append(diags...)
	secrets := r.takeSecrets(ctx, req.Config, &spec, &resp.Diagnostics)
	if !plan.Container.IsUnknown() {
		plan.SecretDigests = state.SecretDigests
		keepGiven(ctx, secrets, resp.Private, &resp.Diagnostics)
		// Only what counts at the next replacement has changed: timeouts, health check, port.
		resp.Diagnostics.Append(resp.State.Set(ctx, plan)...)
		return
	}
	if resp.Diagnostics.HasError() {
		return
	}
	server := plan.Server.ValueString()
	st, warnings, err := accessory.Apply(ctx, r.deps.fleet, accessory.Change{
		Spec: spec, Server: server, MachineID: state.MachineID.ValueString(), ImportID: plan.importID()})
	r.warn(&resp.Diagnostics, warnings)
	resp.Diagnostics.Append(r.deps.savePins(ctx, resp.Private, []string{server})...)
	if err != nil {
		r.deps.addError(&resp.Diagnostics, "replace the accessory "+plan.full(), server, err)
		// What was observed, under the configuration that was: so the next
		// plan shows the change again, with or without a refresh.
		if st != nil && st.MachineID == state.MachineID.ValueString() {
			state.setState(*st)
			state.SecretDigests = nullElements(state.SecretDigests)
		}
		resp.Diagnostics.Append(resp.Identity.Set(ctx, state.identity())...)
		resp.Diagnostics.Append(resp.State.Set(ctx, state)...)
		return
	}
	plan.setState(*st)
	plan.SecretDigests = digestsOf(keepSalt(ctx, req.Private, resp.Private, &resp.Diagnostics), secrets)
	keepGiven(ctx, secrets, resp.Private, &resp.Diagnostics)
	resp.Diagnostics.Append(resp.State.Set(ctx, plan)...)
}

func (r *accessoryResource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	var state accessoryModel
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	resp.Diagnostics.Append(r.deps.loadPins(ctx, req.Private)...)
	if resp.Diagnostics.HasError() {
		return
	}
	timeout, diags := state.Timeouts.Delete(ctx, 10*time.Minute)
	resp.Diagnostics.Append(diags...)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()

	spec, diags := state.spec(ctx)
	resp.Diagnostics.Append(diags...)
	server := state.Server.ValueString()
	warnings, err := accessory.Remove(ctx, r.deps.fleet, accessory.Change{Spec: spec, Server: server, MachineID: state.MachineID.ValueString()})
	r.warn(&resp.Diagnostics, warnings)
	r.deps.addError(&resp.Diagnostics, "remove the accessory "+state.full(), server, err)
}

func (r *accessoryResource) warn(diags *diag.Diagnostics, warnings []accessory.Warning) {
	for _, w := range warnings {
		r.deps.addWarning(diags, w.Summary, w.Detail)
	}
}

// ImportState takes `service/name@server`, or the identity.
func (r *accessoryResource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	id := importedID(ctx, req, parsePartID, "An accessory is imported by service/name@server, as in shop/db@10.0.0.1.", &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	for name, v := range map[string]attr.Value{
		"service": id.Service, "name": id.Name, "server": id.Server,
		// What no container shows is at its default; what is at its default
		// must not be taken for what the daemon adds.
		"pull": types.StringValue("missing"), "logging": defaultLogging, "proxy_healthcheck": defaultHealth,
		"stop_timeout": types.StringValue(defaultAccessoryStop), "deploy_timeout": types.StringValue(defaultAccessoryDeploy),
		"drain_timeout": types.StringValue(defaultDrainTimeout), "delete_data": types.BoolValue(false),
	} {
		resp.Diagnostics.Append(resp.State.SetAttribute(ctx, path.Root(name), v)...)
	}
	resp.Diagnostics.Append(resp.Identity.Set(ctx, id)...)
}
