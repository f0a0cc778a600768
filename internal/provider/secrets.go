package provider

import (
	"context"
	"fmt"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/secret"
)

// saltKey is the private state's key for the salt of the resource's digests.
const saltKey = "salt"

// secretsAttributes are the attributes of every resource whose container takes secrets.
func secretsAttributes() map[string]schema.Attribute {
	return map[string]schema.Attribute{
		"secrets": schema.MapAttribute{Optional: true, WriteOnly: true, Sensitive: true, ElementType: types.StringType,
			MarkdownDescription: "Secret environment variables. Write-only: neither plan nor state holds them. They arrive byte for byte as given. " +
				"Take them from ephemeral variables or resources; a literal, and a variable that is only `sensitive`, are in the plan file."},
		"secrets_as_files": schema.SetAttribute{Optional: true, ElementType: types.StringType,
			MarkdownDescription: "Names of `secrets` that the container gets as files `/run/secrets/NAME` and not as variables, for images that read `NAME_FILE` (`POSTGRES_PASSWORD_FILE`): `docker inspect` doesn't show their values then. " +
				"The variable `NAME_FILE` is set to the file's path, unless `env` sets it. Every user of the container can read the files; on the server only root and the SSH user reach them."},
		"secrets_version": schema.StringAttribute{Optional: true,
			MarkdownDescription: "For secrets whose values differ on every run, or may between plan and apply (short-lived tokens): when it is set, only a change of it counts as a change of the secrets. " +
				"Without it, values that differ on every run are a change in every plan; and one that becomes another between plan and apply, of those that the plan shows as unchanged, " +
				"makes the apply fail with \"Provider produced inconsistent final plan\" before anything is done to this resource: plan again."},
		"secret_digests": schema.MapAttribute{Computed: true, ElementType: types.StringType,
			MarkdownDescription: "A salted digest of each secret that the containers run with, by name, so that a changed secret shows in the plan. " +
				"Null where the servers disagree."},
	}
}

// configSecrets reads the write-only attribute secrets, which is in the
// configuration only. known is false where it or a value of it isn't known yet.
func configSecrets(ctx context.Context, config tfsdk.Config, diags *diag.Diagnostics) (set secret.Set, known bool) {
	var m types.Map
	diags.Append(config.GetAttribute(ctx, path.Root("secrets"), &m)...)
	if m.IsUnknown() {
		return nil, false
	}
	set, known = secret.Set{}, true
	for name, v := range m.Elements() {
		s, ok := v.(types.String)
		if !ok || s.IsUnknown() {
			known = false
			set[name] = ""
			continue
		}
		if s.IsNull() {
			continue // not set
		}
		set[name] = s.ValueString()
	}
	if m.IsNull() {
		return nil, true
	}
	return set, known
}

// configAsFiles reads the names in secrets_as_files; known is false where one
// of them isn't known yet.
func configAsFiles(ctx context.Context, config tfsdk.Config, diags *diag.Diagnostics) (names []string, known bool) {
	var s types.Set
	diags.Append(config.GetAttribute(ctx, path.Root("secrets_as_files"), &s)...)
	if !fullyKnown(ctx, s) {
		return nil, false
	}
	return stringSet(s), true
}

// secrets are those of the configuration, checked and registered for redaction.
func (b *base) secrets(ctx context.Context, config tfsdk.Config, diags *diag.Diagnostics) secret.Set {
	set, known := configSecrets(ctx, config, diags)
	if !known {
		diags.AddAttributeError(path.Root("secrets"), "A secret is not known", "A value of secrets is still unknown while applying. This is a bug in the provider or in the CLI.")
	}
	for _, value := range set {
		b.deps.fleet.AddSecret(value)
	}
	asFiles, _ := configAsFiles(ctx, config, diags)
	checkHandover(set, asFiles, diags)
	return set
}

// checkHandover refuses what could not arrive in a container.
func checkHandover(set secret.Set, asFiles []string, diags *diag.Diagnostics) {
	env, files := set.Split(asFiles)
	for _, err := range []error{env.Check(), files.CheckFiles()} {
		if err != nil {
			diags.AddAttributeError(path.Root("secrets"), "A secret can't be handed over", err.Error()+".")
		}
	}
}

// checkSecrets refuses, while planning, what could not arrive in a container.
func checkSecrets(ctx context.Context, config tfsdk.Config, set secret.Set, env types.Map, diags *diag.Diagnostics) {
	asFiles, known := configAsFiles(ctx, config, diags)
	if !known {
		return // once more when it is known, before anything is changed
	}
	checkHandover(set, asFiles, diags)
	var all types.Map
	diags.Append(config.GetAttribute(ctx, path.Root("secrets"), &all)...)
	for _, name := range asFiles {
		if _, has := set[name]; !has && !all.IsUnknown() {
			diags.AddAttributeError(path.Root("secrets_as_files"), "A file of no secret", fmt.Sprintf("%s is in secrets_as_files and not in secrets.", name))
		}
	}
	for name := range env.Elements() {
		if _, both := set[name]; both {
			diags.AddAttributeError(path.Root("env").AtMapKey(name), "A variable is given twice",
				fmt.Sprintf("%s is in env and in secrets. Docker would take the one in env.", name))
		}
	}
}

// A digestPlan is what a plan says of secrets.
type digestPlan struct {
	// digests is the planned value of secret_digests.
	digests types.Map
	// differ: the containers have to be replaced because of their secrets.
	differ bool
}

