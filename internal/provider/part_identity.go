package provider

import (
	"fmt"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/resource/identityschema"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/kamal"
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
	return partIdentity{types.StringValue(service), types.StringValue(own), types.StringValue(servers[0])}, nil
}
