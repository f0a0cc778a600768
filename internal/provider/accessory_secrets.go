package provider

import (
	"context"
	"maps"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/accessory"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/secret"
)

// isFilePath tells the secret files, which are named by their path among an
// accessory's secrets, from variables, whose names have no slash.
func isFilePath(name string) bool { return strings.HasPrefix(name, "/") }

// configFileSecrets reads the write-only contents of files, which are in the
// configuration only, by path. known is false where one isn't known yet.
func configFileSecrets(ctx context.Context, config tfsdk.Config, diags *diag.Diagnostics) (set secret.Set, known bool) {
	var list types.List
	diags.Append(config.GetAttribute(ctx, path.Root("files"), &list)...)
	if list.IsUnknown() {
		return nil, false
	}
	known = true
	for _, v := range list.Elements() {
		o, ok := v.(types.Object)
		if !ok || o.IsUnknown() {
			known = false
			continue
		}
		at, _ := o.Attributes()["path"].(types.String)
		content, _ := o.Attributes()["secret_content"].(types.String)
		switch {
		case content.IsNull():
			continue
		case at.IsUnknown() || content.IsUnknown():
			known = false
		}
		if set == nil {
			set = secret.Set{}
		}
		if !at.IsUnknown() {
			set[at.ValueString()] = content.ValueString()
		}
	}
	return set, known
}

// checkFileSecrets refuses, while planning, what could not arrive in a container.
func checkFileSecrets(set secret.Set, diags *diag.Diagnostics) {
	for _, name := range set.Names() {
		if err := secret.CheckFile(name, set[name]); err != nil {
			diags.AddAttributeError(path.Root("files"), "A secret file can't be handed over", err.Error()+".")
		}
	}
}

// union are the secrets of an accessory, variables and files; nil where there are none.
func union(a, b secret.Set) secret.Set {
	if a == nil && b == nil {
		return nil
	}
	out := secret.Set{}
	maps.Copy(out, a)
	maps.Copy(out, b)
	return out
}

// takeSecrets puts the secrets of the configuration into a spec, and returns
// all of them for their digests.
func (r *accessoryResource) takeSecrets(ctx context.Context, config tfsdk.Config, spec *accessory.Spec, diags *diag.Diagnostics) secret.Set {
	spec.Secrets = r.secrets(ctx, config, diags)
	files, known := configFileSecrets(ctx, config, diags)
	if !known {
		diags.AddAttributeError(path.Root("files"), "A secret is not known", "A secret_content is still unknown while applying. This is a bug in the provider or in the CLI.")
	}
	for _, content := range files {
		r.deps.fleet.AddSecret(content)
	}
	checkFileSecrets(files, diags)
	for i, f := range spec.Files {
		if f.Secret {
			spec.Files[i].Content = files[f.Path]
		}
	}
	return union(spec.Secrets, files)
}
