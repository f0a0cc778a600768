package provider

import (
	"context"
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
	"github.com/kamal-terraform/terraform-provider-kamal/internal/kamal"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/workload"
)

// ImportState takes `service/role[/destination]@server[,server…]`, or the identity.
func (r *appRoleResource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	id := importedID(ctx, req, parseRoleID, "A role is imported by service/role[/destination]@server[,server…], as in shop/web@10.0.0.1,10.0.0.2.", &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
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
