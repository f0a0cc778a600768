package provider

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/accessory"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/secret"
)

// settled is how long a container without any health check has to run to be ready.
const settled = 2 * time.Second

type accessoryModel struct {
	ID               types.String   `tfsdk:"id"`
	Server           types.String   `tfsdk:"server"`
	Service          types.String   `tfsdk:"service"`
	Name             types.String   `tfsdk:"name"`
	Image            types.String   `tfsdk:"image"`
	Pull             types.String   `tfsdk:"pull"`
	Command          types.List     `tfsdk:"command"`
	Env              types.Map      `tfsdk:"env"`
	Secrets          types.Map      `tfsdk:"secrets"`
	SecretsAsFiles   types.Set      `tfsdk:"secrets_as_files"`
	SecretsVersion   types.String   `tfsdk:"secrets_version"`
	SecretDigests    types.Map      `tfsdk:"secret_digests"`
	Ports            types.List     `tfsdk:"ports"`
	Volumes          types.List     `tfsdk:"volumes"`
	Directories      types.List     `tfsdk:"directories"`
	Files            types.List     `tfsdk:"files"`
	Labels           types.Map      `tfsdk:"labels"`
	Logging          types.Object   `tfsdk:"logging"`
	Memory           types.String   `tfsdk:"memory"`
	CPUs             types.Float64  `tfsdk:"cpus"`
	Options          types.Object   `tfsdk:"options"`
	Network          types.String   `tfsdk:"network"`
	Healthcheck      types.Object   `tfsdk:"healthcheck"`
	AppPort          types.Int64    `tfsdk:"app_port"`
	ProxyHealthcheck types.Object   `tfsdk:"proxy_healthcheck"`
	StopTimeout      types.String   `tfsdk:"stop_timeout"`
	DeployTimeout    types.String   `tfsdk:"deploy_timeout"`
	DrainTimeout     types.String   `tfsdk:"drain_timeout"`
	DeleteData       types.Bool     `tfsdk:"delete_data"`
	Container        types.String   `tfsdk:"container"`
	Digest           types.String   `tfsdk:"digest"`
	Running          types.Bool     `tfsdk:"running"`
	MachineID        types.String   `tfsdk:"machine_id"`
	Drift            types.List     `tfsdk:"drift"`
	Proxy            types.Object   `tfsdk:"proxy"`
	Timeouts         timeouts.Value `tfsdk:"timeouts"`
}

type accessoryFile struct {
	Path          types.String `tfsdk:"path"`
	Content       types.String `tfsdk:"content"`
	SecretContent types.String `tfsdk:"secret_content"`
	Mode          types.String `tfsdk:"mode"`
	Owner         types.String `tfsdk:"owner"`
}

type accessoryHealth struct {
	Command types.List  `tfsdk:"command"`
	Port    types.Int64 `tfsdk:"port"`
}

func (m accessoryModel) identity() partIdentity {
	return partIdentity{m.Service, m.Name, m.Server}
}

// full is Kamal's name of the accessory, SVC-NAME.
func (m accessoryModel) full() string {
	return accessory.Spec{Service: m.Service.ValueString(), Name: m.Name.ValueString()}.ContainerName()
}

func (m accessoryModel) importID() string {
	return m.Service.ValueString() + "/" + m.Name.ValueString() + "@" + m.Server.ValueString()
}

// spec turns a model in which everything is known into plain values.
func (m accessoryModel) spec(ctx context.Context) (accessory.Spec, diag.Diagnostics) {
	var diags diag.Diagnostics
	var logging loggingModel
	var health healthModel
	var ready accessoryHealth
	var options optionsModel
	diags.Append(as(ctx, m.Logging, &logging)...)
	diags.Append(as(ctx, m.ProxyHealthcheck, &health)...)
	diags.Append(as(ctx, m.Healthcheck, &ready)...)
	diags.Append(as(ctx, m.Options, &options)...)
	var files []accessoryFile
	if !m.Files.IsNull() && !m.Files.IsUnknown() {
		diags.Append(m.Files.ElementsAs(ctx, &files, false)...)
	}
	s := accessory.Spec{
		Service: m.Service.ValueString(), Name: m.Name.ValueString(), Image: m.Image.ValueString(), PullAlways: m.Pull.ValueString() == "always",
		Command: stringList(m.Command), Env: stringMap(m.Env), AsFiles: stringSet(m.SecretsAsFiles), Ports: stringList(m.Ports),
		Volumes: stringList(m.Volumes), Directories: stringList(m.Directories), Labels: stringMap(m.Labels),
		LogDriver: logging.Driver.ValueString(), LogOptions: stringMap(logging.Options),
		Memory: bytes(m.Memory), CPUs: m.CPUs.ValueFloat64(), Options: options.options(),
		Network: m.Network.ValueString(), Ready: accessory.Ready{Command: stringList(ready.Command), Port: int(ready.Port.ValueInt64()), Delay: settled},
		AppPort: int(m.AppPort.ValueInt64()), Health: health.health(),
		StopTimeout: duration(m.StopTimeout), DeployTimeout: duration(m.DeployTimeout), DrainTimeout: duration(m.DrainTimeout),
		DeleteData: m.DeleteData.ValueBool(),
	}
	for _, f := range files {
		s.Files = append(s.Files, accessory.File{Path: f.Path.ValueString(), Content: f.Content.ValueString(), Secret: f.Content.IsNull(), Mode: f.Mode.ValueString(), Owner: f.Owner.ValueString()})
	}
	return s, diags
}

