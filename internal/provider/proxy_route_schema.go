package provider

import (
	"context"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework-validators/listvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/resource/identityschema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/booldefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/int64default"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/listdefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/objectdefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringdefault"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/kamal"
)

// Attribute types of the route's nested objects. That of target is proxyTypes.
var (
	routeTLSTypes = map[string]attr.Type{
		"acme": types.BoolType, "staging": types.BoolType, "certificate_pem": types.StringType,
		"private_key_pem": types.StringType, "redirect": types.BoolType,
	}
	routeBufferingTypes = map[string]attr.Type{
		"requests": types.BoolType, "responses": types.BoolType, "memory": types.Int64Type,
		"max_request_body": types.Int64Type, "max_response_body": types.Int64Type,
	}
	routeLogHeadersTypes = map[string]attr.Type{
		"request": types.ListType{ElemType: types.StringType}, "response": types.ListType{ElemType: types.StringType},
	}
	routeMaintenanceTypes = map[string]attr.Type{"message": types.StringType}
	routeInstanceTypes    = map[string]attr.Type{
		"target": types.StringType, "state": types.StringType, "machine_id": types.StringType,
		"drift": types.ListType{ElemType: types.StringType},
	}
)

// Kamal's defaults.
var (
	noStrings             = stringsValue(nil)
	defaultPathPrefixes   = stringsValue([]string{"/"})
	defaultLogRequest     = stringsValue([]string{"Cache-Control", "Last-Modified", "User-Agent"})
	defaultRouteBuffering = types.ObjectValueMust(routeBufferingTypes, map[string]attr.Value{
		"requests": types.BoolValue(true), "responses": types.BoolValue(true), "memory": types.Int64Value(defaultBufferMemory),
		"max_request_body": types.Int64Value(0), "max_response_body": types.Int64Value(0),
	})
	defaultRouteLogHeaders = types.ObjectValueMust(routeLogHeadersTypes, map[string]attr.Value{"request": defaultLogRequest, "response": noStrings})
)

const (
	defaultBufferMemory    = 1 << 20
	defaultResponseTimeout = "30s"
)

func proxyRouteSchema(ctx context.Context) schema.Schema {
	return schema.Schema{
		MarkdownDescription: "How visitors reach one service through the kamal-proxy of its servers: hosts, paths, TLS, buffering, maintenance. " +
			"A change of it restarts no container and fails no request; it does end WebSockets, which browsers open anew. " +
			"What belongs to the container (port, health check, timeouts) comes from its role by `target`.",
		Attributes: withMeanings(proxyRouteAttributes()),
		Blocks: map[string]schema.Block{
			"timeouts": timeouts.Block(ctx, timeouts.Opts{Create: true, Read: true, Update: true, Delete: true,
				CreateDescription: "Default: `10m`.", ReadDescription: "Default: `2m`.",
				UpdateDescription: "Default: `10m`.", DeleteDescription: "Default: `5m`."}),
		},
	}
}

