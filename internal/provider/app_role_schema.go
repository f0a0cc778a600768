package provider

import (
	"context"
	"maps"
	"time"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework-validators/float64validator"
	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework-validators/listvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/mapvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/resource/identityschema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/int64default"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/objectdefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringdefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/kamal"
)

// Attribute types of the role's nested objects. proxyTypes is also the type of
// kamal_proxy_route's target.
var (
	healthTypes = map[string]attr.Type{
		"path": types.StringType, "port": types.Int64Type, "host": types.StringType,
		"interval": types.StringType, "timeout": types.StringType,
	}
	proxyTypes = map[string]attr.Type{
		"service": types.StringType, "app": types.StringType, "app_port": types.Int64Type,
		"healthcheck":    types.ObjectType{AttrTypes: healthTypes},
		"deploy_timeout": types.StringType, "drain_timeout": types.StringType,
	}
	bootTypes = map[string]attr.Type{
		"order": types.StringType, "limit": types.StringType, "wait": types.StringType, "on_failure": types.StringType,
	}
	loggingTypes  = map[string]attr.Type{"driver": types.StringType, "options": types.MapType{ElemType: types.StringType}}
	instanceTypes = map[string]attr.Type{
		"container": types.StringType, "image": types.StringType, "digest": types.StringType,
		"running": types.BoolType, "machine_id": types.StringType, "drift": types.ListType{ElemType: types.StringType},
	}
)

// Kamal's defaults.
var (
	defaultHealth = types.ObjectValueMust(healthTypes, map[string]attr.Value{
		"path": types.StringValue("/up"), "port": types.Int64Null(), "host": types.StringNull(),
		"interval": types.StringValue("1s"), "timeout": types.StringValue("5s"),
	})
	defaultBoot = types.ObjectValueMust(bootTypes, map[string]attr.Value{
		"order": types.StringValue("start_first"), "limit": types.StringNull(), "wait": types.StringValue("0s"), "on_failure": types.StringValue("rollback"),
	})
	defaultLogOptions = types.MapValueMust(types.StringType, map[string]attr.Value{"max-size": types.StringValue("10m")})
	defaultLogging    = types.ObjectValueMust(loggingTypes, map[string]attr.Value{
		"driver": types.StringValue("json-file"), "options": defaultLogOptions,
	})
)

const (
	defaultDeployTimeout  = "30s"
	defaultDrainTimeout   = "30s"
	defaultReadinessDelay = "7s"
	defaultRetain         = 5
)

func appRoleSchema(ctx context.Context) schema.Schema {
	return schema.Schema{
		MarkdownDescription: "One role of one app on all its servers: a container on each, swapped for a new one with no failed request.\n\n" +
			"Every change but that of a name is an update in place, and the update is the swap. `-replace` removes the containers before it starts new ones; " +
			"with `create_before_destroy` it is refused, because two objects can't own one role.",
		Attributes: withMeanings(appRoleAttributes()),
		Blocks: map[string]schema.Block{
			"timeouts": timeouts.Block(ctx, timeouts.Opts{Create: true, Read: true, Update: true, Delete: true,
				CreateDescription: "For the whole roll-out over all servers. Default: `30m`.",
				ReadDescription:   "Default: `2m`.",
				UpdateDescription: "For the whole roll-out over all servers. Default: `30m`.",
				DeleteDescription: "Default: `10m`."}),
		},
	}
}

func appRoleAttributes() map[string]schema.Attribute {
	attrs := secretsAttributes()
	maps.Copy(attrs, appRoleOwnAttributes())
	return attrs
}

