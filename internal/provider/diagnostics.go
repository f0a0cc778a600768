package provider

import (
	"errors"
	"fmt"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
)

// addError turns an error into diagnostics: one for each Failure in it. what
// says what could not be done, where the error doesn't say it itself.
func (d *deps) addError(diags *diag.Diagnostics, what, server string, err error) {
	for _, e := range flatten(err) {
		var f *fleet.Failure
		if !errors.As(e, &f) {
			f = &fleet.Failure{What: what, Server: server, Err: e}
		}
		diags.AddError(d.fleet.Redact(f.Summary()), d.fleet.Redact(f.Detail()))
	}
}

// addRefusal adds the error of a spec's Check, nil for none, at the attribute
// where it knows one.
func addRefusal(diags *diag.Diagnostics, summary string, err error) {
	var r *docker.Refusal
	switch {
	case err == nil:
		return
	case !errors.As(err, &r):
		diags.AddError(summary, err.Error()+".")
		return
	}
	at := path.Root(r.Attribute)
	if r.Index >= 0 {
		at = at.AtListIndex(r.Index)
	}
	diags.AddAttributeError(at, summary, err.Error()+".")
}

// addWarning adds a warning, redacted as errors are.
func (d *deps) addWarning(diags *diag.Diagnostics, summary, detail string) {
	diags.AddWarning(d.fleet.Redact(summary), d.fleet.Redact(detail))
}

// flatten takes errors.Join apart.
func flatten(err error) []error {
	if err == nil {
		return nil
	}
	if j, ok := err.(interface{ Unwrap() []error }); ok { // only the outermost join
		var out []error
		for _, e := range j.Unwrap() {
			out = append(out, flatten(e)...)
		}
		return out
	}
	return []error{err}
}

// unknownConfig tells why something has to wait for the apply.
func (d *deps) warnUnknown(diags *diag.Diagnostics, what string) {
	diags.AddWarning("The provider's configuration is not known yet",
		fmt.Sprintf("A part of the provider's configuration is known only after this apply, so %s was not refreshed: the plan shows what the state says.", what))
}

// kept tells that a server could not be asked and that its state was kept.
func (d *deps) warnKept(diags *diag.Diagnostics, what string, servers []string, err error) {
	d.addWarning(diags, fmt.Sprintf("%s could not be refreshed on %s", what, strings.Join(servers, ", ")),
		fmt.Sprintf("%v\n\nIts state is kept as it was, because on_unreachable is \"keep\".", err))
}