func proxyRouteAttributes() map[string]schema.Attribute {
	return map[string]schema.Attribute{
		"target": schema.SingleNestedAttribute{Required: true,
			MarkdownDescription: "The service and how its container is asked: `kamal_app_role.NAME.proxy`. " +
				"To another service the route moves in one step on each server; where it keeps a host, visitors of that host get a 404 for about a tenth of a second, the time between two commands.",
			Attributes: routeTargetAttributes()},
		"servers": schema.ListAttribute{Required: true, ElementType: types.StringType,
			Validators: []validator.List{notEmpty{noServers}, listvalidator.ValueStringsAre(serverValidator{})},
			MarkdownDescription: "The servers whose kamal-proxy gets the route: `[user@]address[:port]`, or aliases of the SSH configuration. " +
				"A container of the service must run on each of them; take it from the role's `servers`."},
		"hosts": schema.ListAttribute{Optional: true, ElementType: types.StringType,
			Validators: []validator.List{notEmpty{"leave hosts out, or write null, for any host that no other route has"}, listvalidator.UniqueValues(), listvalidator.ValueStringsAre(hostValidator{})},
			MarkdownDescription: "Domain names: `shop.example.com`, `*.example.com`. Default: any host that no other route has. " +
				"A host and path that another service has is refused before anything is changed; one that another route of the provider has is waited for (30 seconds), as that route may be giving it up in the same apply."},
		"path_prefixes": schema.ListAttribute{Optional: true, Computed: true, Default: listdefault.StaticValue(defaultPathPrefixes), ElementType: types.StringType,
			Validators: []validator.List{notEmpty{`leave path_prefixes out, or write ["/"], for all paths`}, listvalidator.UniqueValues(),
				listvalidator.ValueStringsAre(stringvalidator.RegexMatches(pathPrefixPattern, "must begin with / and have no query"))},
			MarkdownDescription: "Paths that the service is below: `/api`. The longest that fits wins. Default: `[\"/\"]`."},
		"strip_path_prefix": schema.BoolAttribute{Optional: true, Computed: true, Default: booldefault.StaticBool(true),
			MarkdownDescription: "Whether the app gets the path without the prefix. Default: true."},
		"tls": schema.SingleNestedAttribute{Optional: true,
			MarkdownDescription: "HTTPS. A route without the path `/` has none of its own: it takes that of the route which has the same host and `/`. Default: none, plain HTTP.",
			Attributes:          routeTLSAttributes()},
		"canonical_host": schema.StringAttribute{Optional: true, Validators: []validator.String{hostValidator{}},
			MarkdownDescription: "Host to which visitors of the other hosts are redirected. One of `hosts`."},
		"forward_headers": schema.BoolAttribute{Optional: true, Computed: true,
			MarkdownDescription: "Whether `X-Forwarded-*` headers of the request go on to the app; if not they are replaced. True is right behind another proxy or CDN only. Default: true without `tls`, false with it."},
		"response_timeout": schema.StringAttribute{Optional: true, Computed: true, Default: stringdefault.StaticString(defaultResponseTimeout),
			Validators:          []validator.String{durationValidator{}},
			MarkdownDescription: "How long the app may take until its answer begins; then visitors get a 504. `0s` is no limit. Default: `30s`."},
		"buffering": schema.SingleNestedAttribute{Optional: true, Computed: true, Default: objectdefault.StaticValue(defaultRouteBuffering),
			MarkdownDescription: "What kamal-proxy holds back until it has all of it, so that slow clients don't keep the app busy.",
			Attributes:          routeBufferingAttributes()},
		"log_headers": schema.SingleNestedAttribute{Optional: true, Computed: true, Default: objectdefault.StaticValue(defaultRouteLogHeaders),
			MarkdownDescription: "Headers that kamal-proxy logs with each request.",
			Attributes: map[string]schema.Attribute{
				"request": schema.ListAttribute{Optional: true, Computed: true, Default: listdefault.StaticValue(defaultLogRequest), ElementType: types.StringType,
					Validators:          []validator.List{listvalidator.ValueStringsAre(headerValidator())},
					MarkdownDescription: "Of the request. Default: `Cache-Control`, `Last-Modified`, `User-Agent`."},
				"response": schema.ListAttribute{Optional: true, Computed: true, Default: listdefault.StaticValue(noStrings), ElementType: types.StringType,
					Validators:          []validator.List{listvalidator.ValueStringsAre(headerValidator())},
					MarkdownDescription: "Of the answer. Default: none."},
			}},
		"maintenance": schema.SingleNestedAttribute{Optional: true,
			MarkdownDescription: "While it is there, visitors get a maintenance page (status 503) and no request reaches the app; those under way are drained first. Health checks of load balancers in front still succeed.",
			Attributes: map[string]schema.Attribute{
				"message": schema.StringAttribute{Optional: true, Computed: true, Default: stringdefault.StaticString(""), MarkdownDescription: "Text on the page. Default: none."},
			}},

		"id": schema.StringAttribute{Computed: true, MarkdownDescription: "`service@server[,server…]`."},
		"instances": schema.MapNestedAttribute{Computed: true,
			MarkdownDescription: "What there is, by server.",
			NestedObject: schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
				"target":     schema.StringAttribute{Computed: true, MarkdownDescription: "What gets the requests: `SERVICE:PORT` for the service's running container, whichever that is, else kamal-proxy's own word, `ID:PORT`."},
				"state":      schema.StringAttribute{Computed: true, MarkdownDescription: "`running`, `stopped` (maintenance) or `paused` (by hand)."},
				"machine_id": schema.StringAttribute{Computed: true, MarkdownDescription: "The machine, whatever it is called."},
				"drift": schema.ListAttribute{Computed: true, ElementType: types.StringType,
					MarkdownDescription: "What is not as it should be on this server alone. Empty is right."},
			}}},
	}
}

