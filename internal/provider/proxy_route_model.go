package provider

import (
	"context"
	"slices"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-framework/types/basetypes"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/proxy"
)

type proxyRouteModel struct {
	ID              types.String   `tfsdk:"id"`
	Target          types.Object   `tfsdk:"target"`
	Servers         types.List     `tfsdk:"servers"`
	Hosts           types.List     `tfsdk:"hosts"`
	PathPrefixes    types.List     `tfsdk:"path_prefixes"`
	StripPathPrefix types.Bool     `tfsdk:"strip_path_prefix"`
	TLS             types.Object   `tfsdk:"tls"`
	CanonicalHost   types.String   `tfsdk:"canonical_host"`
	ForwardHeaders  types.Bool     `tfsdk:"forward_headers"`
	ResponseTimeout types.String   `tfsdk:"response_timeout"`
	Buffering       types.Object   `tfsdk:"buffering"`
	LogHeaders      types.Object   `tfsdk:"log_headers"`
	Maintenance     types.Object   `tfsdk:"maintenance"`
	Instances       types.Map      `tfsdk:"instances"`
	Timeouts        timeouts.Value `tfsdk:"timeouts"`
}

type routeTargetModel struct {
	Service       types.String `tfsdk:"service"`
	App           types.String `tfsdk:"app"`
	AppPort       types.Int64  `tfsdk:"app_port"`
	Healthcheck   types.Object `tfsdk:"healthcheck"`
	DeployTimeout types.String `tfsdk:"deploy_timeout"`
	DrainTimeout  types.String `tfsdk:"drain_timeout"`
}

type routeTLSModel struct {
	ACME        types.Bool   `tfsdk:"acme"`
	Staging     types.Bool   `tfsdk:"staging"`
	Certificate types.String `tfsdk:"certificate_pem"`
	PrivateKey  types.String `tfsdk:"private_key_pem"`
	Redirect    types.Bool   `tfsdk:"redirect"`
}

type routeBufferingModel struct {
	Requests        types.Bool  `tfsdk:"requests"`
	Responses       types.Bool  `tfsdk:"responses"`
	Memory          types.Int64 `tfsdk:"memory"`
	MaxRequestBody  types.Int64 `tfsdk:"max_request_body"`
	MaxResponseBody types.Int64 `tfsdk:"max_response_body"`
}

type routeLogHeadersModel struct {
	Request  types.List `tfsdk:"request"`
	Response types.List `tfsdk:"response"`
}

type proxyRouteIdentity struct {
	Service types.String `tfsdk:"service"`
	Servers types.List   `tfsdk:"servers"`
}

// target is the model's target; its attributes are unknown where it is not known.
func (m proxyRouteModel) target(ctx context.Context) (routeTargetModel, diag.Diagnostics) {
	if m.Target.IsUnknown() {
		return routeTargetModel{Service: types.StringUnknown(), App: types.StringUnknown(), AppPort: types.Int64Unknown(),
			Healthcheck: types.ObjectUnknown(healthTypes), DeployTimeout: types.StringUnknown(), DrainTimeout: types.StringUnknown()}, nil
	}
	t := routeTargetModel{Healthcheck: types.ObjectNull(healthTypes)}
	return t, as(ctx, m.Target, &t)
}

func (t routeTargetModel) object() types.Object {
	return types.ObjectValueMust(proxyTypes, map[string]attr.Value{"service": t.Service, "app": t.App, "app_port": t.AppPort,
		"healthcheck": t.Healthcheck, "deploy_timeout": t.DeployTimeout, "drain_timeout": t.DrainTimeout})
}

func (m proxyRouteModel) identity(ctx context.Context) proxyRouteIdentity {
	t, _ := m.target(ctx)
	return proxyRouteIdentity{t.Service, m.Servers}
}

// importID is the id to import the route by, and its id: unknown while a part of it is.
func (m proxyRouteModel) importID(ctx context.Context) types.String {
	t, _ := m.target(ctx)
	if t.Service.IsUnknown() || !fullyKnown(ctx, m.Servers) {
		return types.StringUnknown()
	}
	return types.StringValue(t.Service.ValueString() + "@" + strings.Join(stringList(m.Servers), ","))
}

