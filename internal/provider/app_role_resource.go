package provider

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/approle"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/kamal"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/workload"
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

// ImportState takes `service/role[/destination]@server[,server…]`, or the identity.
func (r *appRoleResource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	var id appRoleIdentity
	if req.ID != "" {
		var err error
		if id, err = parseRoleID(req.ID); err != nil {
			resp.Diagnostics.AddError("Invalid import id", err.Error()+".\nA role is imported by service/role[/destination]@server[,server…], as in shop/web@10.0.0.1,10.0.0.2.")
			return
		}
	} else {
		resp.Diagnostics.Append(req.Identity.Get(ctx, &id)...)
	}
	set := func(name string, v attr.Value) {
		resp.Diagnostics.Append(resp.State.SetAttribute(ctx, path.Root(name), v)...)
	}
	set("service", id.Service)
	set("role", id.Role)
	set("destination", id.Destination)
	set("servers", id.Servers)
	// What no container shows is at its default.
	set("pull", types.StringValue("missing"))
	set("healthcheck", defaultHealth)
	set("readiness_delay", types.StringValue(defaultReadinessDelay))
	set("deploy_timeout", types.StringValue(defaultDeployTimeout))
	set("drain_timeout", types.StringValue(defaultDrainTimeout))
	set("boot", defaultBoot)
	// What is at its default must not be taken for what the daemon adds.
	set("logging", defaultLogging)
	set("retain_containers", types.Int64Value(defaultRetain))
	resp.Diagnostics.Append(resp.Identity.Set(ctx, id)...)
}

func parseRoleID(s string) (appRoleIdentity, error) {
	name, servers, err := cutImportID(s)
	if err != nil {
		return appRoleIdentity{}, err
	}
	for _, server := range servers {
		if _, err := sshexec.ParseDestination(server); err != nil {
			return appRoleIdentity{}, fmt.Errorf("server %q: %w", server, err)
		}
	}
	parts := strings.Split(name, "/")
	if len(parts) < 2 || len(parts) > 3 {
		return appRoleIdentity{}, fmt.Errorf("%q has not the form service/role[/destination]", name)
	}
	for _, p := range parts {
		if !kamal.NamePattern.MatchString(p) {
			return appRoleIdentity{}, fmt.Errorf("%q is no name of a service, role or destination", p)
		}
	}
	id := appRoleIdentity{Service: types.StringValue(parts[0]), Role: types.StringValue(parts[1]), Destination: types.StringNull(), Servers: listValue(servers)}
	if len(parts) == 3 {
		id.Destination = types.StringValue(parts[2])
	}
	return id, nil
}

// takeEntry fills, on import, what the role's service at kamal-proxy tells: port and health check.
func (m *appRoleModel) takeEntry(seen map[string]approle.Observed) {
	for _, o := range seen {
		if o.Entry == nil {
			continue
		}
		if port := o.EntryPort(); port > 0 {
			m.AppPort = types.Int64Value(int64(port))
		}
		m.Healthcheck = healthValue(o.Entry.TargetOptions.HealthCheck.Health())
		return
	}
}

// imported tells what of the containers that are taken over is not as Kamal's
// roles are, and sets the order in which such can be swapped.
func (m *appRoleModel) imported(ctx context.Context, seen map[string]approle.Observed) diag.Diagnostics {
	var diags diag.Diagnostics
	for _, server := range slices.Sorted(maps.Keys(seen)) {
		if o := seen[server]; o.Current != nil {
			warnLosses(&diags, o.Current.ContainerName()+" on "+server, o.Losses())
		}
	}
	spec, d := m.spec(ctx)
	diags.Append(d...)
	if len(spec.Ports) == 0 {
		return diags
	}
	boot := maps.Clone(m.Boot.Attributes())
	boot["order"] = types.StringValue("stop_first")
	m.Boot = types.ObjectValueMust(bootTypes, boot)
	text := spec.Role.Prefix() + " publishes " + strings.Join(spec.Ports, ", ") + ". Two containers can't have one port of the server, so that boot.order is \"stop_first\": " +
		"the old container is stopped before the new one starts, and nobody answers in between."
	for _, p := range spec.Ports {
		if port, err := workload.ParsePort(p); err == nil && int(port.Container) == spec.AppPort {
			text += "\n\n" + p + " is superfluous for kamal-proxy, which reaches the container over the network: take it out of ports, and boot.order with it, where nobody else uses it."
		}
	}
	diags.AddAttributeWarning(path.Root("ports"), "A role with published ports can't be swapped without a gap", text)
	return diags
}

// spelled is a duration as people write it: "30s", not "30s0ms".
func spelled(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
