package provider

import (
	"context"
	"fmt"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/identityschema"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/kamal"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

// partIdentity is the identity of what an app has by a name on one server: an
// accessory, a task.
type partIdentity struct {
	Service types.String `tfsdk:"service"`
	Name    types.String `tfsdk:"name"`
	Server  types.String `tfsdk:"server"`
}

func partIdentitySchema(noun string) identityschema.Schema {
	return identityschema.Schema{Attributes: map[string]identityschema.Attribute{
		"service": identityschema.StringAttribute{RequiredForImport: true, Description: "Name of the app."},
		"name":    identityschema.StringAttribute{RequiredForImport: true, Description: "Name of the " + noun + "."},
		"server":  identityschema.StringAttribute{RequiredForImport: true, Description: "The server that runs it."},
	}}
}

// importedPart is the identity to import, from the id service/name@server or
// the identity itself; form says what an id looks like.
func importedPart(ctx context.Context, req resource.ImportStateRequest, form string, diags *diag.Diagnostics) (id partIdentity) {
	if req.ID == "" {
		diags.Append(req.Identity.Get(ctx, &id)...)
		return id
	}
	id, err := parsePartID(req.ID)
	if err != nil {
		diags.AddError("Invalid import id", err.Error()+".\n"+form)
	}
	return id
}

func parsePartID(s string) (partIdentity, error) {
	name, servers, err := cutImportID(s)
	if err != nil {
		return partIdentity{}, err
	}
	service, own, ok := strings.Cut(name, "/")
	if !ok || !kamal.NamePattern.MatchString(service) || !kamal.NamePattern.MatchString(own) {
		return partIdentity{}, fmt.Errorf("%q has not the form service/name", name)
	}
	if len(servers) != 1 {
		return partIdentity{}, fmt.Errorf("%q names %d servers: it is on one", s, len(servers))
	}
	if _, err := sshexec.ParseDestination(servers[0]); err != nil {
		return partIdentity{}, fmt.Errorf("server %q: %w", servers[0], err)
	}
	return partIdentity{types.StringValue(service), types.StringValue(own), types.StringValue(servers[0])}, nil
}