func appRoleOwnAttributes() map[string]schema.Attribute {
	name := []validator.String{stringvalidator.RegexMatches(kamal.NamePattern, "may have letters, digits, - and _ only, as it becomes part of container names")}
	replace := []planmodifier.String{stringplanmodifier.RequiresReplace()}
	return map[string]schema.Attribute{
		"service": schema.StringAttribute{Required: true, Validators: name, PlanModifiers: replace,
			MarkdownDescription: "Name of the app, Kamal's `service`. Another name is another app: the old one is removed."},
		"role": schema.StringAttribute{Optional: true, Computed: true, Default: stringdefault.StaticString("web"), Validators: name, PlanModifiers: replace,
			MarkdownDescription: "Name of the role. Default: `web`."},
		"destination": schema.StringAttribute{Optional: true, Validators: name, PlanModifiers: replace,
			MarkdownDescription: "Kamal's destination, as in `staging`: it is part of every name, so that several destinations of an app can share a server."},
		"servers": schema.ListAttribute{Required: true, ElementType: types.StringType,
			Validators: []validator.List{notEmpty{noServers}, listvalidator.UniqueValues(),
				listvalidator.ValueStringsAre(serverValidator{})},
			MarkdownDescription: "The servers that run the role, in the order in which they are rolled out: `[user@]address[:port]`, or aliases of the SSH configuration. " +
				"A server that is added gets a container; on one that is taken out, the role's service at kamal-proxy is drained and removed, then its containers."},
		"image": schema.StringAttribute{Required: true, Validators: []validator.String{imageValidator{}},
			MarkdownDescription: "Image by tag (`registry.example.com/shop:v42`) or by digest (`…@sha256:…`). The tag is the version."},
		"pull": schema.StringAttribute{Optional: true, Computed: true, Default: stringdefault.StaticString("missing"),
			Validators: []validator.String{stringvalidator.OneOf("missing", "always")},
			MarkdownDescription: "`missing` (default): an image that is on the server is used as it is, so that going back to an earlier version needs no registry. " +
				"`always`: the registry is asked at each deploy, for tags that move; a tag that moved is no change in the plan, which asks no registry."},
		"command": schema.ListAttribute{Optional: true, ElementType: types.StringType,
			MarkdownDescription: "Command and arguments, each an element. Default: the image's."},
		"env": schema.MapAttribute{Optional: true, ElementType: types.StringType,
			Validators:          []validator.Map{mapvalidator.KeysAre(envNameValidator())},
			MarkdownDescription: "Environment variables. Nothing secret: they are in the state, and in the server's process list while the container starts."},
		"app_port": schema.Int64Attribute{Optional: true, Validators: []validator.Int64{int64validator.Between(1, 65535)},
			MarkdownDescription: "Port that the app listens on in its container. A role without one (a job worker) gets no health check over HTTP and no route."},
		"healthcheck": schema.SingleNestedAttribute{Optional: true, Computed: true, Default: objectdefault.StaticValue(defaultHealth),
			MarkdownDescription: "How a new container is checked, over HTTP on `app_port`, before it gets traffic. The first answer with a 2xx status counts.",
			Attributes:          healthAttributes()},
		"readiness_delay": schema.StringAttribute{Optional: true, Computed: true, Default: stringdefault.StaticString(defaultReadinessDelay),
			Validators:          []validator.String{durationValidator{}},
			MarkdownDescription: "For a role without `app_port`: how long a new container must run to be ready, if its image has no health check of its own. Default: `7s`."},
		"verify": schema.ListAttribute{Optional: true, ElementType: types.StringType, Validators: []validator.List{notEmpty{"leave verify out, or write null, to verify nothing"}},
			MarkdownDescription: "Command that runs in the new container, once it is healthy and before it gets traffic. Its failure keeps the old version."},
		"volumes": schema.ListAttribute{Optional: true, ElementType: types.StringType, PlanModifiers: []planmodifier.List{anyOrder{}},
			Validators: []validator.List{listvalidator.UniqueValues(),
				listvalidator.ValueStringsAre(stringvalidator.RegexMatches(volumePattern, "must be NAME:/path[:options] or /host/path:/path[:options]"))},
			MarkdownDescription: "Volumes and bind mounts: `name:/path[:options]` or `/host/path:/path[:options]`."},
		"labels": schema.MapAttribute{Optional: true, ElementType: types.StringType,
			Validators: []validator.Map{
				mapvalidator.KeysAre(stringvalidator.NoneOf(kamal.ReservedLabels...), labelNameValidator())},
			MarkdownDescription: "Labels of the containers. `service`, `role` and `destination` are Kamal's own."},
		"logging": schema.SingleNestedAttribute{Optional: true, Computed: true, Default: objectdefault.StaticValue(defaultLogging),
			MarkdownDescription: "Where the container's output goes. Default: `json-file`, rotated at 10 MB.",
			Attributes: map[string]schema.Attribute{
				"driver": schema.StringAttribute{Optional: true, Computed: true, Default: stringdefault.StaticString("json-file"), MarkdownDescription: "Docker's log driver. Default: `json-file`."},
				"options": schema.MapAttribute{Optional: true, ElementType: types.StringType,
					MarkdownDescription: "The driver's options, as in `{ max-size = \"10m\" }`. Where `logging` is given, these are all of them."},
			}},
		"memory": schema.StringAttribute{Optional: true, Validators: []validator.String{memoryValidator{}},
			MarkdownDescription: "Limit of memory: `512m`, `2g`. Default: none."},
		"cpus": schema.Float64Attribute{Optional: true, Validators: []validator.Float64{float64validator.AtLeast(0.01)},
			MarkdownDescription: "Limit of CPUs: `1.5`. Default: none."},
		"ports": schema.ListAttribute{Optional: true, ElementType: types.StringType, PlanModifiers: []planmodifier.List{anyOrder{}},
			Validators: []validator.List{listvalidator.UniqueValues(), listvalidator.ValueStringsAre(portValidator{})},
			MarkdownDescription: "Published ports, for what does not speak HTTP: `host:container`, `address:host:container`, with `/udp` at the end where it is not TCP. **Without an address the port is bound to 127.0.0.1**. " +
				"kamal-proxy needs none of them. Old and new container can't have the same port, so that `boot.order` must be `stop_first`: a swap has a gap in which nobody answers."},
		"asset_path": schema.StringAttribute{Optional: true,
			Validators: []validator.String{stringvalidator.RegexMatches(assetPathPattern, "must be an absolute path in the container, with options of its mount after a colon if it needs any, as in \"/rails/public/assets\" or \"/rails/public/assets:ro\"")},
			MarkdownDescription: "Directory of the app's fingerprinted assets in the image, Kamal's `asset_path`: `/rails/public/assets`, or with options of the mount `/rails/public/assets:ro`. " +
				"Each container mounts a volume there with the assets of its own version, of the one before and, once that is there, of the next, so that pages which one version made find their assets at the other during and after a swap. " +
				"Directories on the server are Kamal's (`~/.kamal/apps/APP/assets`), and the two tools can take turns. Without it a version has its own assets only."},
		"options": schema.SingleNestedAttribute{Optional: true, MarkdownDescription: "More of what Docker can set, Kamal's `options`.", Attributes: optionsAttributes()},
		"stop_timeout": schema.StringAttribute{Optional: true, Validators: []validator.String{durationValidator{Min: time.Second}},
			MarkdownDescription: "How long the old container may take to end after SIGTERM. Default: Docker's 10 seconds for a role with `app_port`, which has been drained by then; else `drain_timeout`."},
		"deploy_timeout": schema.StringAttribute{Optional: true, Computed: true, Default: stringdefault.StaticString(defaultDeployTimeout),
			Validators:          []validator.String{durationValidator{Min: time.Second}},
			MarkdownDescription: "How long a new container may take to get healthy. Default: `30s`."},
		"drain_timeout": schema.StringAttribute{Optional: true, Computed: true, Default: stringdefault.StaticString(defaultDrainTimeout),
			Validators:          []validator.String{durationValidator{}},
			MarkdownDescription: "How long requests that the old container is still answering may take after the switch. Default: `30s`."},
		"boot": schema.SingleNestedAttribute{Optional: true, Computed: true, Default: objectdefault.StaticValue(defaultBoot),
			MarkdownDescription: "The order in which things happen.",
			Attributes:          bootAttributes()},
		"retain_containers": schema.Int64Attribute{Optional: true, Computed: true, Default: int64default.StaticInt64(defaultRetain),
			Validators: []validator.Int64{int64validator.AtLeast(1)},
			MarkdownDescription: "How many old containers of this role are kept on each server, with their images, to go back to. Default: 5. " +
				"Counted for this role alone; Kamal's own prune counts all roles of the app together."},

		"id":      schema.StringAttribute{Computed: true, MarkdownDescription: "`service/role[/destination]`."},
		"version": schema.StringAttribute{Computed: true, MarkdownDescription: "The version: the image's tag, or the start of its digest."},
		"proxy": schema.SingleNestedAttribute{Computed: true,
			MarkdownDescription: "What a `kamal_proxy_route` needs to know of the role, for its `target`. Null without `app_port`.",
			Attributes:          proxyTargetAttributes()},
		"instances": schema.MapNestedAttribute{Computed: true,
			MarkdownDescription: "What runs, by server.",
			NestedObject: schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
				"container":  schema.StringAttribute{Computed: true, MarkdownDescription: "Id of the container."},
				"image":      schema.StringAttribute{Computed: true, MarkdownDescription: "Image that it was started from."},
				"digest":     schema.StringAttribute{Computed: true, MarkdownDescription: "Digest of the image in its registry, or its id where it has none."},
				"running":    schema.BoolAttribute{Computed: true, MarkdownDescription: "Whether the container runs."},
				"machine_id": schema.StringAttribute{Computed: true, MarkdownDescription: "The machine, whatever it is called."},
				"drift": schema.ListAttribute{Computed: true, ElementType: types.StringType,
					MarkdownDescription: "What is not as it should be on this server and shows in no other attribute. Empty is right."},
			}}},
	}
}

