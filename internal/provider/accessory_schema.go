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
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/booldefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/objectdefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringdefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/kamal"
)

// Attribute types of the accessory's nested objects.
var (
	fileTypes = map[string]attr.Type{
		"path": types.StringType, "content": types.StringType, "secret_content": types.StringType, "mode": types.StringType, "owner": types.StringType,
	}
)

const (
	defaultAccessoryStop   = "30s"
	defaultAccessoryDeploy = "1m0s"
	defaultFileMode        = "0644"
)

func accessorySchema(ctx context.Context) schema.Schema {
	attrs := secretsAttributes()
	maps.Copy(attrs, accessoryRunAttributes())
	maps.Copy(attrs, accessoryOwnAttributes())
	return schema.Schema{
		MarkdownDescription: "One long-lived container with its data on one server (Postgres, Redis, a search engine), named and run as Kamal runs an accessory. " +
			"Created means ready: what depends on it starts when it takes connections.\n\n" +
			"A change of what the container is made of replaces it: the image is pulled first, the old container is stopped and kept, the new one runs on the same data " +
			"(anonymous volumes of the image included) and is waited for. If it does not get ready, the old one is put back and started, and the error says so. " +
			"Between stop and ready nothing answers; `create_before_destroy` is not possible, as there can be one container of the name.",
		Attributes: withMeanings(attrs),
		Blocks: map[string]schema.Block{
			"timeouts": timeouts.Block(ctx, timeouts.Opts{Create: true, Read: true, Update: true, Delete: true,
				CreateDescription: "Default: `20m`.", ReadDescription: "Default: `2m`.", UpdateDescription: "Default: `20m`.", DeleteDescription: "Default: `10m`."}),
		},
	}
}