func routeTargetAttributes() map[string]schema.Attribute {
	return map[string]schema.Attribute{
		"service": schema.StringAttribute{Required: true,
			Validators:          []validator.String{stringvalidator.RegexMatches(kamal.NamePattern, "may have letters, digits, - and _ only")},
			MarkdownDescription: "Name of the service at kamal-proxy, `SERVICE-ROLE[-DESTINATION]` for a role; for another container its name."},
		"app": schema.StringAttribute{Optional: true,
			MarkdownDescription: "Kamal's name for app and destination, `SERVICE[-DESTINATION]`. It decides where a certificate is kept. Default: none, for what is no role of an app."},
		"app_port": schema.Int64Attribute{Required: true, Validators: []validator.Int64{int64validator.Between(1, 65535)},
			MarkdownDescription: "Port that the app listens on in its container."},
		"healthcheck": schema.SingleNestedAttribute{Optional: true, Computed: true, Default: objectdefault.StaticValue(defaultHealth),
			MarkdownDescription: "How kamal-proxy asks the container for its health before it gets requests.",
			Attributes:          healthAttributes()},
		"deploy_timeout": schema.StringAttribute{Optional: true, Computed: true, Default: stringdefault.StaticString(defaultDeployTimeout),
			Validators: []validator.String{durationValidator{Min: 1}}, MarkdownDescription: "How long the container may take to prove its health. Default: `30s`."},
		"drain_timeout": schema.StringAttribute{Optional: true, Computed: true, Default: stringdefault.StaticString(defaultDrainTimeout),
			Validators: []validator.String{durationValidator{}}, MarkdownDescription: "How long requests under way may take after a change. Default: `30s`."},
	}
}

func routeTLSAttributes() map[string]schema.Attribute {
	return map[string]schema.Attribute{
		"acme": schema.BoolAttribute{Optional: true, Computed: true, Default: booldefault.StaticBool(false),
			MarkdownDescription: "Certificates from Let's Encrypt, on a single server and without wildcards. They are asked for at the first visit: the name must lead to the server, and ports 80 and 443 be open, by then. Default: false."},
		"staging": schema.BoolAttribute{Optional: true, Computed: true, Default: booldefault.StaticBool(false),
			MarkdownDescription: "With `acme`: from Let's Encrypt's staging, whose certificates no browser trusts. Default: false."},
		"certificate_pem": schema.StringAttribute{Optional: true, Validators: []validator.String{stringvalidator.LengthAtLeast(1)},
			MarkdownDescription: "Own certificate, in PEM: the server's first, then the chain. A new one is taken over in place."},
		"private_key_pem": schema.StringAttribute{Optional: true, WriteOnly: true, Sensitive: true, Validators: []validator.String{stringvalidator.LengthAtLeast(1)},
			MarkdownDescription: "Private key of `certificate_pem`, in PEM. Write-only: it is in no state. On the servers only kamal-proxy's user can read it."},
		"redirect": schema.BoolAttribute{Optional: true, Computed: true, Default: booldefault.StaticBool(true),
			MarkdownDescription: "Whether visitors of `http://` are sent to `https://`. Default: true."},
	}
}

func routeBufferingAttributes() map[string]schema.Attribute {
	flag := func(what string) schema.BoolAttribute {
		return schema.BoolAttribute{Optional: true, Computed: true, Default: booldefault.StaticBool(true), MarkdownDescription: "Whether " + what + " are buffered. Default: true."}
	}
	size := func(text string, initial int64) schema.Int64Attribute {
		return schema.Int64Attribute{Optional: true, Computed: true, Default: int64default.StaticInt64(initial), Validators: []validator.Int64{int64validator.AtLeast(0)}, MarkdownDescription: text}
	}
	return map[string]schema.Attribute{
		"requests":          flag("requests"),
		"responses":         flag("answers"),
		"memory":            size("How many bytes of a body are held in memory; the rest goes to disk. Default: 1048576 (1 MB).", defaultBufferMemory),
		"max_request_body":  size("How many bytes a request may have; more is refused with a 413. Needs `requests`. Default: 0, no limit.", 0),
		"max_response_body": size("How many bytes an answer may have; more becomes a 500. Needs `responses`. Default: 0, no limit.", 0),
	}
}

func proxyRouteIdentitySchema() identityschema.Schema {
	return identityschema.Schema{Attributes: map[string]identityschema.Attribute{
		"service": identityschema.StringAttribute{RequiredForImport: true, Description: "Name of the service at kamal-proxy."},
		"servers": identityschema.ListAttribute{RequiredForImport: true, ElementType: types.StringType, Description: "The servers that have the route."},
	}}
}

// stringsValue is a list of strings, not null where it is empty.
func stringsValue(list []string) types.List {
	elems := make([]attr.Value, len(list))
	for i, s := range list {
		elems[i] = types.StringValue(s)
	}
	return types.ListValueMust(types.StringType, elems)
}