// route turns a model in which everything is known into plain values.
func (m proxyRouteModel) route(ctx context.Context) (proxy.Route, diag.Diagnostics) {
	var (
		diags       diag.Diagnostics
		health      healthModel
		tls         routeTLSModel
		buffering   routeBufferingModel
		logHeaders  routeLogHeadersModel
		maintenance struct {
			Message types.String `tfsdk:"message"`
		}
	)
	t, d := m.target(ctx)
	diags.Append(d...)
	diags.Append(as(ctx, t.Healthcheck, &health)...)
	diags.Append(as(ctx, m.TLS, &tls)...)
	diags.Append(as(ctx, m.Buffering, &buffering)...)
	diags.Append(as(ctx, m.LogHeaders, &logHeaders)...)
	diags.Append(as(ctx, m.Maintenance, &maintenance)...)
	r := proxy.Route{
		Service: t.Service.ValueString(), App: t.App.ValueString(), AppPort: int(t.AppPort.ValueInt64()), Health: health.health(),
		DeployTimeout: duration(t.DeployTimeout), DrainTimeout: duration(t.DrainTimeout),
		Hosts: stringList(m.Hosts), PathPrefixes: stringList(m.PathPrefixes), StripPathPrefix: m.StripPathPrefix.ValueBool(),
		CanonicalHost: m.CanonicalHost.ValueString(), ForwardHeaders: m.ForwardHeaders.ValueBool(), ResponseTimeout: duration(m.ResponseTimeout),
		Buffering: proxy.Buffering{
			Requests: buffering.Requests.ValueBool(), Responses: buffering.Responses.ValueBool(), Memory: buffering.Memory.ValueInt64(),
			MaxRequestBody: buffering.MaxRequestBody.ValueInt64(), MaxResponseBody: buffering.MaxResponseBody.ValueInt64(),
		},
		LogRequestHeaders: stringList(logHeaders.Request), LogResponseHeaders: stringList(logHeaders.Response),
	}
	if !m.TLS.IsNull() {
		r.TLS = &proxy.TLS{ACME: tls.ACME.ValueBool(), Staging: tls.Staging.ValueBool(), Redirect: tls.Redirect.ValueBool(),
			Certificate: tls.Certificate.ValueString(), PrivateKey: tls.PrivateKey.ValueString()}
	}
	if !m.Maintenance.IsNull() {
		r.Maintenance = &proxy.Maintenance{Message: maintenance.Message.ValueString()}
	}
	return r, diags
}

// take writes a route into the attributes. What has the same meaning as in
// prior, the route that they hold, keeps its spelling; what was null and isn't
// optional, as after an import, is filled.
func (m *proxyRouteModel) take(ctx context.Context, r, prior proxy.Route) diag.Diagnostics {
	diff := proxy.Diff(r, prior)
	differs := func(name string, v attr.Value) bool { return slices.Contains(diff, name) || v.IsNull() }
	t, diags := m.target(ctx)
	if t.App.IsNull() && m.ID.IsNull() {
		t.App = stringOrNull(r.App)
	}
	if differs("target.app_port", t.AppPort) {
		t.AppPort = types.Int64Value(int64(r.AppPort))
	}
	if differs("target.healthcheck", t.Healthcheck) {
		t.Healthcheck = healthValue(r.Health)
	}
	m.Target = t.object()
	if differs("hosts", m.Hosts) {
		m.Hosts = listValue(r.Hosts)
	}
	if differs("path_prefixes", m.PathPrefixes) {
		m.PathPrefixes = stringsValue(r.PathPrefixes)
		if len(r.PathPrefixes) == 0 { // kamal-proxy's word for all
			m.PathPrefixes = defaultPathPrefixes
		}
	}
	if differs("strip_path_prefix", m.StripPathPrefix) {
		m.StripPathPrefix = types.BoolValue(r.StripPathPrefix)
	}
	if differs("tls", m.TLS) {
		m.TLS = routeTLSValue(r.TLS)
	}
	if differs("canonical_host", m.CanonicalHost) {
		m.CanonicalHost = stringOrNull(r.CanonicalHost)
	}
	m.ForwardHeaders = types.BoolValue(r.ForwardHeaders)
	if differs("response_timeout", m.ResponseTimeout) {
		m.ResponseTimeout = types.StringValue(spelled(r.ResponseTimeout))
	}
	if b := r.Buffering; differs("buffering", m.Buffering) {
		m.Buffering = types.ObjectValueMust(routeBufferingTypes, map[string]attr.Value{
			"requests": types.BoolValue(b.Requests), "responses": types.BoolValue(b.Responses), "memory": types.Int64Value(b.Memory),
			"max_request_body": types.Int64Value(b.MaxRequestBody), "max_response_body": types.Int64Value(b.MaxResponseBody)})
	}
	if differs("log_headers", m.LogHeaders) {
		m.LogHeaders = types.ObjectValueMust(routeLogHeadersTypes, map[string]attr.Value{
			"request": stringsValue(r.LogRequestHeaders), "response": stringsValue(r.LogResponseHeaders)})
	}
	if differs("maintenance", m.Maintenance) {
		m.Maintenance = types.ObjectNull(routeMaintenanceTypes)
		if r.Maintenance != nil {
			m.Maintenance = types.ObjectValueMust(routeMaintenanceTypes, map[string]attr.Value{"message": types.StringValue(r.Maintenance.Message)})
		}
	}
	return diags
}

