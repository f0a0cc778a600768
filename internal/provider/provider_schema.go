package provider

import (
	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework-validators/mapvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/provider/schema"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

type providerModel struct {
	// Any of these may be unknown as a whole, as a map with unknown keys is.
	SSH             types.Object `tfsdk:"ssh"`
	ServerOverrides types.Map    `tfsdk:"server_overrides"`
	Registries      types.Map    `tfsdk:"registries"`
	OnUnreachable   types.String `tfsdk:"on_unreachable"`
}

type sshModel struct {
	User           types.String  `tfsdk:"user"`
	Port           types.Int64   `tfsdk:"port"`
	PrivateKey     types.String  `tfsdk:"private_key"`
	PrivateKeyFile types.String  `tfsdk:"private_key_file"`
	Passphrase     types.String  `tfsdk:"passphrase"`
	Certificate    types.String  `tfsdk:"certificate"`
	Agent          types.Bool    `tfsdk:"agent"`
	KnownHosts     types.String  `tfsdk:"known_hosts"`
	HostKey        types.String  `tfsdk:"host_key"`
	HostKeyPolicy  types.String  `tfsdk:"host_key_policy"`
	Bastion        *bastionModel `tfsdk:"bastion"`
	Config         types.String  `tfsdk:"config"`
	SudoPassword   types.String  `tfsdk:"sudo_password"`
	ConnectTimeout types.String  `tfsdk:"connect_timeout"`
	BootTimeout    types.String  `tfsdk:"boot_timeout"`
}

type bastionModel struct {
	Server         types.String `tfsdk:"server"`
	PrivateKey     types.String `tfsdk:"private_key"`
	PrivateKeyFile types.String `tfsdk:"private_key_file"`
	Passphrase     types.String `tfsdk:"passphrase"`
	Certificate    types.String `tfsdk:"certificate"`
	Agent          types.Bool   `tfsdk:"agent"`
	KnownHosts     types.String `tfsdk:"known_hosts"`
	HostKey        types.String `tfsdk:"host_key"`
	HostKeyPolicy  types.String `tfsdk:"host_key_policy"`
}

type registryModel struct {
	Username types.String `tfsdk:"username"`
	Password types.String `tfsdk:"password"`
}

func providerSchema() schema.Schema {
	ssh := sshAttributes()
	overrides := sshAttributes()
	return schema.Schema{
		MarkdownDescription: "Deploys web apps to plain servers over SSH, the way Kamal does.",
		Attributes: map[string]schema.Attribute{
			"ssh": schema.SingleNestedAttribute{
				Optional:            true,
				MarkdownDescription: "How to reach and log in to the servers.",
				Attributes:          ssh,
			},
			"server_overrides": schema.MapNestedAttribute{
				Optional: true,
				MarkdownDescription: "What differs from `ssh` for single servers, by the server as the resources name it. " +
					"What is not set here is taken from `ssh`.",
				NestedObject: schema.NestedAttributeObject{Attributes: overrides},
			},
			"registries": schema.MapNestedAttribute{
				Optional:   true,
				Validators: []validator.Map{mapvalidator.KeysAre(registryHostValidator{})},
				MarkdownDescription: "Log-ins for image registries, by host: `registry.example.com`, `ghcr.io`, `docker.io`. " +
					"They are used for the length of a pull and never stored on a server. " +
					"At other registries, what the SSH user on the server has counts: `docker login` and credential helpers.",
				NestedObject: schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
					"username": schema.StringAttribute{Required: true, MarkdownDescription: "User name."},
					"password": schema.StringAttribute{Required: true, Sensitive: true, MarkdownDescription: "Password or token."},
				}},
			},
			"on_unreachable": schema.StringAttribute{
				Optional: true,
				MarkdownDescription: "What happens with what is on a server that does not answer: `error` (default), or `keep`, " +
					"which keeps it in state with a warning and lets a destroy succeed with a warning, so that a lost server can be destroyed.",
				Validators: []validator.String{stringvalidator.OneOf("error", "keep")},
			},
		},
	}
}

