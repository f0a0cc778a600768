#!/bin/sh
# findings/provider-trace-lines.sh: a provider built with terraform-plugin-framework logs at TRACE though nobody
# has asked for a log.
#
# Guess: with no TF_LOG* set a provider writes nothing, or the SDK's loggers are off, as the CLI's own are.
# Seen: terraform-provider-time 0.14.2 under OpenTofu 1.12.6, a plan of ten time_static: 1,940 lines of JSON
#   at level trace on its standard error. The CLI reads, parses and drops them. TF_LOG_SDK=OFF in the environment
#   of the CLI, which providers inherit, ends it. The level of the SDK's loggers is that of TF_LOG_SDK, and of no
#   other variable; unset, it is TRACE (terraform-plugin-log 0.11.0, tfsdklog.NewRootSDKLogger). What TF_LOG and
#   TF_LOG_PROVIDER say is applied by the CLI, to what has arrived.
# Matters: for a provider whose plans are cheap it is a third of a plan's CPU time (this repository measured 0.70
#   and 0.48 s for twenty resources). A provider can set the variable itself before it serves.
#
# Fails if a plan without TF_LOG* gets fewer than 100 such lines, or any with TF_LOG_SDK=OFF.
# Needs Go and a few minutes: it builds both programs in a temporary folder.
set -eu

dir=$(mktemp -d)
trap 'chmod -R u+w "$dir"; rm -rf "$dir"' EXIT
mkdir "$dir/tofu" "$dir/time" "$dir/plugins" "$dir/config"

# build DIRECTORY PACKAGE MODULE@VERSION: a program as its module pins it.
build() {
	( cd "$dir/$1" && go mod init example.com/"$1" 2>/dev/null
	[ "$1" != tofu ] || go mod edit -replace github.com/hashicorp/hcl/v2@v2.20.1=github.com/opentofu/hcl/v2@v2.20.2-0.20251021132045-587d123c2828
	go get "$3" 2>/dev/null && CGO_ENABLED=0 GOFLAGS=-mod=mod go build -o "$dir/$1/program" "$2" )
}
build time github.com/hashicorp/terraform-provider-time github.com/hashicorp/terraform-provider-time@v0.14.2
build tofu github.com/opentofu/opentofu/cmd/tofu github.com/opentofu/opentofu@v1.12.6

# In the provider's place, a program that keeps its standard error.
cat > "$dir/plugins/terraform-provider-time" <<END
#!/bin/sh
exec '$dir/time/program' "\$@" 2>>'$dir/stderr'
END
chmod +x "$dir/plugins/terraform-provider-time"
cat > "$dir/rc" <<END
provider_installation {
  dev_overrides { "hashicorp/time" = "$dir/plugins" }
  direct {}
}
END
cat > "$dir/config/main.tf" <<'END'
terraform {
  required_providers {
    time = { source = "hashicorp/time" }
  }
}
resource "time_static" "now" { count = 10 }
END

# lines [NAME=VALUE]: how many lines at level trace a plan makes the provider write.
lines() {
	: > "$dir/stderr"
	( cd "$dir/config" && env -i PATH="$PATH" HOME="$dir" CHECKPOINT_DISABLE=1 TF_CLI_CONFIG_FILE="$dir/rc" "$@" "$dir/tofu/program" plan -no-color >/dev/null 2>"$dir/warnings" ) ||
		{ cat "$dir/warnings" >&2; exit 1; }
	grep -c '"@level":"trace"' "$dir/stderr" || :
}
unasked=$(lines)
off=$(lines TF_LOG_SDK=OFF)
echo "lines at level trace in a plan of ten resources: $unasked with no TF_LOG* set, $off with TF_LOG_SDK=OFF"
[ "$unasked" -ge 100 ] && [ "$off" = 0 ]