// describe fills the computed attributes that follow from the others.
func (m *accessoryModel) describe() {
	m.ID = types.StringUnknown()
	service := types.StringUnknown()
	if !m.Service.IsUnknown() && !m.Name.IsUnknown() {
		m.ID = types.StringValue(m.Service.ValueString() + "/" + m.Name.ValueString())
		service = types.StringValue(m.full())
	}
	m.Proxy = types.ObjectNull(proxyTypes)
	if !m.AppPort.IsNull() {
		m.Proxy = types.ObjectValueMust(proxyTypes, map[string]attr.Value{
			"service": service, "app": types.StringNull(), "app_port": m.AppPort, "healthcheck": m.ProxyHealthcheck,
			"deploy_timeout": m.DeployTimeout, "drain_timeout": m.DrainTimeout,
		})
	}
}

// setState fills what was observed of the container.
func (m *accessoryModel) setState(st accessory.State) {
	m.Container, m.Digest = types.StringValue(st.Container), types.StringValue(st.Digest)
	m.Running, m.MachineID = types.BoolValue(st.Running), types.StringValue(st.MachineID)
	m.setDrift(st.Drift)
}

func (m *accessoryModel) setDrift(drift []string) {
	elems := make([]attr.Value, len(drift))
	for i, d := range drift {
		elems[i] = types.StringValue(d)
	}
	m.Drift = types.ListValueMust(types.StringType, elems)
}

// secretNames are the variables that are secret: those of the state, and those
// in the env file, where Kamal keeps its secrets, or in files. So an import
// never takes a secret for a plain variable. A name in the env file that the
// container hasn't got is of a deploy that failed. Secret files are named by
// their path.
func (m accessoryModel) secretNames(o accessory.Observed) []string {
	names := slices.Collect(maps.Keys(m.SecretDigests.Elements()))
	env := o.Current.Env()
	for _, name := range o.SecretNames {
		if _, has := env[name]; has {
			names = append(names, name)
		}
	}
	names = append(names, o.Snapshot.SecretNames(*o.Current)...)
	for _, mount := range o.Snapshot.SecretMounts(*o.Current) {
		if mount.Destination != secret.MountPoint {
			names = append(names, mount.Destination)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// refresh takes over what the container shows; there is one.
func (m *accessoryModel) refresh(ctx context.Context, salt []byte, o accessory.Observed) diag.Diagnostics {
	prior, diags := m.spec(ctx)
	names := m.secretNames(o)
	prior.Secrets = secret.Set{}
	for _, name := range names {
		if !isFilePath(name) {
			prior.Secrets[name] = ""
		}
	}
	var options optionsModel
	diags.Append(as(ctx, m.Options, &options)...)
	m.take(accessory.FromContainer(o, prior), prior, options)
	if st, ok := o.State(); ok {
		m.setState(st)
	}
	m.SecretDigests = seenDigests(salt, names, []map[string]string{o.Snapshot.Secrets(*o.Current)})
	return diags
}

// take writes what differs from prior into the attributes, so that what is the
// same keeps the spelling of the configuration.
func (m *accessoryModel) take(s, prior accessory.Spec, options optionsModel) {
	if s.Image != prior.Image {
		m.Image = types.StringValue(s.Image)
	}
	for _, l := range []struct {
		now, before []string
		to          *types.List
	}{{s.Command, prior.Command, &m.Command}, {s.Ports, prior.Ports, &m.Ports}, {s.Volumes, prior.Volumes, &m.Volumes}, {s.Directories, prior.Directories, &m.Directories}} {
		if !slices.Equal(l.now, l.before) {
			*l.to = listValue(l.now)
		}
	}
	if !maps.Equal(s.Env, prior.Env) {
		m.Env = mapValue(s.Env)
	}
	if !slices.Equal(s.AsFiles, prior.AsFiles) {
		m.SecretsAsFiles = setValue(s.AsFiles)
	}
	if !maps.Equal(s.Labels, prior.Labels) {
		m.Labels = mapValue(s.Labels)
	}
	if !slices.Equal(s.Files, prior.Files) {
		m.Files = filesValue(s.Files)
	}
	if s.LogDriver != prior.LogDriver || !maps.Equal(s.LogOptions, prior.LogOptions) || m.Logging.IsNull() {
		m.Logging = types.ObjectValueMust(loggingTypes, map[string]attr.Value{
			"driver": types.StringValue(s.LogDriver), "options": mapValue(s.LogOptions)})
	}
	if s.Memory != prior.Memory {
		m.Memory = sizeValue(s.Memory)
	}
	if s.CPUs != prior.CPUs {
		m.CPUs = types.Float64Null()
		if s.CPUs > 0 {
			m.CPUs = types.Float64Value(s.CPUs)
		}
	}
	if !s.Options.Equal(prior.Options) {
		m.Options = optionsValue(s.Options, options)
	}
	m.Network = types.StringValue(s.Network)
}

// sizeValue is a size as people write it, null for none.
func sizeValue(n int64) types.String {
	if n == 0 {
		return types.StringNull()
	}
	unit := ""
	for _, next := range []string{"k", "m", "g"} {
		if n%1024 != 0 {
			break
		}
		n, unit = n/1024, next
	}
	return types.StringValue(strconv.FormatInt(n, 10) + unit)
}

func filesValue(files []accessory.File) types.List {
	if len(files) == 0 {
		return types.ListNull(types.ObjectType{AttrTypes: fileTypes})
	}
	var elems []attr.Value
	for _, f := range files {
		content := types.StringValue(f.Content)
		if f.Secret {
			content = types.StringNull()
		}
		elems = append(elems, types.ObjectValueMust(fileTypes, map[string]attr.Value{"path": types.StringValue(f.Path),
			"content": content, "secret_content": types.StringNull(), "mode": types.StringValue(f.Mode), "owner": stringOrNull(f.Owner)}))
	}
	return types.ListValueMust(types.ObjectType{AttrTypes: fileTypes}, elems)
}
