package provider

import (
	"context"
	"maps"
	"slices"
	"strconv"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/workload"
)

// containerModel is what a container is, as roles and accessories have it.
type containerModel struct {
	Image          types.String  `tfsdk:"image"`
	Command        types.List    `tfsdk:"command"`
	Env            types.Map     `tfsdk:"env"`
	SecretsAsFiles types.Set     `tfsdk:"secrets_as_files"`
	Ports          types.List    `tfsdk:"ports"`
	Volumes        types.List    `tfsdk:"volumes"`
	Labels         types.Map     `tfsdk:"labels"`
	Logging        types.Object  `tfsdk:"logging"`
	Memory         types.String  `tfsdk:"memory"`
	CPUs           types.Float64 `tfsdk:"cpus"`
	Options        types.Object  `tfsdk:"options"`
}

type loggingModel struct {
	Driver  types.String `tfsdk:"driver"`
	Options types.Map    `tfsdk:"options"`
}

// values are all of them.
func (m containerModel) values() []attr.Value {
	return []attr.Value{m.Image, m.Command, m.Env, m.SecretsAsFiles, m.Ports, m.Volumes, m.Labels, m.Logging, m.Memory, m.CPUs, m.Options}
}

// known says that all of them are.
func (m containerModel) known(ctx context.Context) bool {
	return !slices.ContainsFunc(m.values(), func(v attr.Value) bool { return !fullyKnown(ctx, v) })
}

// container turns a model in which everything is known into plain values.
func (m containerModel) container(ctx context.Context) (workload.Spec, diag.Diagnostics) {
	var logging loggingModel
	var options optionsModel
	diags := as(ctx, m.Logging, &logging)
	diags.Append(as(ctx, m.Options, &options)...)
	return workload.Spec{
		Image: m.Image.ValueString(), Command: stringList(m.Command), Env: stringMap(m.Env), AsFiles: stringSet(m.SecretsAsFiles),
		Ports: stringList(m.Ports), Volumes: stringList(m.Volumes), Labels: stringMap(m.Labels),
		LogDriver: logging.Driver.ValueString(), LogOptions: stringMap(logging.Options),
		Memory: bytes(m.Memory), CPUs: m.CPUs.ValueFloat64(), Options: options.options(),
	}, diags
}

// take writes what differs from prior into the attributes, so that what is the
// same keeps the spelling of the configuration.
func (m *containerModel) take(ctx context.Context, s, prior workload.Spec) diag.Diagnostics {
	var options optionsModel
	diags := as(ctx, m.Options, &options)
	if s.Image != prior.Image {
		m.Image = types.StringValue(s.Image)
	}
	for _, l := range []struct {
		now, before []string
		to          *types.List
	}{{s.Command, prior.Command, &m.Command}, {s.Ports, prior.Ports, &m.Ports}, {s.Volumes, prior.Volumes, &m.Volumes}} {
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
	return diags
}

// sizeValue is a size as people write it, null for none and "-1" for no limit.
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

// faulty says that drift, a list of sentences, has more than losses: those alone
// are no reason for an apply to do anything.
func faulty(drift attr.Value) bool {
	list, ok := drift.(types.List)
	return ok && slices.ContainsFunc(stringList(list), func(s string) bool { return !workload.IsLoss(s) })
}

// warnLosses tells, at an import, what the next container will not have.
func warnLosses(diags *diag.Diagnostics, container string, losses []string) {
	if len(losses) == 0 {
		return
	}
	text := container + " was given things that no attribute holds. It keeps them until a change of the configuration, or a fault, brings the next container:\n"
	for _, l := range losses {
		text += "\n  - " + l
	}
	diags.AddWarning("A container has more than the configuration can say", text)
}