// planDigests compares the secrets of the configuration with the digests in
// the state (null for a create), and names those that change, whatever else does
// (changes), at a price: the CLI refuses to apply the plan, and calls that a bug,
// if one of the others is another one by then. No plan can tell whether it is the
// first one. With a version the values are not compared, and may differ at every
// deploy: no digest of one is promised.
func planDigests(set secret.Set, known bool, state types.Map, salt []byte, version, versionBefore types.String, changes bool) digestPlan {
	if set == nil {
		if !known {
			return digestPlan{digests: types.MapUnknown(types.StringType), differ: true}
		}
		return digestPlan{digests: types.MapNull(types.StringType), differ: len(state.Elements()) > 0}
	}
	elems := map[string]attr.Value{}
	differ := len(set) != len(state.Elements()) || !version.Equal(versionBefore)
	for name, value := range set {
		before, has := state.Elements()[name].(types.String)
		same := has && !before.IsNull() && len(salt) > 0
		if same && version.IsNull() {
			same = known && before.ValueString() == secret.Digest(salt, name, value)
		}
		differ = differ || !same
		elems[name] = before
		if !same || changes && !version.IsNull() {
			elems[name] = types.StringUnknown()
		}
	}
	if differ && !(version.IsNull() && versionBefore.IsNull()) {
		// The values are not compared, so that any of them may be another one by now.
		for name := range elems {
			elems[name] = types.StringUnknown()
		}
	}
	if len(elems) == 0 {
		return digestPlan{digests: types.MapNull(types.StringType), differ: differ}
	}
	return digestPlan{digests: types.MapValueMust(types.StringType, elems), differ: differ}
}

// givenKey is the private state's key that says that an apply has got the
// secrets from the configuration, and not an import from the server.
const givenKey = "secrets_given"

// keepGiven notes that an apply with secrets in its configuration went well.
func keepGiven(ctx context.Context, set secret.Set, to privateWriter, diags *diag.Diagnostics) {
	if set != nil {
		diags.Append(to.SetKey(ctx, givenKey, []byte("true"))...)
	}
}

// checkLost tells of the secrets that the containers have and the configuration
// hasn't. A generated configuration has secrets = null, whatever there was to
// import: where no apply has ever got them from a configuration, that is an
// error, as nobody has said that they shall go. hint says what to write.
func checkLost(ctx context.Context, private privateReader, at path.Path, set secret.Set, names []string, hint string, diags *diag.Diagnostics) {
	given, d := private.GetKey(ctx, givenKey)
	diags.Append(d...)
	var gone []string
	for _, name := range names {
		if _, ok := set[name]; !ok {
			gone = append(gone, name)
		}
	}
	list := strings.Join(gone, ", ")
	switch {
	case len(gone) == 0:
	case set == nil && len(given) == 0:
		diags.AddAttributeError(at, "Secrets that the configuration doesn't have",
			"The containers run with "+list+", and nothing is configured in their place, as in a generated configuration: they would be taken away. "+hint)
	default:
		diags.AddAttributeWarning(at, "Secrets will be taken away",
			"The containers run with these secrets, and the configuration doesn't have them: "+list+". Applying takes them away.")
	}
}

// withSecrets is what to write for secrets that an import found.
const withSecrets = "Give their values in secrets; secrets = {} takes all of them away."

// salt is the salt in a private state, nil where there is none.
func salt(ctx context.Context, private privateReader, diags *diag.Diagnostics) []byte {
	b, d := private.GetKey(ctx, saltKey)
	diags.Append(d...)
	s, err := unquote(b)
	if err != nil {
		diags.AddError("Damaged private state", "The salt of the secrets' digests is not readable: "+err.Error())
	}
	return s
}

// keepSalt returns the salt of a private state, or a new one that it puts there.
func keepSalt(ctx context.Context, from privateReader, to privateWriter, diags *diag.Diagnostics) []byte {
	s := salt(ctx, from, diags)
	if len(s) == 0 {
		s = secret.NewSalt()
	}
	diags.Append(to.SetKey(ctx, saltKey, quote(s))...)
	return s
}

// seenDigests are the digests of what the containers run with: null for a name
// where they disagree or one of them hasn't got it. Null where there are no names.
func seenDigests(salt []byte, names []string, envs []map[string]string) types.Map {
	if len(names) == 0 {
		return types.MapNull(types.StringType)
	}
	elems := map[string]attr.Value{}
	for _, name := range names {
		elems[name] = types.StringNull()
		if len(envs) == 0 {
			continue
		}
		value, ok := envs[0][name]
		for _, env := range envs[1:] {
			v, has := env[name]
			ok = ok && has && v == value
		}
		if ok {
			elems[name] = types.StringValue(secret.Digest(salt, name, value))
		}
	}
	return types.MapValueMust(types.StringType, elems)
}

// digestsOf are the digests of the secrets that a deploy handed over.
func digestsOf(salt []byte, set secret.Set) types.Map {
	return seenDigests(salt, set.Names(), []map[string]string{set})
}

// nullElements is a map with the same keys and no values.
func nullElements(m types.Map) types.Map {
	if m.IsNull() {
		return m
	}
	elems := map[string]attr.Value{}
	for k := range m.Elements() {
		elems[k] = types.StringNull()
	}
	return types.MapValueMust(types.StringType, elems)
}
