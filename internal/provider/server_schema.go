package provider

import (
	"context"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework/resource/identityschema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/booldefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/int64planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
)

func serverResourceSchema(ctx context.Context) schema.Schema {
	fact := func(description string) schema.StringAttribute {
		return schema.StringAttribute{Computed: true, MarkdownDescription: description,
			PlanModifiers: []planmodifier.String{stringplanmodifier.UseStateForUnknown()}}
	}
	number := func(description string) schema.Int64Attribute {
		return schema.Int64Attribute{Computed: true, MarkdownDescription: description,
			PlanModifiers: []planmodifier.Int64{int64planmodifier.UseStateForUnknown()}}
	}
	return schema.Schema{
		MarkdownDescription: "A server that Kamal's containers can run on: Docker is installed, running and started at boot, its logs are rotated, and the network `kamal` is there. " +
			"If wanted a swap file. Nothing else is installed or changed. It can be created on a fresh server as on one that has long been in use.\n\n" +
			"A server that still boots is waited for, and so are cloud-init and whoever holds the package manager's lock. A server whose clock is wrong by minutes or whose disk is nearly full is refused before anything is changed.\n\n" +
			"Destroying it leaves Docker, its containers and everything else on the server as they are, unless `remove_docker_on_destroy` says otherwise.",
		Attributes: withMeanings(map[string]schema.Attribute{
			"id": schema.StringAttribute{Computed: true, MarkdownDescription: "The same as `server`."},
			"server": schema.StringAttribute{Required: true, Validators: []validator.String{serverValidator{}},
				MarkdownDescription: serverDescription + " Another address, user or port of the same machine changes nothing on it. " +
					"With the address of another machine that one is set up, and the first is left as it is."},
			"docker": dockerAttribute(),
			"swap":   swapAttribute(),
			"remove_docker_on_destroy": schema.BoolAttribute{Optional: true, Computed: true, Default: booldefault.StaticBool(false),
				MarkdownDescription: "Remove Docker's packages when this is destroyed. Refused while containers run. Docker's data stay on the disk. Default: `false`."},

			"docker_running": schema.BoolAttribute{Computed: true, MarkdownDescription: "Docker answers. Where it doesn't, the plan starts it."},
			"docker_enabled": schema.BoolAttribute{Computed: true, MarkdownDescription: "Docker is started at boot. Where it isn't, the plan mends it."},
			"network":        schema.BoolAttribute{Computed: true, MarkdownDescription: "The network `kamal` exists. Where it doesn't, the plan makes it."},
			"machine_id":     fact("The machine's id, from `/etc/machine-id`: it tells machines apart, whatever they are called."),
			"os":             fact("Operating system: `debian`, `ubuntu`."),
			"os_version":     fact("Version of the operating system: `12`, `24.04`."),
			"architecture":   fact("Architecture, as image platforms name it: `amd64`, `arm64`."),
			"cpus":           number("Number of CPUs."),
			"memory":         number("Memory in bytes."),
			"docker_version": fact("Docker's version: `26.1.5+dfsg1`."),
			"host_key":       fact("The server's SSH host key, as in `known_hosts`: `ssh-ed25519 AAAA…`."),
		}),
		Blocks: map[string]schema.Block{
			"timeouts": timeouts.Block(ctx, timeouts.Opts{Create: true, Read: true, Update: true, Delete: true,
				CreateDescription: "Default: `15m`. Up to ten minutes of it are spent waiting for cloud-init or the package manager.",
				ReadDescription:   "Default: `2m`.",
				UpdateDescription: "Default: `15m`.",
				DeleteDescription: "Default: `10m`."}),
		},
	}
}

// serverDescription is what every resource says of its attribute server.
const serverDescription = "SSH destination of the server: `[user@]address[:port]`, an IPv6 address in brackets, or an alias of the SSH configuration."

// serverIdentitySchema is the identity of what there is one of on a server.
func serverIdentitySchema() identityschema.Schema {
	return identityschema.Schema{Attributes: map[string]identityschema.Attribute{
		"server": identityschema.StringAttribute{RequiredForImport: true, Description: "SSH destination of the server: [user@]address[:port]."},
	}}
}