// proxyTargetAttributes describe proxyTypes.
func proxyTargetAttributes() map[string]schema.Attribute {
	return map[string]schema.Attribute{
		"service":        schema.StringAttribute{Computed: true, MarkdownDescription: "Its service at kamal-proxy."},
		"app":            schema.StringAttribute{Computed: true, MarkdownDescription: "Kamal's name for app and destination, where it is a role."},
		"app_port":       schema.Int64Attribute{Computed: true, MarkdownDescription: "As `app_port`."},
		"healthcheck":    schema.ObjectAttribute{Computed: true, AttributeTypes: healthTypes, MarkdownDescription: "The health check over HTTP."},
		"deploy_timeout": schema.StringAttribute{Computed: true, MarkdownDescription: "As `deploy_timeout`."},
		"drain_timeout":  schema.StringAttribute{Computed: true, MarkdownDescription: "As `drain_timeout`."},
	}
}

func healthAttributes() map[string]schema.Attribute {
	return map[string]schema.Attribute{
		"path": schema.StringAttribute{Optional: true, Computed: true, Default: stringdefault.StaticString("/up"),
			Validators:          []validator.String{stringvalidator.RegexMatches(healthPathPattern, "must begin with / and have no query: kamal-proxy would escape the question mark")},
			MarkdownDescription: "Path. Default: `/up`."},
		"port": schema.Int64Attribute{Optional: true, Validators: []validator.Int64{int64validator.Between(1, 65535)}, MarkdownDescription: "Port. Default: `app_port`."},
		"host": schema.StringAttribute{Optional: true, Validators: []validator.String{stringvalidator.LengthAtLeast(1)},
			MarkdownDescription: "Host header to send. Default: the container's id and port, which apps with a list of allowed hosts must let pass."},
		"interval": schema.StringAttribute{Optional: true, Computed: true, Default: stringdefault.StaticString("1s"),
			Validators:          []validator.String{durationValidator{Min: time.Millisecond}},
			MarkdownDescription: "Time between two checks. Default: `1s`. Zero would crash kamal-proxy and is refused."},
		"timeout": schema.StringAttribute{Optional: true, Computed: true, Default: stringdefault.StaticString("5s"),
			Validators:          []validator.String{durationValidator{Min: time.Millisecond}},
			MarkdownDescription: "How long one check may take. Default: `5s`."},
	}
}

