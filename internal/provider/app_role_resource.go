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
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/approle"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
)

var (
	_ resource.ResourceWithConfigure   = &appRoleResource{}
	_ resource.ResourceWithIdentity    = &appRoleResource{}
	_ resource.ResourceWithImportState = &appRoleResource{}
	_ resource.ResourceWithModifyPlan  = &appRoleResource{}
)

type appRoleResource struct{ base }

func newAppRoleResource() resource.Resource { return &appRoleResource{} }

func (r *appRoleResource) Metadata(_ context.Context, _ resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = "kamal_app_role"
	// The identity holds the servers, which come and go.
	resp.ResourceBehavior.MutableIdentity = true
}

func (r *appRoleResource) Schema(ctx context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	resp.Schema = appRoleSchema(ctx)
}

func (r *appRoleResource) IdentitySchema(_ context.Context, _ resource.IdentitySchemaRequest, resp *resource.IdentitySchemaResponse) {
	resp.IdentitySchema = appRoleIdentitySchema()
}

func (r *appRoleResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var plan appRoleModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	if resp.Diagnostics.HasError() {
		return
	}
	timeout, diags := plan.Timeouts.Create(ctx, 30*time.Minute)
	resp.Diagnostics.Append(diags...)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()

	spec, diags := plan.spec(ctx)
	resp.Diagnostics.Append(diags...)
	if resp.Diagnostics.HasError() {
		return
	}
	spec.Secrets = r.secrets(ctx, req.Config, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	servers := stringList(plan.Servers)
	report, err := approle.Deploy(ctx, r.deps.fleet, approle.Deployment{
		Spec: spec, Servers: servers, Create: true, ImportID: plan.importID()})
	r.warn(&resp.Diagnostics, report.Warnings)
	r.deps.addError(&resp.Diagnostics, "deploy "+spec.Role.Prefix(), "", err)
	if err != nil && len(report.Instances) == 0 {
		return // undone on all servers: nothing to keep
	}
	plan.describe()
	plan.setInstances(report.Instances)
	plan.SecretDigests = digestsOf(keepSalt(ctx, resp.Private, resp.Private, &resp.Diagnostics), spec.Secrets)
	keepGiven(ctx, spec.Secrets, resp.Private, &resp.Diagnostics)
	resp.Diagnostics.Append(r.deps.savePins(ctx, resp.Private, servers)...)
	resp.Diagnostics.Append(resp.Identity.Set(ctx, plan.identity())...)
	resp.Diagnostics.Append(resp.State.Set(ctx, plan)...)
}

func (r *appRoleResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var m appRoleModel
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	resp.Diagnostics.Append(resp.Identity.Set(ctx, m.identity())...)
	importing := m.ID.IsNull()
	what := "kamal_app_role " + roleID(m.role())
	if r.deps.unknown && !importing {
		r.deps.warnUnknown(&resp.Diagnostics, what)
		return
	}
	resp.Diagnostics.Append(r.deps.loadPins(ctx, req.Private)...)
	timeout, diags := m.Timeouts.Read(ctx, 2*time.Minute)
	resp.Diagnostics.Append(diags...)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()

	servers, recorded := stringList(m.Servers), m.recorded()
	seen := map[string]approle.Observed{}
	kept := map[string]attr.Value{}
	found := false
	asked := r.deps.observe(ctx, servers)
	for _, name := range servers {
		o := asked[name]
		if o.err == nil && o.snapshot.Docker.Installed && !o.snapshot.Docker.Running && !importing {
			// Nothing runs, and what is there can't be listed. A kamal_server of the same plan may mend that.
			r.deps.addWarning(&resp.Diagnostics, what+" could not be refreshed on "+name, "Docker does not answer there: "+o.snapshot.Docker.Failure)
			if in, ok := m.Instances.Elements()[name].(types.Object); ok {
				kept[name] = stoppedInstance(in)
			}
			found = true
			continue
		}
		if o.err == nil {
			var have approle.Observed
			if have, o.err = approle.Observe(o.snapshot, m.role(), recorded[name]); o.err == nil {
				if why := have.Hidden(); why != "" {
					o.err = errors.New(why) // importing: there is no state to keep
				} else {
					seen[name] = have
					found = found || have.Current != nil
					continue
				}
			}
		}
		if in, ok := m.Instances.Elements()[name].(types.Object); ok && fleet.IsGone(o.err) && !importing {
			found = true
			if fleet.IsUnreachable(o.err) && r.deps.fleet.KeepUnreachable {
				r.deps.warnKept(&resp.Diagnostics, what, []string{name}, o.err)
				kept[name] = in
			} else {
				kept[name] = r.deps.unseen(ctx, in, o.err)
			}
			continue
		}
		r.deps.addError(&resp.Diagnostics, "read "+what, name, o.err)
	}
	if resp.Diagnostics.HasError() {
		return
	}
	if !found {
		if importing {
			resp.Diagnostics.AddError("Nothing to import", fmt.Sprintf("There is no container of %s on %s.", m.role().Prefix(), strings.Join(servers, ", ")))
			return
		}
		resp.State.RemoveResource(ctx)
		return
	}
	if importing {
		m.takeEntry(seen)
	}
	for _, name := range m.secretNames(seen) {
		for _, o := range seen {
			if o.Current != nil {
				r.deps.fleet.AddSecret(o.Snapshot.Secrets(*o.Current)[name])
			}
		}
	}
	resp.Diagnostics.Append(m.refresh(ctx, keepSalt(ctx, req.Private, resp.Private, &resp.Diagnostics), seen, kept)...)
	if importing {
		resp.Diagnostics.Append(m.imported(ctx, seen)...)
	}
	m.describe()
	resp.Diagnostics.Append(r.deps.savePins(ctx, resp.Private, servers)...)
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}

func (r *appRoleResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var plan, state appRoleModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	resp.Diagnostics.Append(r.deps.loadPins(ctx, req.Private)...)
	if resp.Diagnostics.HasError() {
		return
	}
	timeout, diags := plan.Timeouts.Update(ctx, 30*time.Minute)
	resp.Diagnostics.Append(diags...)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()

	plan.describe()
	resp.Diagnostics.Append(resp.Identity.Set(ctx, plan.identity())...)
	secrets := r.secrets(ctx, req.Config, &resp.Diagnostics)
	if plan.Instances.Equal(state.Instances) {
		plan.SecretDigests = state.SecretDigests
		keepGiven(ctx, secrets, resp.Private, &resp.Diagnostics)
		// Only what counts at the next deploy has changed: timeouts, health check, order.
		resp.Diagnostics.Append(resp.State.Set(ctx, plan)...)
		return
	}
	spec, diags := plan.spec(ctx)
	resp.Diagnostics.Append(diags...)
	if resp.Diagnostics.HasError() {
		return
	}
	spec.Secrets = secrets
	servers, before := stringList(plan.Servers), stringList(state.Servers)
	leaving, joining := without(before, servers), without(servers, before)
	report, err := approle.Deploy(ctx, r.deps.fleet, approle.Deployment{
		Spec: spec, Servers: servers, Joining: joining, Leaving: leaving, Recorded: state.recorded(), ImportID: plan.importID()})
	r.warn(&resp.Diagnostics, report.Warnings)
	resp.Diagnostics.Append(r.deps.savePins(ctx, resp.Private, servers)...)
	if err != nil {
		r.deps.addError(&resp.Diagnostics, "deploy "+spec.Role.Prefix(), "", err)
		// What was observed, under the configuration that was: so the next
		// plan shows the change again, with or without a refresh.
		// A server that was to join and has a container of this run is in it: a
		// plan that leaves it out again must know that there is something to remove.
		for _, s := range report.Began {
			if !slices.Contains(before, s) {
				before = append(before, s)
			}
		}
		state.Servers = listValue(before)
		was := state.Instances.Elements()
		state.setInstances(report.Instances)
		elems := state.Instances.Elements()
		for _, s := range report.Unseen {
			if in, ok := was[s]; ok {
				elems[s] = in
			}
		}
		state.Instances = types.MapValueMust(types.ObjectType{AttrTypes: instanceTypes}, elems)
		// Nobody knows which servers have which secrets now: the next Read does.
		state.SecretDigests = nullElements(state.SecretDigests)
		resp.Diagnostics.Append(resp.Identity.Set(ctx, state.identity())...)
		resp.Diagnostics.Append(resp.State.Set(ctx, state)...)
		return
	}
	planned := plan.Instances
	plan.setInstances(report.Instances)
	plan.keepPlanned(planned, &resp.Diagnostics)
	plan.SecretDigests = digestsOf(keepSalt(ctx, req.Private, resp.Private, &resp.Diagnostics), spec.Secrets)
	keepGiven(ctx, spec.Secrets, resp.Private, &resp.Diagnostics)
	resp.Diagnostics.Append(resp.State.Set(ctx, plan)...)
}

func (r *appRoleResource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	var state appRoleModel
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
	warnings, err := approle.Remove(ctx, r.deps.fleet, approle.Deployment{
		Spec: spec, Servers: stringList(state.Servers), Recorded: state.recorded()})
	r.warn(&resp.Diagnostics, warnings)
	r.deps.addError(&resp.Diagnostics, "remove "+spec.Role.Prefix(), "", err)
}

func (r *appRoleResource) warn(diags *diag.Diagnostics, warnings []approle.Warning) {
	for _, w := range warnings {
		r.deps.addWarning(diags, w.Summary, w.Detail)
	}
}

// without are the elements of a that are not in b.
func without(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return slices.Contains(b, s) })
}

// stoppedInstance is an instance that does not run, with all else as the state said.
func stoppedInstance(in types.Object) types.Object {
	a := in.Attributes()
	a["running"] = types.BoolValue(false)
	return types.ObjectValueMust(instanceTypes, a)
}
