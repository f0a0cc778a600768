package provider

import (
	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
)

type serverModel struct {
	ID                    types.String   `tfsdk:"id"`
	Server                types.String   `tfsdk:"server"`
	Docker                *dockerModel   `tfsdk:"docker"`
	Swap                  *swapModel     `tfsdk:"swap"`
	RemoveDockerOnDestroy types.Bool     `tfsdk:"remove_docker_on_destroy"`
	DockerRunning         types.Bool     `tfsdk:"docker_running"`
	DockerEnabled         types.Bool     `tfsdk:"docker_enabled"`
	Network               types.Bool     `tfsdk:"network"`
	MachineID             types.String   `tfsdk:"machine_id"`
	OS                    types.String   `tfsdk:"os"`
	OSVersion             types.String   `tfsdk:"os_version"`
	Architecture          types.String   `tfsdk:"architecture"`
	CPUs                  types.Int64    `tfsdk:"cpus"`
	Memory                types.Int64    `tfsdk:"memory"`
	DockerVersion         types.String   `tfsdk:"docker_version"`
	HostKey               types.String   `tfsdk:"host_key"`
	Timeouts              timeouts.Value `tfsdk:"timeouts"`
}

// serverIdentity identifies what there is one of on a server.
type serverIdentity struct {
	Server types.String `tfsdk:"server"`
}

// refresh sets what the server shows. Where Docker does not run, what only it
// could tell stays as it was. The error says that daemon.json can't be read;
// everything else is set all the same.
func (m *serverModel) refresh(s *fleet.Snapshot, hostKey string) error {
	m.ID = m.Server
	if m.RemoveDockerOnDestroy.IsNull() {
		m.RemoveDockerOnDestroy = types.BoolValue(false)
	}
	m.DockerRunning = types.BoolValue(s.Docker.Running)
	m.DockerEnabled = types.BoolValue(s.Docker.Enabled)
	if s.Docker.Running || !s.Docker.Installed || m.Network.IsNull() {
		m.Network = types.BoolValue(s.Network)
	}
	m.facts(s, hostKey)
	m.refreshSwap(s.Facts)
	return m.refreshDocker(s)
}

func (m *serverModel) facts(s *fleet.Snapshot, hostKey string) {
	m.MachineID = types.StringValue(s.Facts.MachineID)
	m.OS = types.StringValue(s.Facts.OS)
	m.OSVersion = types.StringValue(s.Facts.OSVersion)
	m.Architecture = types.StringValue(s.Facts.Arch)
	m.CPUs = types.Int64Value(s.Facts.CPUs)
	m.Memory = types.Int64Value(s.Facts.Memory)
	switch {
	case s.Docker.Running:
		m.DockerVersion = types.StringValue(s.Docker.Version)
	case !s.Docker.Installed:
		m.DockerVersion = types.StringNull()
	}
	m.HostKey = types.StringValue(hostKey)
}

// settle is the plan with what it left open, as the server shows it after an
// apply. What was planned as known stays: Terraform insists.
func (m *serverModel) settle(s *fleet.Snapshot, hostKey string) {
	seen := *m
	seen.facts(s, hostKey)
	m.ID = m.Server
	known(&m.MachineID, seen.MachineID)
	known(&m.OS, seen.OS)
	known(&m.OSVersion, seen.OSVersion)
	known(&m.Architecture, seen.Architecture)
	known(&m.CPUs, seen.CPUs)
	known(&m.Memory, seen.Memory)
	known(&m.DockerVersion, seen.DockerVersion)
	known(&m.HostKey, seen.HostKey)
}

// known replaces a value that was not known.
func known[T interface{ IsUnknown() bool }](v *T, seen T) {
	if (*v).IsUnknown() {
		*v = seen
	}
}
