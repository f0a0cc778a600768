#!/bin/sh
# Starts Postgres as the official image's entrypoint does: as user postgres, on a
# data directory that is made when there is none.
set -eu

die() {
  echo "$*" >&2
  exit 1
}

case "${1-}" in -*) set -- postgres "$@" ;; esac
[ "$1" = postgres ] || exec "$@"
for arg; do
  case $arg in '-?' | --help | --describe-config | -V | --version) exec "$@" ;; esac
done
if [ "$PG_IMAGE" = broken ]; then
  die 'FATAL:  could not access file "broken": No such file or directory'
fi

# setting NAME DEFAULT: sets NAME, from the file NAME_FILE if that is set.
# As root, whose alone the file may be.
setting() {
  eval "value=\${$1-} file=\${$1_FILE-}"
  [ -z "$value" ] || [ -z "$file" ] || die "error: both $1 and $1_FILE are set (but are exclusive)"
  [ -z "$file" ] || value=$(cat "$file")
  export "$1=${value:-$2}"
  unset "$1_FILE"
}
setting POSTGRES_PASSWORD ''
setting POSTGRES_USER postgres
setting POSTGRES_DB "$POSTGRES_USER"
setting POSTGRES_INITDB_ARGS ''
: "${POSTGRES_HOST_AUTH_METHOD:=scram-sha-256}"

if [ "$(id -u)" = 0 ]; then
  mkdir -p "$PGDATA"
  chmod 700 "$PGDATA"
  find "$PGDATA" ! -user postgres -exec chown postgres '{}' +
  export HOME=/var/lib/postgresql
  exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
fi

if [ -s "$PGDATA/PG_VERSION" ]; then
  echo 'PostgreSQL Database directory appears to contain a database; Skipping initialization'
  exec "$@"
fi

if [ -z "$POSTGRES_PASSWORD" ] && [ "$POSTGRES_HOST_AUTH_METHOD" != trust ]; then
  die 'Error: Database is uninitialized and superuser password is not specified.
       You must specify POSTGRES_PASSWORD to a non-empty value for the superuser.'
fi
printf '%s\n' "$POSTGRES_PASSWORD" |
  eval "initdb --username=\"\$POSTGRES_USER\" --pwfile=/dev/stdin $POSTGRES_INITDB_ARGS"
printf '\nhost all all all %s\n' "$POSTGRES_HOST_AUTH_METHOD" >>"$PGDATA/pg_hba.conf"

# Until all is there it listens on its socket only: nobody may take it for ready.
"$@" -c listen_addresses= -p 5432 &
server=$!
until pg_isready --quiet --port 5432; do
  kill -0 $server || exit 1
  sleep 0.1
done
sql() { psql --set ON_ERROR_STOP=1 --no-password --no-psqlrc --username "$POSTGRES_USER" "$@"; }
if [ "$POSTGRES_DB" != postgres ]; then
  echo 'CREATE DATABASE :"db";' | sql --dbname postgres --set db="$POSTGRES_DB"
fi
for file in /docker-entrypoint-initdb.d/*; do
  echo "$0: running $file"
  case $file in
    *.sh) if [ -x "$file" ]; then "$file"; else . "$file"; fi ;;
    *.sql) sql --dbname "$POSTGRES_DB" --file "$file" ;;
    *.sql.gz) gunzip -c "$file" | sql --dbname "$POSTGRES_DB" ;;
  esac
done
pg_ctl --mode fast --wait stop
wait $server
echo 'PostgreSQL init process complete; ready for start up.'
exec "$@"
