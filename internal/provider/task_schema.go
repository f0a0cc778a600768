package provider

import (
	"maps"
	"time"

	"github.com/hashicorp/terraform-plugin-framework-validators/float64validator"
	"github.com/hashicorp/terraform-plugin-framework-validators/listvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/mapvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringdefault"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/kamal"
)

const defaultTaskTimeout = "30m"

func taskSchema() schema.Schema {
	attrs := secretsAttributes()
	maps.Copy(attrs, taskRunAttributes())
	maps.Copy(attrs, taskOwnAttributes())
	return schema.Schema{
		MarkdownDescription: "A command that is run once, in a fresh container on one server, and waited for: a migration, seeds. Created means that it has succeeded; " +
			"what depends on it (a `kamal_app_role` with `depends_on`) is not applied where it fails.\n\n" +
			"**A create runs the command. So does a change of `triggers`, or of a secret named in `secret_triggers`, and nothing else**: image, command, variables, even another server or name are changed in place " +
			"and count from the next run on. `-replace` runs it again. A command that fails is run again by the next apply.\n\n" +
			"A run that is over is history, so that a refresh asks the server nothing. For the command to run again on a server that was made anew, put the server's `machine_id` into `triggers`.\n\n" +
			"While the command runs, the app's deploy lock is held: no two tasks of an app, and no task and deploy, run at once. " +
			"If the connection is lost, the command goes on on the server and the apply waits for it as soon as the server answers again. If the apply itself ends (Ctrl-C, a machine that goes down), the next one finds " +
			"the command and takes its outcome, and does not start it a second time, unless what it runs or what triggers it has changed since: then it waits for it and runs the new one.\n\n" +
			"An import says that the command has run, elsewhere or by hand: the apply after it takes the configuration over and runs nothing. Destroying it undoes nothing of what the command has done.",
		Attributes: withMeanings(attrs),
	}
}

// taskRunAttributes are what the container is made of.
func taskRunAttributes() map[string]schema.Attribute {
	return map[string]schema.Attribute{
		"image": schema.StringAttribute{Required: true, Validators: []validator.String{imageValidator{}},
			MarkdownDescription: "Image by tag (`registry.example.com/shop:v42`) or by digest (`…@sha256:…`)."},
		"pull": schema.StringAttribute{Optional: true, Computed: true, Default: stringdefault.StaticString("missing"),
			Validators:          []validator.String{stringvalidator.OneOf("missing", "always")},
			MarkdownDescription: "`missing` (default): an image that is on the server is used as it is. `always`: the registry is asked at each run, for tags that move."},
		"command": schema.ListAttribute{Required: true, ElementType: types.StringType, Validators: []validator.List{notEmpty{"write the command that the task runs"}},
			MarkdownDescription: "Command and arguments, each an element; there is no shell: `[\"bin/rails\", \"db:migrate\"]`. Its failure is an exit code other than 0."},
		"env": schema.MapAttribute{Optional: true, ElementType: types.StringType,
			Validators:          []validator.Map{mapvalidator.KeysAre(envNameValidator())},
			MarkdownDescription: "Environment variables. Nothing secret: they are in the state, and in the server's process list while the container starts."},
		"volumes": schema.ListAttribute{Optional: true, ElementType: types.StringType,
			Validators: []validator.List{listvalidator.UniqueValues(),
				listvalidator.ValueStringsAre(stringvalidator.RegexMatches(volumePattern, "must be NAME:/path[:options] or /host/path:/path[:options]"))},
			MarkdownDescription: "Volumes and bind mounts: `name:/path[:options]` or `/host/path:/path[:options]`."},
		"memory": schema.StringAttribute{Optional: true, Validators: []validator.String{memoryValidator{}},
			MarkdownDescription: "Limit of memory: `512m`, `2g`. Default: none."},
		"cpus": schema.Float64Attribute{Optional: true, Validators: []validator.Float64{float64validator.AtLeast(0.01)},
			MarkdownDescription: "Limit of CPUs: `1.5`. Default: none."},
		"options": schema.SingleNestedAttribute{Optional: true, MarkdownDescription: "More of what Docker can set. `restart` is refused: a task runs once.", Attributes: optionsAttributes()},
		"network": schema.StringAttribute{Optional: true, Computed: true, Default: stringdefault.StaticString(kamal.Network),
			Validators:          []validator.String{stringvalidator.LengthAtLeast(1)},
			MarkdownDescription: "Docker network. Default: `kamal`, where the command reaches an accessory by the name `SERVICE-NAME`. Another one must exist."},
	}
}

func taskOwnAttributes() map[string]schema.Attribute {
	name := []validator.String{stringvalidator.RegexMatches(kamal.NamePattern, "may have letters, digits, - and _ only, as it becomes part of the container's name")}
	return map[string]schema.Attribute{
		"server": schema.StringAttribute{Required: true, Validators: []validator.String{serverValidator{}},
			MarkdownDescription: serverDescription + " Another one counts from the next run on."},
		"service": schema.StringAttribute{Required: true, Validators: name,
			MarkdownDescription: "Name of the app, Kamal's `service`: its deploy lock is held while the command runs."},
		"destination": schema.StringAttribute{Optional: true, Validators: name,
			MarkdownDescription: "Kamal's destination of the app, as in `staging`, if it has one."},
		"name": schema.StringAttribute{Required: true, Validators: name,
			MarkdownDescription: "Name of the task, as in `migrate`; another one for each task of an app."},
		"timeout": schema.StringAttribute{Optional: true, Computed: true, Default: stringdefault.StaticString(defaultTaskTimeout),
			Validators:          []validator.String{durationValidator{Min: time.Second}},
			MarkdownDescription: "How long the command may take. After it, it is stopped (SIGTERM, ten seconds later SIGKILL), which is a failure. Default: `30m`."},
		"triggers": schema.MapAttribute{Optional: true, ElementType: types.StringType,
			MarkdownDescription: "What the command is to be run again for: any change of it runs the command. For migrations the version of the app, `{ version = var.release }`."},
		"secret_triggers": schema.SetAttribute{Optional: true, ElementType: types.StringType,
			MarkdownDescription: "Names of `secrets` that the command is to be run again for when their value changes. As long as `secrets_version` is not set, a plan that changes anything else " +
				"can't tell yet whether it will, and shows `ran_at` as unknown; the apply knows."},
		"secrets_version": schema.StringAttribute{Optional: true,
			MarkdownDescription: "For `secret_triggers` whose values differ on every run (short-lived tokens): when it is set, only a change of it counts as a change of theirs."},
		"secret_digests": schema.MapAttribute{Computed: true, ElementType: types.StringType,
			MarkdownDescription: "A salted digest of each secret that the last run had, by name."},

		"id":         schema.StringAttribute{Computed: true, MarkdownDescription: "`service[-destination]/name`."},
		"digest":     schema.StringAttribute{Computed: true, MarkdownDescription: "Digest, in its registry, of the image that the last run had, or its id where it has none."},
		"ran_at":     schema.StringAttribute{Computed: true, MarkdownDescription: "When the last run that succeeded was over, by the server's clock (RFC 3339, UTC)."},
		"machine_id": schema.StringAttribute{Computed: true, MarkdownDescription: "The machine that the command ran on last, whatever it is called."},
	}
}
