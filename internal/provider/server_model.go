package provider

import (
	"strconv"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/server"
)

type serverModel struct {
	ID                    types.String   `tfsdk:"id"`
	Server                types.String   `tfsdk:"server"`
	Docker                *dockerModel   `tfsdk:"docker"`
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

type dockerModel struct {
	Install     types.Bool   `tfsdk:"install"`
	LogMaxSize  types.String `tfsdk:"log_max_size"`
	LogMaxFile  types.Int64  `tfsdk:"log_max_file"`
	LiveRestore types.Bool   `tfsdk:"live_restore"`
}

// serverIdentity identifies what there is one of on a server.
type serverIdentity struct {
	Server types.String `tfsdk:"server"`
}

// spec is the model as the noun wants it.
func (m *serverModel) spec() server.Spec {
	return server.Spec{Docker: server.Docker{
		Install:     m.Docker.Install.ValueBool(),
		LogMaxSize:  m.Docker.LogMaxSize.ValueString(),
		LogMaxFile:  m.Docker.LogMaxFile.ValueInt64(),
		LiveRestore: m.Docker.LiveRestore.ValueBool(),
	}}
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

// refreshDocker sets the settings that daemon.json has. Keys that can't be set
// there keep what was wanted, or a server that logs to journald would differ for good.
func (m *serverModel) refreshDocker(s *fleet.Snapshot) error {
	if m.Docker == nil { // an import
		d := server.Default.Docker
		m.Docker = &dockerModel{
			Install:     types.BoolValue(d.Install),
			LogMaxSize:  types.StringValue(d.LogMaxSize),
			LogMaxFile:  types.Int64Value(d.LogMaxFile),
			LiveRestore: types.BoolValue(d.LiveRestore),
		}
	}
	d, err := server.ReadDaemon(s.Docker.DaemonJSON, s.Docker.Command)
	if err != nil {
		m.Docker.LogMaxSize, m.Docker.LogMaxFile, m.Docker.LiveRestore = types.StringNull(), types.Int64Null(), types.BoolNull()
		return err
	}
	if d.Logs {
		if d.LogMaxSize == nil || !docker.SameLogSize(*d.LogMaxSize, m.Docker.LogMaxSize.ValueString()) {
			m.Docker.LogMaxSize = types.StringPointerValue(d.LogMaxSize)
		}
		m.Docker.LogMaxFile = types.Int64Null()
		if d.LogMaxFile != nil {
			if n, err := strconv.ParseInt(*d.LogMaxFile, 10, 64); err == nil {
				m.Docker.LogMaxFile = types.Int64Value(n)
			}
		}
	}
	if d.Live {
		m.Docker.LiveRestore = types.BoolValue(d.LiveRestore != nil && *d.LiveRestore)
	}
	return nil
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
