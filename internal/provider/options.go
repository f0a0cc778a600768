package provider

import (
	"context"
	"fmt"
	"net/netip"
	"regexp"

	"github.com/docker/go-units"
	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework-validators/listvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/mapvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
)

var (
	ulimitName     = regexp.MustCompile(`^[a-z]+$`)
	ulimitPattern  = regexp.MustCompile(`^(-1|[0-9]+)(:(-1|[0-9]+))?$`)
	capability     = regexp.MustCompile(`^[A-Za-z_]+$`)
	sysctlName     = regexp.MustCompile(`^[a-z0-9_.-]+$`)
	tmpfsPath      = regexp.MustCompile(`^/[^:]+$`)
	hostEntry      = regexp.MustCompile(`^[^:\s]+:\S+$`)
	devicePattern  = regexp.MustCompile(`^/[^:]+(:/[^:]+)?(:[rwm]+)?$`)
	gpusPattern    = regexp.MustCompile(`^(all|[1-9][0-9]*|device=[^,"\s]+(,[^,"\s]+)*)$`)
	signalPattern  = regexp.MustCompile(`^[A-Z0-9+-]+$`)
	restartPattern = regexp.MustCompile(`^(no|always|unless-stopped|on-failure(:[1-9][0-9]*)?)$`)

	stringsMap   = types.MapType{ElemType: types.StringType}
	stringsList  = types.ListType{ElemType: types.StringType}
	optionsTypes = map[string]attr.Type{
		"shm_size": types.StringType, "ulimits": stringsMap, "user": types.StringType, "init": types.BoolType, "read_only": types.BoolType,
		"cap_add": stringsList, "cap_drop": stringsList, "sysctls": stringsMap, "tmpfs": stringsMap, "add_hosts": stringsList,
		"security_opt": stringsList, "devices": stringsList, "gpus": types.StringType, "pids_limit": types.Int64Type, "dns": stringsList,
		"memory_reservation": types.StringType, "memory_swap": types.StringType, "stop_signal": types.StringType, "restart": types.StringType,
	}
)

// optionsModel is docker.Options as an attribute.
type optionsModel struct {
	ShmSize     types.String `tfsdk:"shm_size"`
	Ulimits     types.Map    `tfsdk:"ulimits"`
	User        types.String `tfsdk:"user"`
	Init        types.Bool   `tfsdk:"init"`
	ReadOnly    types.Bool   `tfsdk:"read_only"`
	CapAdd      types.List   `tfsdk:"cap_add"`
	CapDrop     types.List   `tfsdk:"cap_drop"`
	Sysctls     types.Map    `tfsdk:"sysctls"`
	Tmpfs       types.Map    `tfsdk:"tmpfs"`
	AddHosts    types.List   `tfsdk:"add_hosts"`
	SecurityOpt types.List   `tfsdk:"security_opt"`
	Devices     types.List   `tfsdk:"devices"`
	GPUs        types.String `tfsdk:"gpus"`
	PidsLimit   types.Int64  `tfsdk:"pids_limit"`
	DNS         types.List   `tfsdk:"dns"`
	Reservation types.String `tfsdk:"memory_reservation"`
	Swap        types.String `tfsdk:"memory_swap"`
	StopSignal  types.String `tfsdk:"stop_signal"`
	Restart     types.String `tfsdk:"restart"`
}