// setInstances fills instances from what was observed, as compared with the
// route that the other attributes hold. Those in kept are taken as they are.
func (m *proxyRouteModel) setInstances(r proxy.Route, observed map[string]*proxy.Instance, kept map[string]attr.Value) {
	elems := make(map[string]attr.Value, len(observed)+len(kept))
	for server, v := range kept {
		elems[server] = v
	}
	for server, i := range observed {
		elems[server] = types.ObjectValueMust(routeInstanceTypes, map[string]attr.Value{
			"target": types.StringValue(i.Shown()), "state": types.StringValue(i.State.String()), "machine_id": types.StringValue(i.Machine),
			"drift": stringsValue(i.Drift(r)),
		})
	}
	m.Instances = types.MapValueMust(types.ObjectType{AttrTypes: routeInstanceTypes}, elems)
}

// everywhere are the servers that the state knows of: those of the
// configuration, and those where a change that failed has left the route.
func (m proxyRouteModel) everywhere() []string {
	servers := stringList(m.Servers)
	var more []string
	for s := range m.Instances.Elements() {
		if !slices.Contains(servers, s) {
			more = append(more, s)
		}
	}
	slices.Sort(more)
	return append(servers, more...)
}

// machines are the servers of everywhere with their machine-ids.
func (m proxyRouteModel) machines() map[string]string {
	out := map[string]string{}
	for _, s := range m.everywhere() {
		out[s] = ""
		if o, ok := m.Instances.Elements()[s].(types.Object); ok {
			if id, ok := o.Attributes()["machine_id"].(types.String); ok {
				out[s] = id.ValueString()
			}
		}
	}
	return out
}

func routeTLSValue(t *proxy.TLS) types.Object {
	if t == nil {
		return types.ObjectNull(routeTLSTypes)
	}
	return types.ObjectValueMust(routeTLSTypes, map[string]attr.Value{
		"acme": types.BoolValue(t.ACME), "staging": types.BoolValue(t.Staging), "certificate_pem": stringOrNull(t.Certificate),
		"private_key_pem": types.StringNull(), "redirect": types.BoolValue(t.Redirect)})
}

func healthValue(h proxy.Health) types.Object {
	port := types.Int64Null()
	if h.Port > 0 {
		port = types.Int64Value(int64(h.Port))
	}
	return types.ObjectValueMust(healthTypes, map[string]attr.Value{"path": types.StringValue(h.Path), "port": port, "host": stringOrNull(h.Host),
		"interval": types.StringValue(spelled(h.Interval)), "timeout": types.StringValue(spelled(h.Timeout))})
}

func stringOrNull(s string) types.String {
	if s == "" {
		return types.StringNull()
	}
	return types.StringValue(s)
}

// as reads an object into a struct of framework values; null and unknown leave it as it is.
func as(ctx context.Context, o types.Object, into any) diag.Diagnostics {
	if o.IsNull() || o.IsUnknown() {
		return nil
	}
	return o.As(ctx, into, basetypes.ObjectAsOptions{})
}

// fullyKnown says that nothing in v is unknown.
func fullyKnown(ctx context.Context, v attr.Value) bool {
	tv, err := v.ToTerraformValue(ctx)
	return err == nil && tv.IsFullyKnown()
}