// accessoryRunAttributes are what the container is made of.
func accessoryRunAttributes() map[string]schema.Attribute {
	return map[string]schema.Attribute{
		"image": schema.StringAttribute{Required: true, Validators: []validator.String{imageValidator{}},
			MarkdownDescription: "Image by tag (`postgres:17.2`) or by digest (`…@sha256:…`)."},
		"command": schema.ListAttribute{Optional: true, ElementType: types.StringType,
			MarkdownDescription: "Command and arguments, each an element. Default: the image's."},
		"env": schema.MapAttribute{Optional: true, ElementType: types.StringType,
			Validators:          []validator.Map{mapvalidator.KeysAre(envNameValidator())},
			MarkdownDescription: "Environment variables. Nothing secret: they are in the state, and in the server's process list while the container starts."},
		"ports": schema.ListAttribute{Optional: true, ElementType: types.StringType, PlanModifiers: []planmodifier.List{anyOrder{}},
			Validators: []validator.List{listvalidator.UniqueValues(), listvalidator.ValueStringsAre(portValidator{})},
			MarkdownDescription: "Published ports: `host:container`, `address:host:container`, with `/udp` at the end where it is not TCP. **Without an address the port is bound to 127.0.0.1**, unlike Docker's and Kamal's: " +
				"other containers reach the accessory by its name over the network, without any port. A port that others shall reach must be written out (`0.0.0.0:5432:5432`); " +
				"it is not filtered by UFW, see `kamal_firewall`."},
		"volumes": schema.ListAttribute{Optional: true, ElementType: types.StringType, PlanModifiers: []planmodifier.List{anyOrder{}},
			Validators: []validator.List{listvalidator.UniqueValues(),
				listvalidator.ValueStringsAre(stringvalidator.RegexMatches(volumePattern, "must be NAME:/path[:options] or /host/path:/path[:options]"))},
			MarkdownDescription: "Volumes and bind mounts: `name:/path[:options]` or `/host/path:/path[:options]`."},
		"directories": schema.ListAttribute{Optional: true, ElementType: types.StringType, PlanModifiers: []planmodifier.List{anyOrder{}},
			Validators: []validator.List{listvalidator.UniqueValues(),
				listvalidator.ValueStringsAre(stringvalidator.RegexMatches(directoryPattern, "must be local:/path[:options], with a local path without \"..\""))},
			MarkdownDescription: "Directories of the server, made where they are missing: `local:/path[:options]`. A relative one is below `~/SERVICE-NAME`, as Kamal's are."},
		"files": schema.ListNestedAttribute{Optional: true,
			MarkdownDescription: "Files for the container, kept below `~/SERVICE-NAME/files`. A change of one replaces the container. What is secret in them goes into `secret_content`.",
			NestedObject: schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
				"path": schema.StringAttribute{Required: true, Validators: []validator.String{stringvalidator.RegexMatches(filePathPattern, "must be absolute, without \"..\" and \":\"")},
					MarkdownDescription: "Where the container sees the file."},
				"content": schema.StringAttribute{Optional: true,
					Validators:          []validator.String{stringvalidator.ExactlyOneOf(path.MatchRelative().AtParent().AtName("secret_content"))},
					MarkdownDescription: "Content. It is in the state. Either this or `secret_content`."},
				"secret_content": schema.StringAttribute{Optional: true, WriteOnly: true, Sensitive: true,
					MarkdownDescription: "Secret content. Write-only: neither plan nor state holds it; `secret_digests` has a digest of it under the file's path. " +
						"On the server the file is in a directory that only root and the SSH user can enter, so that `mode` counts for the container alone."},
				"mode": schema.StringAttribute{Optional: true, Computed: true, Default: stringdefault.StaticString(defaultFileMode),
					Validators:          []validator.String{stringvalidator.RegexMatches(modePattern, "must be octal, as in \"0644\"")},
					MarkdownDescription: "Mode, octal. Default: `0644`."},
				"owner": schema.StringAttribute{Optional: true, Validators: []validator.String{stringvalidator.RegexMatches(ownerPattern, "must be USER or USER:GROUP, names of the server or numbers")},
					MarkdownDescription: "Owner, `user` or `user:group`; numbers are those of the container too. Needs root or sudo. Default: the SSH user."},
			}}},
		"labels": schema.MapAttribute{Optional: true, ElementType: types.StringType,
			Validators:          []validator.Map{mapvalidator.KeysAre(stringvalidator.NoneOf(kamal.ReservedLabels...), labelNameValidator())},
			MarkdownDescription: "Labels of the container. `service` is Kamal's own, `role` and `destination` would make an app's role of it."},
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
		"options": schema.SingleNestedAttribute{Optional: true, MarkdownDescription: "More of what Docker can set.", Attributes: optionsAttributes()},
		"network": schema.StringAttribute{Optional: true, Computed: true, Default: stringdefault.StaticString(kamal.Network),
			Validators:          []validator.String{stringvalidator.LengthAtLeast(1)},
			MarkdownDescription: "Docker network. Default: `kamal`, which the app's containers are in; they reach the accessory there by the name `SERVICE-NAME`. Another one must exist."},
	}
}

