package provider

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/docker/go-units"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/approle"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
)

var (
	volumePattern     = regexp.MustCompile(`^([a-zA-Z0-9][a-zA-Z0-9_.-]*|/[^:]*):/[^:]*(:[a-zA-Z,]+)?$`)
	healthPathPattern = regexp.MustCompile(`^/[^?#\s]*$`)
	assetPathPattern  = regexp.MustCompile(`^/[^:]*[^/:][^:]*(:[a-zA-Z,]+)?$`)
	limitPattern      = regexp.MustCompile(`^([1-9][0-9]*|([1-9]|[1-9][0-9]|100)%)$`)
	// containerTag is what a version may look like: it becomes a part of a container's name.
	containerTag = regexp.MustCompile(`^[a-zA-Z0-9_.-]+$`)
)

// envNameValidator accepts names that a shell and docker can carry.
func envNameValidator() validator.String {
	return stringvalidator.RegexMatches(regexp.MustCompile(`^[^=\s\x00]+$`), "is no name for an environment variable")
}

// labelNameValidator accepts names that docker takes whole: it cuts a label at its first =.
func labelNameValidator() validator.String {
	return stringvalidator.RegexMatches(regexp.MustCompile(`^[^=\s]+$`), "is no name for a label")
}

// imageValidator accepts image references with a tag or a digest.
type imageValidator struct{}

func (imageValidator) Description(context.Context) string {
	return "an image reference with a tag or a digest"
}

func (v imageValidator) MarkdownDescription(ctx context.Context) string { return v.Description(ctx) }

func (v imageValidator) ValidateString(_ context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	if req.ConfigValue.IsNull() || req.ConfigValue.IsUnknown() {
		return
	}
	image := req.ConfigValue.ValueString()
	ref, err := docker.ParseRef(image)
	switch {
	case err != nil:
		resp.Diagnostics.AddAttributeError(req.Path, "Invalid image", fmt.Sprintf("%q is not an image reference: %v.", image, err))
	case ref.Digest == "" && !strings.HasSuffix(image, ":"+ref.Tag):
		resp.Diagnostics.AddAttributeError(req.Path, "Image without a version",
			fmt.Sprintf("%q has neither a tag nor a digest. The tag is the version that is deployed and gone back to, so it must be there.", image))
	case !containerTag.MatchString(approle.Version(image)):
		resp.Diagnostics.AddAttributeError(req.Path, "Invalid image", fmt.Sprintf("The version %q of %q can't be part of a container's name.", approle.Version(image), image))
	}
}

// memoryValidator accepts what docker takes as an amount of memory.
type memoryValidator struct{}

func (memoryValidator) Description(context.Context) string {
	return "an amount of memory, as in \"512m\" or \"2g\", of at least 6m"
}

func (v memoryValidator) MarkdownDescription(ctx context.Context) string { return v.Description(ctx) }

func (v memoryValidator) ValidateString(ctx context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	if req.ConfigValue.IsNull() || req.ConfigValue.IsUnknown() {
		return
	}
	// Docker refuses less than 6 MB.
	if n, err := units.RAMInBytes(req.ConfigValue.ValueString()); err != nil || n < 6<<20 {
		// The path, because the CLIs don't show where it is inside an object.
		resp.Diagnostics.AddAttributeError(req.Path, "Invalid amount of memory",
			fmt.Sprintf("Attribute %s: %q is not %s.", req.Path, req.ConfigValue.ValueString(), v.Description(ctx)))
	}
}

// parseLimit reads boot.limit: a number of servers or a percentage of them.
func parseLimit(s string) (limit, percent int) {
	if p, ok := strings.CutSuffix(s, "%"); ok {
		percent, _ = strconv.Atoi(p)
		return 0, percent
	}
	limit, _ = strconv.Atoi(s)
	return limit, 0
}
