#!/bin/sh
# test/demo/run.sh [down]: what `make demo` and `make demo-down` run, on a Debian machine as root with Go.
set -eu
cd "$(dirname "$0")/../.."

command=${1-up}
if [ "$command" = up ]; then
	test/testbed/prepare.sh
fi
# Not `go run`: its own last words would follow the demo's.
program=$(mktemp -d)/demo
trap 'rm -rf "${program%/demo}"' EXIT
CGO_ENABLED=0 go build -o "$program" ./test/demo
"$program" "$command"
