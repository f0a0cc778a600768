package provider

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"

	"github.com/docker/go-units"
	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework-validators/listvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/booldefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/int64default"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/objectdefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringdefault"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/server"
)

// maxScript is what a variable of a process may have, in bytes.
const maxScript = 120_000

var (
	mirrorPattern   = regexp.MustCompile(`^https?://[^/\s?#]+(/[^\s?#]*)?$`)
	insecurePattern = regexp.MustCompile(`^[^\s/:]+(:[0-9]+)?(/[0-9]+)?$|^\[[0-9a-fA-F:]+\](:[0-9]+)?$|^[0-9a-fA-F:]+/[0-9]+$`)
	swapFile        = regexp.MustCompile(`^(/[A-Za-z0-9._-]+)+$`)
)

var dockerTypes = map[string]attr.Type{
	"install":             types.BoolType,
	"install_script":      types.StringType,
	"log_max_size":        types.StringType,
	"log_max_file":        types.Int64Type,
	"live_restore":        types.BoolType,
	"registry_mirrors":    stringsList,
	"insecure_registries": stringsList,
	"daemon_json":         types.StringType,
}

type dockerModel struct {
	Install       types.Bool   `tfsdk:"install"`
	InstallScript types.String `tfsdk:"install_script"`
	LogMaxSize    types.String `tfsdk:"log_max_size"`
	LogMaxFile    types.Int64  `tfsdk:"log_max_file"`
	LiveRestore   types.Bool   `tfsdk:"live_restore"`
	Mirrors       types.List   `tfsdk:"registry_mirrors"`
	Insecure      types.List   `tfsdk:"insecure_registries"`
	DaemonJSON    types.String `tfsdk:"daemon_json"`
}

// swapModel is a server's swap file.
type swapModel struct {
	Size types.String `tfsdk:"size"`
	File types.String `tfsdk:"file"`
}

func dockerAttribute() schema.SingleNestedAttribute {
	d := server.Default.Docker
	list := func(description string, pattern *regexp.Regexp, form string) schema.ListAttribute {
		return schema.ListAttribute{Optional: true, ElementType: types.StringType, MarkdownDescription: description,
			Validators: []validator.List{listvalidator.UniqueValues(),
				listvalidator.ValueStringsAre(stringvalidator.RegexMatches(pattern, form))}}
	}
	return schema.SingleNestedAttribute{
		Optional: true, Computed: true,
		Default: objectdefault.StaticValue(types.ObjectValueMust(dockerTypes, map[string]attr.Value{
			"install":             types.BoolValue(d.Install),
			"install_script":      types.StringNull(),
			"log_max_size":        types.StringValue(d.LogMaxSize),
			"log_max_file":        types.Int64Value(d.LogMaxFile),
			"live_restore":        types.BoolValue(d.LiveRestore),
			"registry_mirrors":    types.ListNull(types.StringType),
			"insecure_registries": types.ListNull(types.StringType),
			"daemon_json":         types.StringNull(),
		})),
		MarkdownDescription: "What Docker shall be like. The settings go into `/etc/docker/daemon.json`, everything else in the file stays as it is. " +
			"Docker is restarted for them only where no container runs; what it takes over without a restart holds at once.",
		Attributes: map[string]schema.Attribute{
			"install": schema.BoolAttribute{Optional: true, Computed: true, Default: booldefault.StaticBool(d.Install),
				MarkdownDescription: "Install Docker where it is missing, from the packages of the distribution (Debian, Ubuntu) or by `install_script`. A Docker that is there is never replaced. " +
					"Where Docker is installed, its userland proxy is turned off, because that lets IPv6 traffic past a firewall for published ports. Default: `true`."},
			"install_script": schema.StringAttribute{Optional: true, Validators: []validator.String{stringvalidator.LengthBetween(1, maxScript)},
				MarkdownDescription: "Content of a shell script that installs Docker, run as root where Docker is missing, in place of the distribution's packages: `file(\"get-docker.sh\")`. " +
					"It is in the state; nothing is downloaded unless the script does."},
			"log_max_size": schema.StringAttribute{Optional: true, Computed: true, Default: stringdefault.StaticString(d.LogMaxSize),
				Validators: []validator.String{logSize},
				MarkdownDescription: "Size at which a container's log is rotated, for containers that have no log options of their own: " +
					"the daemon's `max-size`. Not set where Docker logs elsewhere than to files. Default: `10m`."},
			"log_max_file": schema.Int64Attribute{Optional: true, Computed: true, Default: int64default.StaticInt64(d.LogMaxFile),
				Validators:          []validator.Int64{int64validator.AtLeast(1)},
				MarkdownDescription: "How many log files a container keeps: the daemon's `max-file`. Default: `3`."},
			"live_restore": schema.BoolAttribute{Optional: true, Computed: true, Default: booldefault.StaticBool(d.LiveRestore),
				MarkdownDescription: "Let containers run on while Docker itself is restarted or upgraded. Default: `true`."},
			"registry_mirrors": list("Mirrors of Docker Hub, as in `https://mirror.example.com`. Without it, what is there stays.",
				mirrorPattern, "must be an http or https URL"),
			"insecure_registries": list("Registries without TLS, or with a certificate that nobody knows: `registry.lan:5000`, or a network in CIDR notation. Without it, what is there stays.",
				insecurePattern, "must be HOST[:PORT] or a network in CIDR notation"),
			"daemon_json": schema.StringAttribute{Optional: true, Validators: []validator.String{daemonJSONValidator{}},
				MarkdownDescription: "Other keys of `daemon.json`: `jsonencode({ \"default-address-pools\" = [{ base = \"10.9.0.0/16\", size = 24 }] })`. " +
					"Keys that are taken out here are taken out of the file; keys that never were here stay."},
		},
	}
}