func sshAttributes() map[string]schema.Attribute {
	attrs := keyAttributes()
	attrs["user"] = schema.StringAttribute{Optional: true,
		MarkdownDescription: "User to log in as, where the server's own name has none. Default: `root`. Environment: `KAMAL_SSH_USER`. " +
			"Another user than root needs sudo, or membership in group docker."}
	attrs["port"] = schema.Int64Attribute{Optional: true, MarkdownDescription: "Port, where the server's own name has none. Default: 22.",
		Validators: []validator.Int64{int64validator.Between(1, 65535)}}
	attrs["config"] = schema.StringAttribute{Optional: true,
		MarkdownDescription: "Path of an OpenSSH client configuration to honour, as in `~/.ssh/config`. Default: none."}
	attrs["sudo_password"] = schema.StringAttribute{Optional: true, Sensitive: true,
		MarkdownDescription: "Password for sudo, where it wants one. Environment: `KAMAL_SSH_SUDO_PASSWORD`."}
	attrs["connect_timeout"] = schema.StringAttribute{Optional: true, Validators: []validator.String{durationValidator{}},
		MarkdownDescription: "How long a server may take to answer and to log in. Default: `15s`."}
	attrs["boot_timeout"] = schema.StringAttribute{Optional: true, Validators: []validator.String{durationValidator{}},
		MarkdownDescription: "How long to wait for a server that is still booting: nothing answers, or the key is not there yet. Default: `0s`, " +
			"and two minutes when `kamal_server` is created."}
	attrs["bastion"] = schema.SingleNestedAttribute{Optional: true,
		MarkdownDescription: "A server to go through.",
		Attributes: func() map[string]schema.Attribute {
			b := keyAttributes()
			b["server"] = schema.StringAttribute{Required: true, MarkdownDescription: "The bastion: `[user@]address[:port]`."}
			return b
		}()}
	return attrs
}

// keyAttributes are those that say who we are and whom we trust: the same for a server and a bastion.
func keyAttributes() map[string]schema.Attribute {
	return map[string]schema.Attribute{
		"private_key": schema.StringAttribute{Optional: true, Sensitive: true,
			MarkdownDescription: "Private key, its content. Environment: `KAMAL_SSH_PRIVATE_KEY`."},
		"private_key_file": schema.StringAttribute{Optional: true,
			MarkdownDescription: "Path of the private key. Environment: `KAMAL_SSH_PRIVATE_KEY_FILE`. Without any key: the agent, then the usual files in `~/.ssh`."},
		"passphrase": schema.StringAttribute{Optional: true, Sensitive: true,
			MarkdownDescription: "Passphrase of the private key. Environment: `KAMAL_SSH_PASSPHRASE`."},
		"certificate": schema.StringAttribute{Optional: true, MarkdownDescription: "OpenSSH user certificate for the key: its content or its path."},
		"agent":       schema.BoolAttribute{Optional: true, MarkdownDescription: "Use the SSH agent. Default: only where no key is given."},
		"known_hosts": schema.StringAttribute{Optional: true,
			MarkdownDescription: "Known host keys: content of a known_hosts file, or its path. Default: `~/.ssh/known_hosts`. Environment: `KAMAL_SSH_KNOWN_HOSTS`."},
		"host_key": schema.StringAttribute{Optional: true,
			MarkdownDescription: "The one host key to accept: `ssh-ed25519 AAAA…` or `SHA256:…`."},
		"host_key_policy": schema.StringAttribute{Optional: true,
			MarkdownDescription: "`strict` (default): only known keys. `accept-new`: the first key of a server that no known_hosts names is accepted and pinned in the resource's state. " +
				"Environment: `KAMAL_SSH_HOST_KEY_POLICY`.",
			Validators: []validator.String{stringvalidator.OneOf("strict", "accept-new")}},
	}
}
