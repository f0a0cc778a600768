#!/bin/sh
# tools/prepare.sh: installs what `make test` and `make demo` need on a Debian machine and is missing,
# and starts dockerd. Run as root; repeating it costs a second.
set -eu
cd "$(dirname "$0")/.."

# The race detector needs a C compiler.
missing=
command -v gcc >/dev/null || missing="$missing gcc libc6-dev"
command -v git >/dev/null || missing="$missing git"
if [ -n "$missing" ]; then
	echo "installing$missing" >&2
	export DEBIAN_FRONTEND=noninteractive
	apt-get -qq -o DPkg::Lock::Timeout=300 update
	# shellcheck disable=SC2086 # a list of words
	apt-get -qq -y -o DPkg::Lock::Timeout=300 install --no-install-recommends $missing >/dev/null
fi

test/testbed/prepare.sh