func swapAttribute() schema.SingleNestedAttribute {
	return schema.SingleNestedAttribute{
		Optional: true,
		MarkdownDescription: "A swap file, made where it is missing and used from boot on. Taking it out of the configuration removes it; destroying the resource leaves it. " +
			"Other swap stays as it is.",
		Attributes: map[string]schema.Attribute{
			"size": schema.StringAttribute{Required: true, Validators: []validator.String{memoryValidator{}},
				MarkdownDescription: "Its size: `2g`, `512m`. Another size makes it anew: what is swapped out must fit into memory meanwhile."},
			"file": schema.StringAttribute{Optional: true, Computed: true, Default: stringdefault.StaticString("/swapfile"),
				Validators:          []validator.String{stringvalidator.RegexMatches(swapFile, "must be an absolute path of letters, digits, `.`, `_` and `-`")},
				MarkdownDescription: "Its path. A file that is there and is no swap file is left alone, with an error. Default: `/swapfile`."},
		},
	}
}

// daemonJSONValidator accepts an object of keys that have no attribute of their own.
type daemonJSONValidator struct{}

func (daemonJSONValidator) Description(context.Context) string { return "a JSON object" }

func (v daemonJSONValidator) MarkdownDescription(ctx context.Context) string {
	return v.Description(ctx)
}

func (v daemonJSONValidator) ValidateString(_ context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	if req.ConfigValue.IsNull() || req.ConfigValue.IsUnknown() {
		return
	}
	var keys map[string]json.RawMessage
	if err := json.Unmarshal([]byte(req.ConfigValue.ValueString()), &keys); err != nil || len(keys) == 0 {
		resp.Diagnostics.AddAttributeError(req.Path, "Invalid daemon_json", fmt.Sprintf("Attribute %s must be a JSON object with at least one key, as jsonencode makes it.", req.Path))
		return
	}
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		if own := server.OwnKeys[key]; own != "" {
			resp.Diagnostics.AddAttributeError(req.Path, "Invalid daemon_json", fmt.Sprintf("Attribute %s has the key %q, which %s sets.", req.Path, key, own))
		}
	}
}

// daemonKeys are the keys of daemon_json.
func (m *dockerModel) daemonKeys() map[string]json.RawMessage {
	var keys map[string]json.RawMessage
	if m != nil {
		_ = json.Unmarshal([]byte(m.DaemonJSON.ValueString()), &keys) // what is none is refused by its validator
	}
	return keys
}

