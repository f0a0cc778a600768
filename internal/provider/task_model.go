package provider

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/secret"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/task"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/workload"
)

type taskModel struct {
	ID             types.String  `tfsdk:"id"`
	Server         types.String  `tfsdk:"server"`
	Service        types.String  `tfsdk:"service"`
	Destination    types.String  `tfsdk:"destination"`
	Name           types.String  `tfsdk:"name"`
	Image          types.String  `tfsdk:"image"`
	Pull           types.String  `tfsdk:"pull"`
	Command        types.List    `tfsdk:"command"`
	Env            types.Map     `tfsdk:"env"`
	Secrets        types.Map     `tfsdk:"secrets"`
	SecretsAsFiles types.Set     `tfsdk:"secrets_as_files"`
	SecretsVersion types.String  `tfsdk:"secrets_version"`
	SecretTriggers types.Set     `tfsdk:"secret_triggers"`
	SecretDigests  types.Map     `tfsdk:"secret_digests"`
	Volumes        types.List    `tfsdk:"volumes"`
	Memory         types.String  `tfsdk:"memory"`
	CPUs           types.Float64 `tfsdk:"cpus"`
	Options        types.Object  `tfsdk:"options"`
	Network        types.String  `tfsdk:"network"`
	Timeout        types.String  `tfsdk:"timeout"`
	Triggers       types.Map     `tfsdk:"triggers"`
	Digest         types.String  `tfsdk:"digest"`
	RanAt          types.String  `tfsdk:"ran_at"`
	MachineID      types.String  `tfsdk:"machine_id"`
}

// spec turns a model in which everything is known into plain values.
func (m taskModel) spec(ctx context.Context) (task.Spec, diag.Diagnostics) {
	var options optionsModel
	diags := as(ctx, m.Options, &options)
	return task.Spec{
		Service: m.Service.ValueString(), Destination: m.Destination.ValueString(), Name: m.Name.ValueString(),
		Spec: workload.Spec{Image: m.Image.ValueString(), Command: stringList(m.Command), Env: stringMap(m.Env), AsFiles: stringSet(m.SecretsAsFiles),
			Volumes: stringList(m.Volumes), Memory: bytes(m.Memory), CPUs: m.CPUs.ValueFloat64(), Options: options.options(), Network: m.Network.ValueString()},
		PullAlways: m.Pull.ValueString() == "always",
		Timeout:    duration(m.Timeout), Triggers: stringMap(m.Triggers),
		SecretTriggers: stringSet(m.SecretTriggers), SecretsVersion: m.SecretsVersion.ValueString(),
	}, diags
}

// describe fills the computed attribute that follows from the others.
func (m *taskModel) describe() {
	m.ID = types.StringUnknown()
	if !m.Service.IsUnknown() && !m.Destination.IsUnknown() && !m.Name.IsUnknown() {
		m.ID = types.StringValue(task.Spec{Service: m.Service.ValueString(), Destination: m.Destination.ValueString(), Name: m.Name.ValueString()}.ID())
	}
}

func (m taskModel) identity() partIdentity { return partIdentity{m.Service, m.Name, m.Server} }

// imported says that the state is that of an import, with which somebody has
// said that the command has run: no other state lacks an image.
func (m taskModel) imported() bool { return m.Image.IsNull() }

// setRun fills what a run that succeeded has left.
func (m *taskModel) setRun(salt []byte, set secret.Set, st task.State) {
	m.RanAt = types.StringValue(st.RanAt.Format(time.RFC3339))
	m.Digest, m.MachineID = types.StringValue(st.Digest), types.StringValue(st.MachineID)
	// Null for a secret of which nobody knows how the command had it.
	m.SecretDigests = seenDigests(salt, set.Names(), []map[string]string{st.Secrets})
}

// keepRun takes over what the last run has left.
func (m *taskModel) keepRun(state taskModel) {
	m.RanAt, m.Digest, m.MachineID, m.SecretDigests = state.RanAt, state.Digest, state.MachineID, state.SecretDigests
}

// setUnknown is for a plan under which the command may run.
func (m *taskModel) setUnknown() {
	m.RanAt, m.Digest, m.MachineID = types.StringUnknown(), types.StringUnknown(), types.StringUnknown()
	m.SecretDigests = types.MapUnknown(types.StringType)
}

// check refuses, while planning, what docker would refuse, and names of secrets that are none.
func (m taskModel) check(ctx context.Context, set secret.Set, setKnown bool, diags *diag.Diagnostics) {
	known := true
	for _, v := range []attr.Value{m.Volumes, m.SecretsAsFiles, m.Memory, m.Options} {
		known = known && fullyKnown(ctx, v)
	}
	if known {
		spec, more := m.spec(ctx)
		diags.Append(more...)
		addRefusal(diags, "A task that docker can't run", spec.Check())
	}
	if set == nil && !setKnown {
		return // not even the names are known
	}
	for _, v := range m.SecretTriggers.Elements() {
		name, ok := v.(types.String)
		if _, has := set[name.ValueString()]; ok && !name.IsUnknown() && !has {
			diags.AddAttributeError(path.Root("secret_triggers").AtSetValue(v), "A trigger of no secret",
				fmt.Sprintf("%s is in secret_triggers and not in secrets.", name.ValueString()))
		}
	}
}

// runs says whether an apply of the plan m runs the command: must as far as
// can be told now, may if that can still change before it is applied.
//
// It can where something else changes: then the secrets are looked at again
// while applying, and one from an ephemeral source may be another one. Where
// nothing changes there is no apply. RanAt is unknown where the framework saw
// a change of the configuration.
func (m taskModel) runs(ctx context.Context, state *taskModel, set secret.Set, setKnown bool, salt []byte) (must, may bool) {
	if state != nil && state.imported() {
		return false, false
	}
	if state == nil || !maps.Equal(stringMap(m.Triggers), stringMap(state.Triggers)) {
		return true, true
	}
	if !fullyKnown(ctx, m.SecretTriggers) {
		return false, true
	}
	names := stringSet(m.SecretTriggers)
	if len(names) == 0 {
		return false, false
	}
	if !m.SecretsVersion.IsNull() {
		differs := !m.SecretsVersion.Equal(state.SecretsVersion)
		return differs, differs
	}
	for _, name := range names {
		before, _ := state.SecretDigests.Elements()[name].(types.String)
		same := setKnown && len(salt) > 0 && before.ValueString() == secret.Digest(salt, name, set[name])
		must = must || !same
	}
	return must, must || m.RanAt.IsUnknown()
}

// computed are the attributes that ModifyPlan sets.
func (m taskModel) computed() map[string]attr.Value {
	return map[string]attr.Value{"id": m.ID, "ran_at": m.RanAt, "digest": m.Digest, "machine_id": m.MachineID, "secret_digests": m.SecretDigests}
}