func optionsAttributes() map[string]schema.Attribute {
	text := func(description string, validators ...validator.String) schema.StringAttribute {
		return schema.StringAttribute{Optional: true, Validators: validators, MarkdownDescription: description}
	}
	list := func(description string, validators ...validator.String) schema.ListAttribute {
		return schema.ListAttribute{Optional: true, ElementType: types.StringType, MarkdownDescription: description,
			Validators: []validator.List{listvalidator.UniqueValues(), listvalidator.ValueStringsAre(validators...)}}
	}
	table := func(description string, key validator.String, values ...validator.String) schema.MapAttribute {
		return schema.MapAttribute{Optional: true, ElementType: types.StringType, MarkdownDescription: description,
			Validators: []validator.Map{mapvalidator.KeysAre(key), mapvalidator.ValueStringsAre(values...)}}
	}
	matches := stringvalidator.RegexMatches
	return map[string]schema.Attribute{
		"shm_size": text("Size of `/dev/shm`, which Postgres wants larger than Docker's 64 MB for parallel queries: `256m`.", memoryValidator{}),
		"ulimits": table("Limits by name, `soft:hard`: `{ nofile = \"65536:65536\" }`.", matches(ulimitName, "is no name of a ulimit"),
			matches(ulimitPattern, "must be SOFT or SOFT:HARD, numbers or -1")),
		"user":      text("User to run as, `user` or `user:group`. Default: the image's.", stringvalidator.LengthAtLeast(1)),
		"init":      schema.BoolAttribute{Optional: true, MarkdownDescription: "Run an init as process 1, which reaps zombies. Default: the daemon's."},
		"read_only": schema.BoolAttribute{Optional: true, MarkdownDescription: "Whether the container's root file system is read-only."},
		"cap_add":   list("Capabilities to add: `[\"SYS_NICE\"]`.", matches(capability, "is no name of a capability")),
		"cap_drop":  list("Capabilities to take away: `[\"ALL\"]`.", matches(capability, "is no name of a capability")),
		"sysctls": table("Kernel parameters of the container: `{ \"net.core.somaxconn\" = \"1024\" }`.", matches(sysctlName, "is no name of a kernel parameter"),
			stringvalidator.LengthAtLeast(1)),
		"tmpfs":        table("File systems in memory, by path, with their options: `{ \"/run\" = \"size=16m\" }`.", matches(tmpfsPath, "must be an absolute path without \":\""), stringvalidator.LengthAtLeast(0)),
		"add_hosts":    list("Names that the container knows beside those of the network: `[\"mail:10.0.0.9\"]`.", matches(hostEntry, "must be NAME:ADDRESS")),
		"security_opt": list("Docker's security options: `[\"no-new-privileges\"]`.", stringvalidator.LengthAtLeast(1)),
		"devices":      list("Devices of the server: `[\"/dev/fuse\"]`, `[\"/dev/sda:/dev/xvda:r\"]`.", matches(devicePattern, "must be /dev/NAME[:/dev/NAME][:rwm]")),
		"gpus":         text("Graphics cards: `all`, a number, or `device=0,1`. The server needs the driver and its container toolkit.", matches(gpusPattern, "must be all, a number, or device=ID[,ID…]")),
		"pids_limit": schema.Int64Attribute{Optional: true, Validators: []validator.Int64{int64validator.AtLeast(1)},
			MarkdownDescription: "Limit of processes and threads. Default: none."},
		"dns":                list("Name servers that the container asks, in this order: `[\"10.0.0.2\"]`.", addressValidator{}),
		"memory_reservation": text("Memory that the container keeps when the server runs out of it: `256m`. At most `memory`.", memoryValidator{}),
		"memory_swap":        text("Memory and swap together: `1g`, or `-1` for as much swap as there is. Needs `memory`. Default: twice the memory.", swapValidator{}),
		"stop_signal":        text("Signal that asks the container to end: `SIGQUIT`. Default: the image's, else SIGTERM.", matches(signalPattern, "must be the name of a signal, as in SIGQUIT")),
		"restart": text("When Docker starts the container again: `no`, `always`, `unless-stopped`, `on-failure[:times]`. Default: `unless-stopped`, Kamal's.",
			matches(restartPattern, "must be no, always, unless-stopped or on-failure[:times]")),
	}
}