func bootAttributes() map[string]schema.Attribute {
	return map[string]schema.Attribute{
		"order": schema.StringAttribute{Optional: true, Computed: true, Default: stringdefault.StaticString("start_first"),
			Validators: []validator.String{stringvalidator.OneOf("start_first", "stop_first")},
			MarkdownDescription: "`start_first` (default): the new container starts beside the old one. " +
				"`stop_first`: the old one is stopped before, for what may run only once; there is a gap."},
		"limit": schema.StringAttribute{Optional: true, Validators: []validator.String{stringvalidator.RegexMatches(limitPattern, "must be a number of servers, or a percentage as in \"25%\"")},
			MarkdownDescription: "How many servers are taken at a time: a number, or a percentage as in `\"25%\"`. Default: all."},
		"wait": schema.StringAttribute{Optional: true, Computed: true, Default: stringdefault.StaticString("0s"),
			Validators: []validator.String{durationValidator{}}, MarkdownDescription: "Time between two groups of servers. Default: `0s`."},
		"on_failure": schema.StringAttribute{Optional: true, Computed: true, Default: stringdefault.StaticString("rollback"),
			Validators:          []validator.String{stringvalidator.OneOf("rollback", "halt")},
			MarkdownDescription: "When a server fails: `rollback` (default) puts those that were already switched back to their old containers, `halt` leaves them on the new version. An apply that is interrupted by hand stops where it is."},
	}
}

func appRoleIdentitySchema() identityschema.Schema {
	return identityschema.Schema{Attributes: map[string]identityschema.Attribute{
		"service":     identityschema.StringAttribute{RequiredForImport: true, Description: "Name of the app."},
		"role":        identityschema.StringAttribute{RequiredForImport: true, Description: "Name of the role."},
		"destination": identityschema.StringAttribute{OptionalForImport: true, Description: "Destination, if it has one."},
		"servers":     identityschema.ListAttribute{RequiredForImport: true, ElementType: types.StringType, Description: "The servers that run the role."},
	}}
}
