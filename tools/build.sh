#!/bin/sh
# tools/build.sh NAME: build the pinned tool NAME once and print the path of the program.
#
# tools/NAME is a module of its own with one `tool` directive; files ldflags, tags and gcflags beside its
# go.mod hold what else the compiler is told. The program is kept in the user's cache under a name that
# carries a hash of everything it is made from, so a second call only prints.
set -eu

name=${1-}
module=$(cd "$(dirname "$0")" && pwd)/$name
if [ $# -ne 1 ] || [ ! -f "$module/go.mod" ]; then
	echo "usage: tools/build.sh NAME, with the name of a directory in tools/ that has a go.mod" >&2
	exit 2
fi
command -v go >/dev/null || { echo "tools/build.sh: Go is required, see https://go.dev/dl" >&2; exit 1; }
cd "$module"

cache=${XDG_CACHE_HOME:-$HOME/.cache}/terraform-provider-kamal/bin
hash=$(find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -c1-16)
program=$cache/$name-$hash

if [ ! -x "$program" ]; then
	mkdir -p "$cache"
	# One build at a time: two callers must not build the same tool twice on a small machine.
	exec 9>"$cache/$name.lock"
	flock 9
	if [ ! -x "$program" ]; then
		echo "building tools/$name, once (minutes on a small machine)" >&2
		option() { [ ! -f "$1" ] || cat "$1"; }
		# The workspace and the caller's flags must not change what is built.
		GOWORK=off GOFLAGS='-mod=readonly -buildvcs=false' CGO_ENABLED=0 \
			go build -p "${BUILD_JOBS:-2}" -trimpath -tags "$(option tags)" -gcflags "$(option gcflags)" \
			-ldflags "-s -w $(option ldflags)" -o "$program.new" tool >&2
		mv "$program.new" "$program"
	fi
fi
echo "$program"
