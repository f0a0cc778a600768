package provider

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework-validators/listvalidator"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/booldefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/int64default"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringdefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/proxy"
)

func proxyResourceSchema(ctx context.Context) schema.Schema {
	d := proxy.DefaultContainer
	port := int64validator.Between(1, 65535)
	return schema.Schema{
		MarkdownDescription: "kamal-proxy on one server, booted as Kamal does: the container `kamal-proxy` in the network `kamal`, with its routes and certificates in the volume `kamal-proxy-config`. " +
			"It stands in front of all apps of the server, whichever tool deployed them.\n\n" +
			"A changed version, port or option replaces the container in place: the image is pulled and the new container made first, then the old one is stopped and the new one started on the same volume, so that all routes stay. " +
			"If the new one does not come up, the old one is put back. Only one of them can have the ports, so traffic is interrupted: for 0.3 to 0.6 seconds as measured on two cores of their own (Debian 12 and 13, 100 requests a second), up to 1.7 on a busy machine. " +
			"Requests that are under way are given up to ten seconds to finish, and new connections are refused meanwhile; WebSockets are cut.\n\n" +
			"A kamal-proxy that is already there is taken over by an import, which restarts nothing; creating this resource beside it is refused.\n\n" +
			"Destroying it is refused while it serves apps that this provider did not deploy. The volume stays, so that a kamal-proxy that is booted again has its routes and certificates.",
		Attributes: map[string]schema.Attribute{
			"id": schema.StringAttribute{Computed: true, MarkdownDescription: "The same as `server`."},
			"server": schema.StringAttribute{Required: true, Validators: []validator.String{serverValidator{}},
				MarkdownDescription: serverDescription + " Another address, user or port of the same machine changes nothing on it. " +
					"With the address of another machine a kamal-proxy is booted there; the one on the first machine is removed if it serves nothing, and left running if it does."},
			"image": schema.StringAttribute{Optional: true, Computed: true, Default: stringdefault.StaticString(d.Image), Validators: []validator.String{repository},
				MarkdownDescription: "Repository of the image, without a tag. Default: `" + d.Image + "`."},
			"version": schema.StringAttribute{Optional: true, Computed: true, Default: stringdefault.StaticString(d.Version), Validators: []validator.String{proxyVersion},
				MarkdownDescription: "Version, the tag of the image: `" + proxy.MinVersion + "` or newer, written in full, because the Kamal CLI reads it as a number. Default: `" + d.Version + "`."},
			"http_port": schema.Int64Attribute{Optional: true, Computed: true, Default: int64default.StaticInt64(int64(d.HTTPPort)), Validators: []validator.Int64{port},
				MarkdownDescription: "The server's port for HTTP. Default: `80`."},
			"https_port": schema.Int64Attribute{Optional: true, Computed: true, Default: int64default.StaticInt64(int64(d.HTTPSPort)), Validators: []validator.Int64{port},
				MarkdownDescription: "The server's port for HTTPS. Default: `443`."},
			"bind_addresses": schema.ListAttribute{Optional: true, ElementType: types.StringType,
				Validators:          []validator.List{notEmpty{"leave bind_addresses out, or write null, for all addresses"}, listvalidator.UniqueValues(), listvalidator.ValueStringsAre(ipAddress)},
				MarkdownDescription: "The server's own IP addresses to publish the ports on, IPv4 or IPv6. Default: all of them."},
			"metrics_port": schema.Int64Attribute{Optional: true, Validators: []validator.Int64{port},
				MarkdownDescription: "Port for Prometheus metrics, reachable by containers in the network `kamal` only. Default: none."},
			"log_max_size": schema.StringAttribute{Optional: true, Computed: true, Default: stringdefault.StaticString(d.LogMaxSize), Validators: []validator.String{logSize},
				MarkdownDescription: "Size at which the log is rotated. Has no effect where Docker logs elsewhere than to files. Default: `10m`."},
			"debug": schema.BoolAttribute{Optional: true, Computed: true, Default: booldefault.StaticBool(d.Debug),
				MarkdownDescription: "Write debugging messages to the log. Default: `false`."},

			"container": schema.StringAttribute{Computed: true, PlanModifiers: []planmodifier.String{stringplanmodifier.UseStateForUnknown()},
				MarkdownDescription: "Id of the container."},
			"running": schema.BoolAttribute{Computed: true, MarkdownDescription: "kamal-proxy runs. Where it doesn't, the plan starts it, or boots it anew if its container is gone."},
			"faults": schema.ListAttribute{Computed: true, ElementType: types.StringType,
				MarkdownDescription: "In which ways the container differs from the one that Kamal boots, beside the arguments above: a missing volume, another restart policy, an option set by hand, `HTTP_PROXY` and the like in its environment. Where there are any, the plan replaces the container."},
			"machine_id": schema.StringAttribute{Computed: true, PlanModifiers: []planmodifier.String{stringplanmodifier.UseStateForUnknown()},
				MarkdownDescription: "Id of the machine that it runs on."},
		},
		Blocks: map[string]schema.Block{
			"timeouts": timeouts.Block(ctx, timeouts.Opts{Create: true, Read: true, Update: true, Delete: true,
				CreateDescription: "Default: `10m`.", ReadDescription: "Default: `2m`.", UpdateDescription: "Default: `10m`.", DeleteDescription: "Default: `5m`."}),
		},
	}
}

// A stringCheck validates a string by a function.
type stringCheck struct {
	summary, description string
	check                func(string) error
}

func (v stringCheck) Description(context.Context) string { return v.description }

func (v stringCheck) MarkdownDescription(ctx context.Context) string { return v.Description(ctx) }

func (v stringCheck) ValidateString(_ context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	if req.ConfigValue.IsNull() || req.ConfigValue.IsUnknown() {
		return
	}
	if err := v.check(req.ConfigValue.ValueString()); err != nil {
		resp.Diagnostics.AddAttributeError(req.Path, v.summary, fmt.Sprintf("%v.", err))
	}
}

var (
	proxyVersion = stringCheck{"Invalid version of kamal-proxy", "a full version, as in v0.9.2", proxy.CheckVersion}

	ipAddress = stringCheck{"Invalid IP address", "an IP address", func(s string) error {
		if a, err := netip.ParseAddr(s); err != nil || a.Zone() != "" {
			return fmt.Errorf("%q is no IP address", s)
		}
		return nil
	}}

	repository = stringCheck{"Invalid image", "an image repository without a tag", func(s string) error {
		ref, err := docker.ParseRef(s)
		if err != nil {
			return fmt.Errorf("%q is no image repository: %w", s, err)
		}
		if ref.Repository != s {
			return fmt.Errorf("%q has a tag or a digest: give the tag as version", s)
		}
		return nil
	}}

	logSize = stringCheck{"Invalid log size", "a log size, as in 10m", func(s string) error {
		_, err := docker.ParseLogSize(s)
		return err
	}}
)
