package provider

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/diag"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
)

// dataBase is what every data source embeds.
type dataBase struct{ deps *deps }

// Configure keeps the provider's deps. While validating there are none.
func (b *dataBase) Configure(_ context.Context, req datasource.ConfigureRequest, resp *datasource.ConfigureResponse) {
	if req.ProviderData == nil {
		return
	}
	var ok bool
	if b.deps, ok = req.ProviderData.(*deps); !ok {
		resp.Diagnostics.AddError("Unexpected provider data", fmt.Sprintf("got %T: this is a bug in the provider", req.ProviderData))
	}
}

// look asks a server, in the one call that all resources share; nil: it could
// not be done, and diags say why. what is the rest of "Unable to …".
func (b *dataBase) look(ctx context.Context, what, server string, diags *diag.Diagnostics) *fleet.Snapshot {
	if b.deps.unknown {
		diags.AddError("Unable to "+what+" of "+server,
			"A part of the provider's configuration is known only after this apply. Let the data source depend on what makes it known (depends_on): then it is read during the apply.")
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	seen := b.deps.observe(ctx, []string{server})[server]
	if seen.err != nil {
		b.deps.addError(diags, what, server, seen.err)
		return nil
	}
	return seen.snapshot
}
