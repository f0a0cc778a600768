package provider

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/firewall"
)

var _ datasource.DataSourceWithConfigure = &exposedPortsDataSource{}

type exposedPortsDataSource struct{ dataBase }

func newExposedPortsDataSource() datasource.DataSource { return &exposedPortsDataSource{} }

type exposedPortsModel struct {
	Server   types.String       `tfsdk:"server"`
	Firewall types.Bool         `tfsdk:"firewall"`
	UFW      types.Bool         `tfsdk:"ufw"`
	Open     types.List         `tfsdk:"open"`
	Ports    []exposedPortModel `tfsdk:"ports"`
}

type exposedPortModel struct {
	Container     types.String `tfsdk:"container"`
	ContainerPort types.Int64  `tfsdk:"container_port"`
	Address       types.String `tfsdk:"address"`
	Port          types.Int64  `tfsdk:"port"`
	Protocol      types.String `tfsdk:"protocol"`
	IPVersion     types.Int64  `tfsdk:"ip_version"`
	Reachable     types.String `tfsdk:"reachable_from"`
	Sources       types.List   `tfsdk:"sources"`
	Why           types.String `tfsdk:"why"`
}

func (d *exposedPortsDataSource) Metadata(_ context.Context, _ datasource.MetadataRequest, resp *datasource.MetadataResponse) {
	resp.TypeName = "kamal_exposed_ports"
}

func (d *exposedPortsDataSource) Schema(_ context.Context, _ datasource.SchemaRequest, resp *datasource.SchemaResponse) {
	text := func(description string) schema.StringAttribute {
		return schema.StringAttribute{Computed: true, MarkdownDescription: description}
	}
	number := func(description string) schema.Int64Attribute {
		return schema.Int64Attribute{Computed: true, MarkdownDescription: description}
	}
	resp.Schema = schema.Schema{
		MarkdownDescription: "What a server's containers publish, and who can reach it from outside by the rules that are in force, with or without `kamal_firewall`, " +
			"and whatever UFW says. Reading it warns about every port that the whole world reaches without a rule of `kamal_firewall` that says so, kamal-proxy's apart.\n\n" +
			"The rules are read, not tried: a firewall in front of the server, at the cloud's edge, is not known. Not listed are containers on the host's network, which listen as any program of the server does, " +
			"and ports of swarm services.",
		Attributes: map[string]schema.Attribute{
			"server": schema.StringAttribute{Required: true, Validators: []validator.String{serverValidator{}}, MarkdownDescription: serverDescription},
			"firewall": schema.BoolAttribute{Computed: true,
				MarkdownDescription: "The rules of `kamal_firewall` are in force."},
			"ufw": schema.BoolAttribute{Computed: true,
				MarkdownDescription: "UFW is enabled. It does not see what Docker publishes, whatever it says."},
			"open": schema.ListAttribute{ElementType: types.StringType, Computed: true,
				MarkdownDescription: "The ports that anybody can reach, as in `443/tcp`, for a check: `length(setsubtract(open, [\"80/tcp\", \"443/tcp\"])) == 0`."},
			"ports": schema.ListNestedAttribute{Computed: true, MarkdownDescription: "Every published port of every running container, once for each address it is published on.",
				NestedObject: schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
					"container":      text("The container's name."),
					"container_port": number("The port in the container."),
					"address":        text("The server's address that the port is published on; `0.0.0.0` and `::` are all."),
					"port":           number("The published port."),
					"protocol":       text("`tcp`, `udp` or `sctp`."),
					"ip_version":     number("`4` or `6`."),
					"reachable_from": text("`anywhere`; `sources`: the networks in `sources` only; `server`: the server itself only; `nobody`; `unknown`: something filters it that is not read here, see `why`."),
					"sources": schema.ListAttribute{ElementType: types.StringType, Computed: true,
						MarkdownDescription: "The networks that can reach it, where `reachable_from` is `sources`."},
					"why": text("The reason."),
				}}},
		},
	}
}

func (d *exposedPortsDataSource) Read(ctx context.Context, req datasource.ReadRequest, resp *datasource.ReadResponse) {
	var m exposedPortsModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	name := m.Server.ValueString()
	snap := d.look(ctx, "read the exposed ports", name, &resp.Diagnostics)
	if snap == nil {
		return
	}
	if !snap.Docker.Running {
		d.deps.addWarning(&resp.Diagnostics, "Docker does not run on "+name, "Nothing is published there now. What Docker starts again when it comes up is not known: "+snap.Docker.Failure)
	}
	exposed, err := firewall.Expose(snap)
	if err != nil {
		d.deps.addError(&resp.Diagnostics, "read the exposed ports", name, err)
		return
	}
	m.Firewall, m.UFW = types.BoolValue(exposed.Firewall), types.BoolValue(exposed.UFW)
	m.Ports = []exposedPortModel{}
	var open []string
	for _, p := range exposed.Ports {
		one := exposedPortModel{
			Container: types.StringValue(p.Container), ContainerPort: types.Int64Value(int64(p.ContainerPort)),
			Address: types.StringValue(p.Address.String()), Port: types.Int64Value(int64(p.Port)), Protocol: types.StringValue(p.Protocol),
			IPVersion: types.Int64Value(int64(p.V())), Reachable: types.StringValue(string(p.Reach)), Why: types.StringValue(p.Why),
			Sources: textList(ctx, p.Sources),
		}
		m.Ports = append(m.Ports, one)
		if port := fmt.Sprintf("%d/%s", p.Port, p.Protocol); p.Reach == firewall.Anywhere && !slices.Contains(open, port) {
			open = append(open, port)
		}
	}
	m.Open = textList(ctx, open)
	if warn := exposed.Open(); len(warn) > 0 {
		var lines []string
		for _, p := range warn {
			lines = append(lines, fmt.Sprintf("- %s: port %d/%s over IPv%d: %s.", p.Container, p.Port, p.Protocol, p.V(), p.Why))
		}
		d.deps.addWarning(&resp.Diagnostics, "Containers on "+name+" are open to the world",
			strings.Join(lines, "\n")+"\n\nPublish them on 127.0.0.1, or close them with kamal_firewall; a port that shall be open goes into its allow.")
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}