// options turns a model in which everything is known into plain values.
func (m optionsModel) options() docker.Options {
	return docker.Options{
		ShmSize: bytes(m.ShmSize), Ulimits: stringMap(m.Ulimits), User: m.User.ValueString(), Init: m.Init.ValueBool(), ReadOnly: m.ReadOnly.ValueBool(),
		CapAdd: stringList(m.CapAdd), CapDrop: stringList(m.CapDrop), Sysctls: stringMap(m.Sysctls), Tmpfs: stringMap(m.Tmpfs),
		AddHosts: stringList(m.AddHosts), SecurityOpt: stringList(m.SecurityOpt), Devices: stringList(m.Devices), GPUs: m.GPUs.ValueString(),
		PidsLimit: m.PidsLimit.ValueInt64(), DNS: stringList(m.DNS), MemoryReservation: bytes(m.Reservation), MemorySwap: swap(m.Swap),
		StopSignal: m.StopSignal.ValueString(), Restart: m.Restart.ValueString(),
	}
}

// swap is memory and swap together in bytes, or docker.Unlimited.
func swap(s types.String) int64 {
	if s.ValueString() == "-1" {
		return docker.Unlimited
	}
	return bytes(s)
}

// bytes is a size that its validator has accepted; zero for null.
func bytes(s types.String) int64 {
	n, _ := units.RAMInBytes(s.ValueString())
	return max(n, 0)
}

// optionsValue is options as an attribute, null where there is none; what is
// not set in prior and at its default stays null.
func optionsValue(o docker.Options, prior optionsModel) types.Object {
	if o.Equal(docker.Options{}) {
		return types.ObjectNull(optionsTypes)
	}
	flag := func(is bool, before types.Bool) types.Bool {
		if !is && before.IsNull() {
			return before
		}
		return types.BoolValue(is)
	}
	pids := types.Int64Null()
	if o.PidsLimit > 0 {
		pids = types.Int64Value(o.PidsLimit)
	}
	return types.ObjectValueMust(optionsTypes, map[string]attr.Value{
		"devices": listValue(o.Devices), "gpus": stringOrNull(o.GPUs), "pids_limit": pids, "dns": listValue(o.DNS),
		"memory_reservation": sizeValue(o.MemoryReservation), "memory_swap": sizeValue(o.MemorySwap), "stop_signal": stringOrNull(o.StopSignal),
		"shm_size": sizeValue(o.ShmSize), "ulimits": mapValue(o.Ulimits), "user": stringOrNull(o.User),
		"init": flag(o.Init, prior.Init), "read_only": flag(o.ReadOnly, prior.ReadOnly),
		"cap_add": listValue(o.CapAdd), "cap_drop": listValue(o.CapDrop), "sysctls": mapValue(o.Sysctls), "tmpfs": mapValue(o.Tmpfs),
		"add_hosts": listValue(o.AddHosts), "security_opt": listValue(o.SecurityOpt), "restart": stringOrNull(o.Restart),
	})
}

// addressValidator accepts IP addresses as Docker writes them.
type addressValidator struct{}

func (addressValidator) Description(context.Context) string { return "an IP address" }

func (v addressValidator) MarkdownDescription(ctx context.Context) string { return v.Description(ctx) }

func (v addressValidator) ValidateString(_ context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	given := req.ConfigValue.ValueString()
	if req.ConfigValue.IsNull() || req.ConfigValue.IsUnknown() {
		return
	}
	if a, err := netip.ParseAddr(given); err != nil || a.String() != given {
		resp.Diagnostics.AddAttributeError(req.Path, "Invalid address", fmt.Sprintf("Attribute %s: %q is no IP address, or not in its shortest form.", req.Path, given))
	}
}

// swapValidator accepts an amount of memory, and -1 for no limit.
type swapValidator struct{}

func (swapValidator) Description(context.Context) string { return `an amount of memory, or "-1"` }

func (v swapValidator) MarkdownDescription(ctx context.Context) string { return v.Description(ctx) }

func (swapValidator) ValidateString(ctx context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	if req.ConfigValue.ValueString() != "-1" {
		memoryValidator{}.ValidateString(ctx, req, resp)
	}
}
