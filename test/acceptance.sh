#!/bin/sh
# test/acceptance.sh [GO-TEST-ARGUMENTS]: the acceptance tests under each CLI, one after the other. The
# first, OpenTofu, runs them all. What a CLI can make a difference to, Terraform runs as well: the small
# set, every resource's life, under the terraform on the PATH, the place for the oldest supported one,
# or else under the newest; the rest under the newest. OpenTofu and the newest Terraform are those
# pinned in tools/. CLIS="tofu terraform path" selects some of them.
#
# The tests are told by environment: KAMAL_TEST_CLI (program), KAMAL_TEST_CLI_NAME (tofu or terraform),
# KAMAL_TEST_SET (full, cli or small) and KAMAL_TEST_PROVIDER (the built provider, from the caller).
set -eu
cd "$(dirname "$0")/.."
: "${KAMAL_TEST_PROVIDER:?the path of the built provider; make testacc sets it}"
oldest=1.11.0

# What the user has set up for the own CLI must not reach the tests.
unset TF_CLI_CONFIG_FILE TF_CLI_ARGS TF_DATA_DIR TF_WORKSPACE TF_REATTACH_PROVIDERS
export TF_ACC=1 KAMAL_TEST_PROVIDER CHECKPOINT_DISABLE=1

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
go build -o "$work/report" ./test/report

# acceptance NAME PROGRAM SET [GO-TEST-ARGUMENTS]
acceptance() {
	name=$1 program=$2 set=$3
	shift 3
	title="acceptance, $set set, under $("$program" version | head -n 1)"
	echo "== $title"
	export KAMAL_TEST_CLI_NAME="$name" KAMAL_TEST_CLI="$program" KAMAL_TEST_SET="$set"
	: >"$work/this"
	code=0
	{
		"$work/report" -title "$title" -summary "$work/this" -- \
			-count=1 -timeout 80m -parallel "${TESTPARALLEL:-3}" "$@" ./test/acceptance/... || echo $? >"$work/code"
	} | tee "$work/out"
	[ ! -f "$work/code" ] || { code=$(cat "$work/code"); rm "$work/code"; }
	if [ "$code" != 0 ]; then
		second_chance "$code"
	fi
	cat "$work/this" >>"$work/summary"
}

# second_chance CODE runs the tests that failed once more, one at a time, and says so: real servers on a
# busy machine can be late. What fails for a reason fails again. More than three failures are never that.
second_chance() {
	failed=$(sed -n 's/^--- FAIL: \(Test[A-Za-z0-9_]*\) .*/\1/p' "$work/out" | sort -u)
	n=$(echo "$failed" | grep -c . || :)
	if [ "$n" = 0 ] || [ "$n" -gt 3 ]; then
		exit "$1"
	fi
	again=$(echo "$failed" | paste -s -d'|' -)
	echo "== failed, and run again alone: $again"
	: >"$work/this"
	"$work/report" -title "$title, again: $again" -summary "$work/this" -- \
		-count=1 -timeout 30m -parallel 1 -run "^($again)\$" ./test/acceptance/... || exit
	printf 'UNSTABLE under %s, passed when run again: %s\n' "$title" "$again" >"$work/unstable"
	cat "$work/this" >>"$work/unstable"
	mv "$work/unstable" "$work/this"
}

# on_path prints the terraform on the PATH if it is a supported one, else says why there is none.
on_path() {
	program=$(command -v terraform) || { echo "no terraform on the PATH" >&2; return 1; }
	version=$("$program" version | sed -n '1s/^Terraform v//p')
	lower=$(printf '%s\n%s\n' "$oldest" "$version" | sort -V | head -n 1)
	[ "$lower" = "$oldest" ] || { echo "the terraform on the PATH is '$version', older than $oldest" >&2; return 1; }
	echo "$program"
}

clis=${CLIS:-tofu terraform path}
oldest_program=
case " $clis " in
*" path "*)
	oldest_program=$(on_path 2>"$work/why") ||
		left_out="left out: Terraform's oldest supported version: $(cat "$work/why")"
	;;
esac
set=full
for cli in $clis; do
	case $cli in
	tofu | terraform)
		program=$(tools/build.sh "$cli")
		acceptance "$cli" "$program" "$set" "$@"
		if [ "$set" = cli ] && [ -z "$oldest_program" ]; then
			acceptance "$cli" "$program" small "$@"
		fi
		set=cli
		;;
	path)
		[ -z "$oldest_program" ] || acceptance terraform "$oldest_program" small "$@"
		;;
	*)
		echo "test/acceptance.sh: CLIS knows tofu, terraform and path, not '$cli'" >&2
		exit 2
		;;
	esac
done

# All runs once more, together; the last line is go test's.
echo "== summary"
[ -z "${left_out-}" ] || echo "$left_out"
cat "$work/summary"