// swap is the model as the noun wants it, nil for none.
func (m *swapModel) swap() *server.Swap {
	if m == nil {
		return nil
	}
	size, _ := units.RAMInBytes(m.Size.ValueString())
	return &server.Swap{File: m.File.ValueString(), Size: size >> 20 << 20}
}

// spec is the model as the noun wants it. before is the state, nil for a
// create: what it has set and the model no longer wants is taken away.
func (m *serverModel) spec(before *serverModel) server.Spec {
	s := server.Spec{Swap: m.Swap.swap(), Docker: server.Docker{
		Install:     m.Docker.Install.ValueBool(),
		Script:      m.Docker.InstallScript.ValueString(),
		LogMaxSize:  m.Docker.LogMaxSize.ValueString(),
		LogMaxFile:  m.Docker.LogMaxFile.ValueInt64(),
		LiveRestore: m.Docker.LiveRestore.ValueBool(),
		Mirrors:     stringList(m.Docker.Mirrors), Insecure: stringList(m.Docker.Insecure),
		Keys: m.Docker.daemonKeys(),
	}}
	if before == nil {
		return s
	}
	if before.Swap != nil {
		s.NoSwap = before.Swap.File.ValueString()
	}
	for _, key := range slices.Sorted(maps.Keys(before.Docker.daemonKeys())) {
		if s.Docker.Keys[key] == nil {
			s.Docker.NoKeys = append(s.Docker.NoKeys, key)
		}
	}
	if before.Docker != nil && isSet(before.Docker.Mirrors) && !isSet(m.Docker.Mirrors) {
		s.Docker.NoKeys = append(s.Docker.NoKeys, "registry-mirrors")
	}
	if before.Docker != nil && isSet(before.Docker.Insecure) && !isSet(m.Docker.Insecure) {
		s.Docker.NoKeys = append(s.Docker.NoKeys, "insecure-registries")
	}
	return s
}

// refreshDocker sets the settings that daemon.json has. Keys that can't be set
// there keep what was wanted, or a server that logs to journald would differ for good.
func (m *serverModel) refreshDocker(s *fleet.Snapshot) error {
	if m.Docker == nil { // an import
		d := server.Default.Docker
		m.Docker = &dockerModel{
			Install: types.BoolValue(d.Install), LogMaxSize: types.StringValue(d.LogMaxSize), LogMaxFile: types.Int64Value(d.LogMaxFile), LiveRestore: types.BoolValue(d.LiveRestore),
			Mirrors: types.ListNull(types.StringType), Insecure: types.ListNull(types.StringType),
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
	if d.Registries {
		refreshList(&m.Docker.Mirrors, d.Mirrors)
		refreshList(&m.Docker.Insecure, d.Insecure)
	}
	if d.Others {
		m.Docker.refreshKeys(d)
	}
	return nil
}

// isSet says that a list says something: an empty one doesn't.
func isSet(l types.List) bool { return len(l.Elements()) > 0 }

// refreshList is what a list is in the file, if it is managed and means something else.
func refreshList(managed *types.List, is []string) {
	if isSet(*managed) && !server.SameRegistries(stringList(*managed), is) {
		*managed = listValue(is)
	}
}

// refreshKeys is what the keys in daemon_json are in the file, if one means something else.
func (m *dockerModel) refreshKeys(d *server.Daemon) {
	keys, same := m.daemonKeys(), true
	for key, value := range keys {
		is := d.Key(key)
		same = same && server.SameJSON(value, is)
		if keys[key] = is; is == nil {
			delete(keys, key)
		}
	}
	if same {
		return
	}
	text, err := json.Marshal(keys)
	if err != nil {
		panic(fmt.Sprintf("what was parsed marshals: %v", err))
	}
	m.DaemonJSON = types.StringValue(string(text))
}

// refreshSwap sets the swap file as the server has it; one that is not managed is nobody's business.
func (m *serverModel) refreshSwap(f fleet.Facts) {
	want := m.Swap.swap()
	if want == nil {
		return
	}
	switch have := server.FindSwap(f, want.File); {
	case have == nil:
		m.Swap = nil
	case *have != *want:
		m.Swap = &swapModel{File: m.Swap.File, Size: types.StringValue(strconv.FormatInt(have.Size>>20, 10) + "m")}
	}
}
