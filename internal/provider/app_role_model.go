package provider

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/approle"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/kamal"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/proxy"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/secret"
)

type appRoleModel struct {
	containerModel
	ID               types.String   `tfsdk:"id"`
	Service          types.String   `tfsdk:"service"`
	Role             types.String   `tfsdk:"role"`
	Destination      types.String   `tfsdk:"destination"`
	Servers          types.List     `tfsdk:"servers"`
	AssetPath        types.String   `tfsdk:"asset_path"`
	Pull             types.String   `tfsdk:"pull"`
	Secrets          types.Map      `tfsdk:"secrets"`
	SecretsVersion   types.String   `tfsdk:"secrets_version"`
	SecretDigests    types.Map      `tfsdk:"secret_digests"`
	AppPort          types.Int64    `tfsdk:"app_port"`
	Healthcheck      types.Object   `tfsdk:"healthcheck"`
	ReadinessDelay   types.String   `tfsdk:"readiness_delay"`
	Verify           types.List     `tfsdk:"verify"`
	StopTimeout      types.String   `tfsdk:"stop_timeout"`
	DeployTimeout    types.String   `tfsdk:"deploy_timeout"`
	DrainTimeout     types.String   `tfsdk:"drain_timeout"`
	Boot             types.Object   `tfsdk:"boot"`
	RetainContainers types.Int64    `tfsdk:"retain_containers"`
	Version          types.String   `tfsdk:"version"`
	Proxy            types.Object   `tfsdk:"proxy"`
	Instances        types.Map      `tfsdk:"instances"`
	Timeouts         timeouts.Value `tfsdk:"timeouts"`
}

type healthModel struct {
	Path     types.String `tfsdk:"path"`
	Port     types.Int64  `tfsdk:"port"`
	Host     types.String `tfsdk:"host"`
	Interval types.String `tfsdk:"interval"`
	Timeout  types.String `tfsdk:"timeout"`
}

func (h healthModel) health() proxy.Health {
	return proxy.Health{Path: h.Path.ValueString(), Port: int(h.Port.ValueInt64()), Host: h.Host.ValueString(),
		Interval: duration(h.Interval), Timeout: duration(h.Timeout)}
}

type bootModel struct {
	Order     types.String `tfsdk:"order"`
	Limit     types.String `tfsdk:"limit"`
	Wait      types.String `tfsdk:"wait"`
	OnFailure types.String `tfsdk:"on_failure"`
}

type appRoleIdentity struct {
	Service     types.String `tfsdk:"service"`
	Role        types.String `tfsdk:"role"`
	Destination types.String `tfsdk:"destination"`
	Servers     types.List   `tfsdk:"servers"`
}

func (m appRoleModel) identity() appRoleIdentity {
	return appRoleIdentity{m.Service, m.Role, m.Destination, m.Servers}
}

func (m appRoleModel) role() kamal.Role {
	return kamal.Role{Service: m.Service.ValueString(), Role: m.Role.ValueString(), Destination: m.Destination.ValueString()}
}

// importID is the id to import the role by.
func (m appRoleModel) importID() string {
	return roleID(m.role()) + "@" + strings.Join(stringList(m.Servers), ",")
}

func roleID(r kamal.Role) string {
	id := r.Service + "/" + r.Role
	if r.Destination != "" {
		id += "/" + r.Destination
	}
	return id
}

// spec turns a model in which everything is known into plain values.
func (m appRoleModel) spec(ctx context.Context) (approle.Spec, diag.Diagnostics) {
	var diags diag.Diagnostics
	var health healthModel
	var boot bootModel
	container, d := m.container(ctx)
	diags.Append(d...)
	container.AssetPath = m.AssetPath.ValueString()
	diags.Append(as(ctx, m.Healthcheck, &health)...)
	diags.Append(as(ctx, m.Boot, &boot)...)
	limit, percent := parseLimit(boot.Limit.ValueString())
	return approle.Spec{
		Role: m.role(), Spec: container, PullAlways: m.Pull.ValueString() == "always",
		AppPort: int(m.AppPort.ValueInt64()), Health: health.health(), ReadinessDelay: duration(m.ReadinessDelay),
		Verify:      stringList(m.Verify),
		StopTimeout: duration(m.StopTimeout), DeployTimeout: duration(m.DeployTimeout), DrainTimeout: duration(m.DrainTimeout),
		Boot: approle.Boot{StopFirst: boot.Order.ValueString() == "stop_first", Limit: limit, Percent: percent,
			Wait: duration(boot.Wait), Halt: boot.OnFailure.ValueString() == "halt"},
		Retain: int(m.RetainContainers.ValueInt64()),
	}, diags
}