func accessoryOwnAttributes() map[string]schema.Attribute {
	name := []validator.String{stringvalidator.RegexMatches(kamal.NamePattern, "may have letters, digits, - and _ only, as it becomes part of the container's name")}
	replace := []planmodifier.String{stringplanmodifier.RequiresReplace()}
	return map[string]schema.Attribute{
		"server": schema.StringAttribute{Required: true, Validators: []validator.String{serverValidator{}},
			MarkdownDescription: serverDescription + " Another address, user or port of the same machine changes nothing. Another machine is refused, because the data would stay behind: `-replace` does it."},
		"service": schema.StringAttribute{Required: true, Validators: name, PlanModifiers: replace,
			MarkdownDescription: "Name of the app, Kamal's `service`."},
		"name": schema.StringAttribute{Required: true, Validators: name, PlanModifiers: replace,
			MarkdownDescription: "Name of the accessory, as in `db`. The container is `SERVICE-NAME`."},
		"pull": schema.StringAttribute{Optional: true, Computed: true, Default: stringdefault.StaticString("missing"),
			Validators:          []validator.String{stringvalidator.OneOf("missing", "always")},
			MarkdownDescription: "`missing` (default): an image that is on the server is used as it is. `always`: the registry is asked at each replacement, for tags that move."},
		"healthcheck": schema.SingleNestedAttribute{Optional: true,
			MarkdownDescription: "When the container is ready. Default: when the image's own health check says so; without one, when it has run for two seconds.",
			Attributes: map[string]schema.Attribute{
				"command": schema.ListAttribute{Optional: true, ElementType: types.StringType,
					Validators:          []validator.List{listvalidator.ConflictsWith(path.MatchRelative().AtParent().AtName("port"))},
					MarkdownDescription: "Command that succeeds in the container (`docker exec`) once it is ready: `[\"pg_isready\", \"-h\", \"127.0.0.1\"]`."},
				"port": schema.Int64Attribute{Optional: true, Validators: []validator.Int64{int64validator.Between(1, 65535)},
					MarkdownDescription: "TCP port of the container that takes connections once it is ready."},
			}},
		"app_port": schema.Int64Attribute{Optional: true, Validators: []validator.Int64{int64validator.Between(1, 65535)},
			MarkdownDescription: "Port of the container that a `kamal_proxy_route` with the target `proxy` sends requests to. The route follows the container when it is replaced."},
		"proxy_healthcheck": schema.SingleNestedAttribute{Optional: true, Computed: true, Default: objectdefault.StaticValue(defaultHealth),
			MarkdownDescription: "How kamal-proxy checks the container, over HTTP on `app_port`, before it sends requests.",
			Attributes:          healthAttributes()},
		"stop_timeout": schema.StringAttribute{Optional: true, Computed: true, Default: stringdefault.StaticString(defaultAccessoryStop),
			Validators:          []validator.String{durationValidator{Min: time.Second}},
			MarkdownDescription: "How long the container may take to end after SIGTERM; a database that is killed has to recover. Default: `30s`."},
		"deploy_timeout": schema.StringAttribute{Optional: true, Computed: true, Default: stringdefault.StaticString(defaultAccessoryDeploy),
			Validators:          []validator.String{durationValidator{Min: time.Second}},
			MarkdownDescription: "How long a new container may take to get ready. Default: `1m0s`."},
		"drain_timeout": schema.StringAttribute{Optional: true, Computed: true, Default: stringdefault.StaticString(defaultDrainTimeout),
			Validators:          []validator.String{durationValidator{}},
			MarkdownDescription: "For a route: how long requests under way may take when the route changes. Default: `30s`."},
		"delete_data": schema.BoolAttribute{Optional: true, Computed: true, Default: booldefault.StaticBool(false),
			MarkdownDescription: "Whether a destroy removes the volumes and directories that this resource created. What was there before it stays in any case. Apply it before you destroy. Default: `false`: everything stays, and a warning lists it."},

		"id":         schema.StringAttribute{Computed: true, MarkdownDescription: "`service/name`."},
		"container":  schema.StringAttribute{Computed: true, MarkdownDescription: "Id of the container."},
		"digest":     schema.StringAttribute{Computed: true, MarkdownDescription: "Digest of the image in its registry, or its id where it has none."},
		"running":    schema.BoolAttribute{Computed: true, MarkdownDescription: "Whether the container runs."},
		"machine_id": schema.StringAttribute{Computed: true, MarkdownDescription: "The machine that the accessory and its data are on, whatever it is called."},
		"drift": schema.ListAttribute{Computed: true, ElementType: types.StringType,
			MarkdownDescription: "What is not as it should be and shows in no other attribute. Empty is right."},
		"proxy": schema.SingleNestedAttribute{Computed: true,
			MarkdownDescription: "What a `kamal_proxy_route` needs to know of the accessory, for its `target`. Null without `app_port`.",
			Attributes:          proxyTargetAttributes()},
	}
}
