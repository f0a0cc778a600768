package provider

import (
	"context"
	"maps"
	"slices"
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
	containerModel
	ID               types.String   `tfsdk:"id"`
	Server           types.String   `tfsdk:"server"`
	Service          types.String   `tfsdk:"service"`
	Name             types.String   `tfsdk:"name"`
	Pull             types.String   `tfsdk:"pull"`
	Secrets          types.Map      `tfsdk:"secrets"`
	SecretsVersion   types.String   `tfsdk:"secrets_version"`
	SecretDigests    types.Map      `tfsdk:"secret_digests"`
	Directories      types.List     `tfsdk:"directories"`
	Files            types.List     `tfsdk:"files"`
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
	var health healthModel
	var ready accessoryHealth
	container, d := m.container(ctx)
	diags.Append(d...)
	container.Network = m.Network.ValueString()
	diags.Append(as(ctx, m.ProxyHealthcheck, &health)...)
	diags.Append(as(ctx, m.Healthcheck, &ready)...)
	var files []accessoryFile
	if !m.Files.IsNull() && !m.Files.IsUnknown() {
		diags.Append(m.Files.ElementsAs(ctx, &files, false)...)
	}
	s := accessory.Spec{
		Service: m.Service.ValueString(), Name: m.Name.ValueString(), Spec: container, PullAlways: m.Pull.ValueString() == "always",
		Directories: stringList(m.Directories), Ready: accessory.Ready{Command: stringList(ready.Command), Port: int(ready.Port.ValueInt64()), Delay: settled},
		AppPort: int(m.AppPort.ValueInt64()), Health: health.health(),
		StopTimeout: duration(m.StopTimeout), DeployTimeout: duration(m.DeployTimeout), DrainTimeout: duration(m.DrainTimeout),
		DeleteData: m.DeleteData.ValueBool(),
	}
	for _, f := range files {
		file := accessory.File{Path: f.Path.ValueString(), Content: f.Content.ValueString(), Secret: f.Content.IsNull(), Mode: f.Mode.ValueString(), Owner: f.Owner.ValueString()}
		if seen, is := accessory.ParsePlaceholder(file.Content); is {
			file.Content, file.Seen = "", seen
		}
		s.Files = append(s.Files, file)
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
	m.Drift = stringsValue(st.Drift)
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
	diags.Append(m.takeSpec(ctx, accessory.FromContainer(o, prior), prior)...)
	if st, ok := o.State(); ok {
		st.Drift = append(st.Drift, o.Losses()...)
		m.setState(st)
	}
	m.SecretDigests = seenDigests(salt, names, []map[string]string{o.Snapshot.Secrets(*o.Current)})
	return diags
}

// takeSpec writes what differs from prior into the attributes.
func (m *accessoryModel) takeSpec(ctx context.Context, s, prior accessory.Spec) diag.Diagnostics {
	diags := m.take(ctx, s.Spec, prior.Spec)
	if !slices.Equal(s.Directories, prior.Directories) {
		m.Directories = listValue(s.Directories)
	}
	if !slices.Equal(s.Files, prior.Files) {
		m.Files = filesValue(s.Files)
	}
	m.Network = types.StringValue(s.Network)
	return diags
}

func filesValue(files []accessory.File) types.List {
	if len(files) == 0 {
		return types.ListNull(types.ObjectType{AttrTypes: fileTypes})
	}
	var elems []attr.Value
	for _, f := range files {
		content := types.StringValue(f.Content)
		switch {
		case f.Secret:
			content = types.StringNull()
		case f.Seen != accessory.Seen{}:
			content = types.StringValue(f.Seen.Placeholder())
		}
		elems = append(elems, types.ObjectValueMust(fileTypes, map[string]attr.Value{"path": types.StringValue(f.Path),
			"content": content, "secret_content": types.StringNull(), "mode": types.StringValue(f.Mode), "owner": stringOrNull(f.Owner)}))
	}
	return types.ListValueMust(types.ObjectType{AttrTypes: fileTypes}, elems)
}