// proxy is what a route gets: it holds unknown values where the model does.
func (m appRoleModel) proxy() types.Object {
	if m.AppPort.IsNull() {
		return types.ObjectNull(proxyTypes)
	}
	service, app := types.StringUnknown(), types.StringUnknown()
	if !m.Service.IsUnknown() && !m.Role.IsUnknown() && !m.Destination.IsUnknown() {
		service, app = types.StringValue(m.role().Prefix()), types.StringValue(m.role().App())
	}
	return types.ObjectValueMust(proxyTypes, map[string]attr.Value{
		"service": service, "app": app, "app_port": m.AppPort, "healthcheck": m.Healthcheck,
		"deploy_timeout": m.DeployTimeout, "drain_timeout": m.DrainTimeout,
	})
}

// describe fills the computed attributes that follow from the others.
func (m *appRoleModel) describe() {
	m.ID, m.Version = types.StringUnknown(), types.StringUnknown()
	if !m.Service.IsUnknown() && !m.Role.IsUnknown() && !m.Destination.IsUnknown() {
		m.ID = types.StringValue(roleID(m.role()))
	}
	if !m.Image.IsUnknown() {
		m.Version = types.StringValue(approle.Version(m.Image.ValueString()))
	}
	m.Proxy = m.proxy()
}

// setInstances fills instances from what was observed; servers without the role have none.
func (m *appRoleModel) setInstances(instances map[string]approle.Instance) {
	elems := make(map[string]attr.Value, len(instances))
	for server, in := range instances {
		elems[server] = types.ObjectValueMust(instanceTypes, map[string]attr.Value{
			"container": types.StringValue(in.Container), "image": types.StringValue(in.Image), "digest": types.StringValue(in.Digest),
			"running": types.BoolValue(in.Running), "machine_id": types.StringValue(in.MachineID),
			"drift": stringsValue(in.Drift),
		})
	}
	m.Instances = types.MapValueMust(types.ObjectType{AttrTypes: instanceTypes}, elems)
}

// recorded are the containers that the state knows, by server.
func (m appRoleModel) recorded() map[string]string {
	out := map[string]string{}
	for server, v := range m.Instances.Elements() {
		if o, ok := v.(types.Object); ok {
			if c, ok := o.Attributes()["container"].(types.String); ok {
				out[server] = c.ValueString()
			}
		}
	}
	return out
}

// refresh takes over what the containers of all servers show. Where they
// disagree, an attribute keeps the state's value, and the instances of the
// servers that differ say so.
func (m *appRoleModel) refresh(ctx context.Context, salt []byte, seen map[string]approle.Observed, kept map[string]attr.Value) diag.Diagnostics {
	prior, diags := m.spec(ctx)
	prior.Secrets = secret.Set{}
	for _, name := range m.secretNames(seen) {
		prior.Secrets[name] = ""
	}
	servers := slices.Sorted(maps.Keys(seen))
	specs := map[string]approle.Spec{}
	for _, s := range servers {
		if o := seen[s]; o.Current != nil {
			specs[s] = approle.FromContainer(o, prior)
		}
	}
	agreed := approle.Agreed(prior, slices.Collect(maps.Values(specs)))
	diags.Append(m.take(ctx, agreed.Spec, prior.Spec)...)
	if agreed.AssetPath != prior.AssetPath {
		m.AssetPath = stringOrNull(agreed.AssetPath)
	}

	var envs []map[string]string
	instances := map[string]approle.Instance{}
	for _, s := range servers {
		if _, ok := specs[s]; !ok {
			continue
		}
		o := seen[s]
		envs = append(envs, o.Snapshot.Secrets(*o.Current))
		in, _ := o.Instance(agreed, agreed.Differs(o))
		in.Drift = append(in.Drift, o.Losses()...)
		instances[s] = in
	}
	m.setInstances(instances)
	if len(envs) > 0 {
		m.SecretDigests = seenDigests(salt, prior.Secrets.Names(), envs)
	}
	if len(kept) > 0 {
		elems := m.Instances.Elements()
		maps.Copy(elems, kept)
		m.Instances = types.MapValueMust(types.ObjectType{AttrTypes: instanceTypes}, elems)
	}
	return diags
}

// secretNames are the variables that are secret: those of the state, and those
// in the role's env file, where Kamal keeps its secrets, or in files. So an
// import never takes a secret for a plain variable. A name in the file that no container has
// is of a deploy that failed.
func (m appRoleModel) secretNames(seen map[string]approle.Observed) []string {
	names := slices.Collect(maps.Keys(m.SecretDigests.Elements()))
	for _, o := range seen {
		if o.Current == nil {
			continue
		}
		env := o.Current.Env()
		for _, name := range o.SecretNames {
			if _, has := env[name]; has {
				names = append(names, name)
			}
		}
		names = append(names, o.Snapshot.SecretNames(*o.Current)...)
	}
	return names
}
