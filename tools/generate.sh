#!/bin/sh
# tools/generate.sh [--check]: makes docs/ from the provider's schema, templates/ and examples/, after it has
# written the table of engines into README.md and templates/.
# With --check nothing is written: it fails, with the difference, if docs/ is not what it would be.
#
# Only what tfplugindocs manages is replaced: index.md and the directories of the registry's layout.
set -eu
cd "$(dirname "$0")/.."
engines='go test -count=1 -run ^TestDocumentsSayWhatIsTestedWith$ ./test/testbed'
if [ "${1-}" = --check ]; then $engines >&2; else $engines -update >&2; fi
tofu=$(tools/build.sh tofu)
tfplugindocs=$(tools/build.sh docs)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# tfplugindocs looks the schema up under "kamal" or under hashicorp/kamal, whatever the provider's own
# address; so OpenTofu, which needs no init for an overridden provider, is asked under the latter.
mkdir "$work/bin" "$work/config"
CGO_ENABLED=0 go build -o "$work/bin/terraform-provider-kamal" .
cat >"$work/config/main.tf" <<EOT
terraform {
  required_providers {
    kamal = { source = "registry.terraform.io/hashicorp/kamal" }
  }
}
EOT
cat >"$work/tofurc" <<EOT
provider_installation {
  dev_overrides { "registry.terraform.io/hashicorp/kamal" = "$work/bin" }
}
EOT
TF_CLI_CONFIG_FILE="$work/tofurc" "$tofu" -chdir="$work/config" providers schema -json >"$work/schema.json"

docs=docs
if [ "${1-}" = --check ]; then
	docs=$work/docs
	mkdir "$docs"
	[ ! -d docs ] || cp -R docs/. "$docs"
fi
# tfplugindocs joins this directory to the repository's: hence relative.
if ! "$tfplugindocs" generate --provider-name kamal --providers-schema "$work/schema.json" \
	--rendered-website-dir "$(realpath --relative-to . "$docs" 2>/dev/null || echo docs)" >"$work/log" 2>&1; then
	cat "$work/log" >&2
	exit 1
fi
if [ "${1-}" = --check ]; then
	mkdir -p "$work/empty"
	current=docs
	[ -d docs ] || current=$work/empty
	diff -ruN "$current" "$docs" || { echo "docs/ is out of date: run make generate and commit the result" >&2; exit 1; }
fi
