#!/bin/sh
# Starts Redis as the official image's entrypoint does: as user redis, in /data.
set -eu

case "${1-}" in -* | *.conf) set -- redis-server "$@" ;; esac
[ "$1" = redis-server ] || exec "$@"
if [ "$(id -u)" = 0 ]; then
  find . ! -user redis -exec chown redis '{}' +
  exec setpriv --reuid=redis --regid=redis --clear-groups "$0" "$@"
fi
umask 077
shift
case "${1-}" in
  '' | -*) exec redis-server --protected-mode no "$@" ;;
  *) exec redis-server "$@" ;; # a configuration file comes first
esac
