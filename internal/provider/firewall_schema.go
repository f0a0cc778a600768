package provider

import (
	"context"
	"fmt"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/booldefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/listplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

func firewallSchema(ctx context.Context) schema.Schema {
	return schema.Schema{
		MarkdownDescription: "Closes the ports that Docker publishes on a server, except those that are allowed.\n\n" +
			"UFW and the like filter what is addressed to the server itself. A port that Docker publishes (`5432:5432`) is forwarded to a container and never passes them: " +
			"UFW says closed, and the database is open. This filters where Docker lets others filter, in `DOCKER-USER`, over IPv4 and IPv6, " +
			"and comes back after a restart of Docker and a reboot, before any container can be reached.\n\n" +
			"What it does not touch: the server itself (SSH, nothing in `INPUT`, so it can't lock you out), traffic between containers, connections that containers open, other tools' rules in " +
			"`DOCKER-USER`, and interfaces that are not guarded, such as a private network. A port published on `127.0.0.1` stays closed to the outside even where its number is allowed.\n\n" +
			"**Connections that are open already stay open** when a rule goes: only new ones are refused. To end them, restart the container or run `conntrack -D` on the server. " +
			"For UDP, a sender counts as connected while its packets keep coming. Answers and ICMP errors that belong to a connection always pass.\n\n" +
			"**IPv6 and Docker's userland proxy.** On a server with IPv6 addresses, that proxy takes IPv6 connections to published ports past every rule. " +
			"It has to be turned off (`\"userland-proxy\": false` in `/etc/docker/daemon.json`, then a restart of Docker): `kamal_server` does that where it installs Docker; elsewhere this resource refuses until it is done, or accepted.\n\n" +
			"Refused with an explanation: Docker with its nftables backend, swarm mode, firewalld, a Docker that manages no rules. " +
			"Not covered: containers on host, macvlan or ipvlan networks, and ports that are not published. Destroying it leaves the packet filter as it was before.",
		Attributes: map[string]schema.Attribute{
			"id": schema.StringAttribute{Computed: true, MarkdownDescription: "The same as `server`."},
			"server": schema.StringAttribute{Required: true, Validators: []validator.String{serverValidator{}},
				MarkdownDescription: serverDescription + " Another address, user or port of the same machine changes nothing on it. " +
					"With the address of another machine that one is guarded, and the first keeps its firewall."},
			"allow": schema.ListNestedAttribute{
				Optional:            true,
				MarkdownDescription: "Who may reach which published port. What is not allowed here is closed; without any rule, everything is.",
				NestedObject: schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
					"port": schema.StringAttribute{Required: true,
						MarkdownDescription: "Port of the server, or a range: `443`, `8000-8100`. It is the published port, not the container's: 8080 for `8080:80`."},
					// No default of the schema's: the framework's time for them grows with the square of the rules.
					"protocol": schema.StringAttribute{Optional: true, Validators: []validator.String{stringvalidator.OneOf("tcp", "udp")},
						MarkdownDescription: "`tcp` or `udp`. Default: `tcp`."},
					"sources": schema.ListAttribute{ElementType: types.StringType, Optional: true, Validators: []validator.List{notEmpty{"leave sources out, or write null, for anywhere; take the rule out for nowhere"}},
						MarkdownDescription: "Networks or addresses, IPv4 and IPv6, that may: `203.0.113.0/24`, `2001:db8::/32`, `198.51.100.7`. Default: anywhere."},
					"description": schema.StringAttribute{Optional: true, Validators: []validator.String{stringvalidator.LengthBetween(1, 200)},
						MarkdownDescription: "What the rule is for."},
				}},
			},
			"interfaces": schema.ListAttribute{ElementType: types.StringType, Optional: true, Validators: []validator.List{notEmpty{"leave interfaces out, or write null, for those of the default routes"}},
				MarkdownDescription: "Network interfaces that are guarded. Default: those of the server's default routes. What comes in over others, say a private network, is not filtered."},
			"allow_ipv6_userland_proxy": schema.BoolAttribute{Optional: true, Computed: true, Default: booldefault.StaticBool(false),
				MarkdownDescription: "Accept that published ports can be reached over IPv6 past these rules, because Docker's userland proxy is on. Default: `false`."},

			"guarded_interfaces": schema.ListAttribute{ElementType: types.StringType, Computed: true,
				PlanModifiers:       []planmodifier.List{listplanmodifier.UseStateForUnknown()},
				MarkdownDescription: "The interfaces that are guarded: `interfaces`, or those that were found."},
			"backend": schema.StringAttribute{Computed: true, PlanModifiers: []planmodifier.String{stringplanmodifier.UseStateForUnknown()},
				MarkdownDescription: "The back end of iptables that Docker uses there, and so do the rules: `nft` or `legacy`."},
			"machine_id": schema.StringAttribute{Computed: true, PlanModifiers: []planmodifier.String{stringplanmodifier.UseStateForUnknown()},
				MarkdownDescription: "The machine's id, from `/etc/machine-id`."},
			"drift": schema.ListAttribute{ElementType: types.StringType, Computed: true,
				MarkdownDescription: "What differs on the server from what was applied, in sentences. Empty when all is well; where it isn't, the plan mends it."},
		},
		Blocks: map[string]schema.Block{
			"timeouts": timeouts.Block(ctx, timeouts.Opts{Create: true, Read: true, Update: true, Delete: true,
				CreateDescription: "Default: `5m`.", ReadDescription: "Default: `2m`.", UpdateDescription: "Default: `5m`.", DeleteDescription: "Default: `5m`."}),
		},
	}
}

// firewallRuleTypes are the types of an element of allow.
var firewallRuleTypes = map[string]attr.Type{
	"port":        types.StringType,
	"protocol":    types.StringType,
	"sources":     types.ListType{ElemType: types.StringType},
	"description": types.StringType,
}

// closedProxyPort is what a plan or an apply says about a port of kamal-proxy that is not allowed.
func closedProxyPort(port uint16, server string) (summary, detail string) {
	return fmt.Sprintf("The firewall closes port %d of kamal-proxy", port),
		fmt.Sprintf("kamal-proxy publishes port %d/tcp on %s, and no rule in allow lets anybody reach it: visitors get no answer there. "+
			"Add { port = \"%d\" } to allow, unless that is what you want.", port, server, port)
}
