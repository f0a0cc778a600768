package provider

import (
	"net/netip"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/proxy"
)

type proxyModel struct {
	ID            types.String   `tfsdk:"id"`
	Server        types.String   `tfsdk:"server"`
	Image         types.String   `tfsdk:"image"`
	Version       types.String   `tfsdk:"version"`
	HTTPPort      types.Int64    `tfsdk:"http_port"`
	HTTPSPort     types.Int64    `tfsdk:"https_port"`
	BindAddresses types.List     `tfsdk:"bind_addresses"`
	MetricsPort   types.Int64    `tfsdk:"metrics_port"`
	LogMaxSize    types.String   `tfsdk:"log_max_size"`
	Debug         types.Bool     `tfsdk:"debug"`
	Container     types.String   `tfsdk:"container"`
	Running       types.Bool     `tfsdk:"running"`
	Faults        types.List     `tfsdk:"faults"`
	MachineID     types.String   `tfsdk:"machine_id"`
	Timeouts      timeouts.Value `tfsdk:"timeouts"`
}

// spec is the model as the noun wants it. Everything in it is known and valid.
func (m *proxyModel) spec() proxy.ContainerSpec {
	s := proxy.ContainerSpec{
		Image: m.Image.ValueString(), Version: m.Version.ValueString(),
		HTTPPort: int(m.HTTPPort.ValueInt64()), HTTPSPort: int(m.HTTPSPort.ValueInt64()),
		MetricsPort: int(m.MetricsPort.ValueInt64()),
		LogMaxSize:  m.LogMaxSize.ValueString(), Debug: m.Debug.ValueBool(),
	}
	for _, a := range stringList(m.BindAddresses) {
		if addr, err := netip.ParseAddr(a); err == nil {
			s.BindAddresses = append(s.BindAddresses, addr)
		}
	}
	return s
}

// refresh sets what the server shows. Where Docker does not run, nobody knows
// more than that kamal-proxy doesn't either.
func (m *proxyModel) refresh(snap *fleet.Snapshot) {
	m.ID = m.Server
	m.MachineID = types.StringValue(snap.Facts.MachineID)
	have := proxy.ObserveContainer(snap)
	m.Running = types.BoolValue(have.Running)
	if snap.Docker.Installed && !snap.Docker.Running {
		if m.Faults.IsNull() {
			m.Faults = noFaults()
		}
		return
	}
	m.Faults = noFaults()
	m.Container = types.StringNull()
	if have.ID == "" {
		return
	}
	m.Container = types.StringValue(have.ID)
	faults := make([]attr.Value, 0, len(have.Faults))
	for _, f := range have.Faults {
		faults = append(faults, types.StringValue(f))
	}
	m.Faults = types.ListValueMust(types.StringType, faults)
	m.refreshSpec(m.spec(), have)
}

// refreshSpec takes over what the container runs with, but keeps a spelling
// that means the same.
func (m *proxyModel) refreshSpec(was proxy.ContainerSpec, have proxy.ContainerState) {
	is := have.Spec
	if !docker.SameRef(is.Ref(), was.Ref()) {
		m.Image, m.Version = types.StringValue(is.Image), types.StringValue(is.Version)
	}
	m.HTTPPort, m.HTTPSPort = optionalInt(is.HTTPPort), optionalInt(is.HTTPSPort)
	m.MetricsPort = optionalInt(is.MetricsPort)
	m.Debug = types.BoolValue(is.Debug)
	if have.Rotatable && !docker.SameLogSize(is.LogMaxSize, was.LogMaxSize) {
		m.LogMaxSize = types.StringNull()
		if is.LogMaxSize != "" {
			m.LogMaxSize = types.StringValue(is.LogMaxSize)
		}
	} else if m.LogMaxSize.IsNull() {
		m.LogMaxSize = types.StringValue(proxy.DefaultContainer.LogMaxSize)
	}
	if !proxy.SameAddresses(is.BindAddresses, was.BindAddresses) {
		m.BindAddresses = types.ListNull(types.StringType)
		if len(is.BindAddresses) > 0 {
			var list []attr.Value
			for _, a := range is.BindAddresses {
				list = append(list, types.StringValue(a.String()))
			}
			m.BindAddresses = types.ListValueMust(types.StringType, list)
		}
	}
}

// settle is the plan with what it left open, as the server shows it after an apply.
func (m *proxyModel) settle(snap *fleet.Snapshot) {
	m.ID = m.Server
	known(&m.MachineID, types.StringValue(snap.Facts.MachineID))
	known(&m.Container, types.StringValue(proxy.ObserveContainer(snap).ID))
}

func noFaults() types.List { return types.ListValueMust(types.StringType, []attr.Value{}) }

// optionalInt is null for zero.
func optionalInt(n int) types.Int64 {
	if n == 0 {
		return types.Int64Null()
	}
	return types.Int64Value(int64(n))
}
