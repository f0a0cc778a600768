package provider

import (
	"context"
	"slices"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

var _ datasource.DataSourceWithConfigure = &serverDataSource{}

type serverDataSource struct{ dataBase }

func newServerDataSource() datasource.DataSource { return &serverDataSource{} }

type serverDataModel struct {
	Server          types.String `tfsdk:"server"`
	HostKey         types.String `tfsdk:"host_key"`
	MachineID       types.String `tfsdk:"machine_id"`
	BootID          types.String `tfsdk:"boot_id"`
	OS              types.String `tfsdk:"os"`
	OSVersion       types.String `tfsdk:"os_version"`
	OSName          types.String `tfsdk:"os_name"`
	Kernel          types.String `tfsdk:"kernel"`
	Architecture    types.String `tfsdk:"architecture"`
	CPUs            types.Int64  `tfsdk:"cpus"`
	Memory          types.Int64  `tfsdk:"memory"`
	MemoryAvailable types.Int64  `tfsdk:"memory_available"`
	Swap            types.Int64  `tfsdk:"swap"`
	SwapFree        types.Int64  `tfsdk:"swap_free"`
	DiskFree        types.Int64  `tfsdk:"disk_free"`
	ClockSkew       types.Int64  `tfsdk:"clock_skew"`
	User            types.String `tfsdk:"user"`
	Home            types.String `tfsdk:"home"`
	Systemd         types.Bool   `tfsdk:"systemd"`
	DockerInstalled types.Bool   `tfsdk:"docker_installed"`
	DockerRunning   types.Bool   `tfsdk:"docker_running"`
	DockerEnabled   types.Bool   `tfsdk:"docker_enabled"`
	DockerVersion   types.String `tfsdk:"docker_version"`
	LogDriver       types.String `tfsdk:"log_driver"`
	Network         types.Bool   `tfsdk:"network"`
	Containers      types.List   `tfsdk:"containers"`
}

func (d *serverDataSource) Metadata(_ context.Context, _ datasource.MetadataRequest, resp *datasource.MetadataResponse) {
	resp.TypeName = "kamal_server"
}

func (d *serverDataSource) Schema(_ context.Context, _ datasource.SchemaRequest, resp *datasource.SchemaResponse) {
	text := func(description string) schema.StringAttribute {
		return schema.StringAttribute{Computed: true, MarkdownDescription: description}
	}
	number := func(description string) schema.Int64Attribute {
		return schema.Int64Attribute{Computed: true, MarkdownDescription: description}
	}
	flag := func(description string) schema.BoolAttribute {
		return schema.BoolAttribute{Computed: true, MarkdownDescription: description}
	}
	resp.Schema = schema.Schema{
		MarkdownDescription: "All that is known of a server, also what changes from hour to hour: a resource whose arguments depend on that would never come to rest; it is for checks and outputs. " +
			"It changes nothing, and needs no Docker on the server.",
		Attributes: map[string]schema.Attribute{
			"server":           schema.StringAttribute{Required: true, Validators: []validator.String{serverValidator{}}, MarkdownDescription: serverDescription},
			"host_key":         text("The server's SSH host key, as in `known_hosts`: `ssh-ed25519 AAAA…`."),
			"machine_id":       text("The machine's id, from `/etc/machine-id`."),
			"boot_id":          text("Another one after each boot."),
			"os":               text("Operating system: `debian`, `ubuntu`."),
			"os_version":       text("Version of the operating system: `12`, `24.04`."),
			"os_name":          text("Its name: `Debian GNU/Linux 12 (bookworm)`."),
			"kernel":           text("The kernel's release."),
			"architecture":     text("Architecture, as image platforms name it: `amd64`, `arm64`."),
			"cpus":             number("Number of CPUs."),
			"memory":           number("Memory in bytes."),
			"memory_available": number("Memory that programs can still get, in bytes."),
			"swap":             number("All swap in bytes, whoever made it."),
			"swap_free":        number("Free swap in bytes."),
			"disk_free":        number("Free bytes on the disk where Docker keeps its data."),
			"clock_skew":       number("How many seconds the server's clock is ahead of this machine's; negative: behind. A second or two is the way there."),
			"user":             text("The SSH user."),
			"home":             text("The SSH user's home directory; Kamal's files are in `.kamal` there."),
			"systemd":          flag("systemd runs there."),
			"docker_installed": flag("There is a `docker` command."),
			"docker_running":   flag("Docker answers."),
			"docker_enabled":   flag("Docker is started at boot."),
			"docker_version":   text("Docker's version; null where it does not run."),
			"log_driver":       text("Docker's default log driver; null where it does not run."),
			"network":          flag("The network `kamal` exists."),
			"containers":       schema.ListAttribute{Computed: true, ElementType: types.StringType, MarkdownDescription: "Names of the containers that run, in order."},
		},
	}
}

func (d *serverDataSource) Read(ctx context.Context, req datasource.ReadRequest, resp *datasource.ReadResponse) {
	var m serverDataModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	name := m.Server.ValueString()
	snap := d.look(ctx, "read the facts", name, &resp.Diagnostics)
	if snap == nil {
		return
	}
	f, docker := snap.Facts, snap.Docker
	m.HostKey, m.MachineID, m.BootID = types.StringValue(d.deps.fleet.Server(name).HostKey()), types.StringValue(f.MachineID), types.StringValue(f.BootID)
	m.OS, m.OSVersion, m.OSName = types.StringValue(f.OS), types.StringValue(f.OSVersion), types.StringValue(f.OSName)
	m.Kernel, m.Architecture, m.CPUs = types.StringValue(f.Kernel), types.StringValue(f.Arch), types.Int64Value(f.CPUs)
	m.Memory, m.MemoryAvailable = types.Int64Value(f.Memory), types.Int64Value(f.Available)
	m.Swap, m.SwapFree, m.DiskFree = types.Int64Value(f.Swap), types.Int64Value(f.SwapFree), types.Int64Value(f.DiskFree)
	m.ClockSkew = types.Int64Value(int64(f.Clock.Sub(snap.At).Seconds()))
	m.User, m.Home, m.Systemd = types.StringValue(f.User), types.StringValue(f.Home), types.BoolValue(f.Systemd)
	m.DockerInstalled, m.DockerRunning, m.DockerEnabled = types.BoolValue(docker.Installed), types.BoolValue(docker.Running), types.BoolValue(docker.Enabled)
	if docker.Running {
		m.DockerVersion, m.LogDriver = types.StringValue(docker.Version), types.StringValue(docker.LoggingDriver)
	}
	m.Network = types.BoolValue(snap.Network)
	var running []string
	for _, c := range snap.Containers {
		if c.Running() {
			running = append(running, c.ContainerName())
		}
	}
	slices.Sort(running)
	m.Containers = textList(ctx, running)
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}
