package provider

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework/resource"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
)

// look is the beginning of every Read of a resource on one server: it gives
// the server's snapshot, or nil where the state stays as it is, with the
// reason among the diagnostics.
func (b *base) look(ctx context.Context, what, name string, importing bool, bound timeouts.Value, private privateReader, resp *resource.ReadResponse) *fleet.Snapshot {
	if b.deps.unknown && !importing {
		b.deps.warnUnknown(&resp.Diagnostics, what)
		return nil
	}
	resp.Diagnostics.Append(b.deps.loadPins(ctx, private)...)
	timeout, diags := bound.Read(ctx, 2*time.Minute)
	resp.Diagnostics.Append(diags...)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()

	seen := b.deps.observe(ctx, []string{name})[name]
	switch {
	case seen.err == nil:
		resp.Diagnostics.Append(b.deps.savePins(ctx, resp.Private, []string{name})...)
		return seen.snapshot
	case fleet.IsUnreachable(seen.err) && b.deps.fleet.KeepUnreachable && !importing:
		b.deps.warnKept(&resp.Diagnostics, what, []string{name}, seen.err)
	default:
		b.deps.addError(&resp.Diagnostics, "read "+what, name, seen.err)
	}
	return nil
}

// plainly is what happened, without the advice that an error has.
func plainly(err error) error {
	var f *fleet.Failure
	if errors.As(err, &f) && f.Err != nil {
		return f.Err
	}
	return err
}
