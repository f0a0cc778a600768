#!/bin/sh
# test/acceptance.sh [GO-TEST-ARGUMENTS]: the acceptance tests under each CLI, one after the other: OpenTofu
# runs all, the newest Terraform those to which a CLI can make a difference, both as pinned in tools/; the
# terraform on the PATH, the place for the oldest supported one, the life stories. CLIS="tofu terraform path"
# selects some of them.
#
# The tests are told by environment: KAMAL_TEST_CLI (program), KAMAL_TEST_CLI_NAME (tofu or terraform),
# KAMAL_TEST_SET (all, cli or stories; set by the caller, it holds for every CLI) and KAMAL_TEST_PROVIDER (the
# built provider, from the caller). RESULTS is the file for the results.
set -eu
cd "$(dirname "$0")/.."
: "${KAMAL_TEST_PROVIDER:?the path of the built provider; make testacc sets it}"
oldest=1.11.0
chosen=${KAMAL_TEST_SET-}

# What the user has set up for the own CLI must not reach the tests.
unset TF_CLI_CONFIG_FILE TF_CLI_ARGS TF_DATA_DIR TF_WORKSPACE TF_REATTACH_PROVIDERS
export TF_ACC=1 KAMAL_TEST_PROVIDER CHECKPOINT_DISABLE=1

# acceptance NAME PROGRAM SET [GO-TEST-ARGUMENTS]
acceptance() {
	name=$1 program=$2 set=${chosen:-$3}
	shift 3
	title="acceptance ($set) under $("$program" version | head -n 1)"
	echo "== $title"
	KAMAL_TEST_CLI_NAME="$name" KAMAL_TEST_CLI="$program" KAMAL_TEST_SET="$set" \
		go run ./test/report -title "$title" -results "${RESULTS:-/dev/null}" -- \
		-count=1 -timeout 80m -parallel "${TESTPARALLEL:-4}" "$@" ./test/acceptance/...
}

# on_path prints the terraform on the PATH if it is a supported one, else says why there is none.
on_path() {
	program=$(command -v terraform) || { echo "no terraform on the PATH" >&2; return 1; }
	version=$("$program" version | sed -n '1s/^Terraform v//p')
	lower=$(printf '%s\n%s\n' "$oldest" "$version" | sort -V | head -n 1)
	[ "$lower" = "$oldest" ] || { echo "the terraform on the PATH is '$version', older than $oldest" >&2; return 1; }
	echo "$program"
}

for cli in ${CLIS:-tofu terraform path}; do
	case $cli in
	tofu)
		acceptance tofu "$(tools/build.sh tofu)" all "$@"
		;;
	terraform)
		acceptance terraform "$(tools/build.sh terraform)" cli "$@"
		;;
	path)
		if program=$(on_path); then
			acceptance terraform "$program" stories "$@"
		else
			echo "== left out: Terraform's oldest supported version, see above"
		fi
		;;
	*)
		echo "test/acceptance.sh: CLIS knows tofu, terraform and path, not '$cli'" >&2
		exit 2
		;;
	esac
done
