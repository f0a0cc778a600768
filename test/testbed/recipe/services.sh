# Makes the layers of the images of Postgres and Redis from Debian's packages. Runs
# as `sh -c … recipe PACKAGE...` in a container of a debootstrap tree, and leaves
# /layers/{base,postgres,redis}.tar.gz. Only programs, and what they load, go in:
# whole packages would be five times as big, and every test's server pulls them.
set -eu
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
apt-get -qq -y install --no-install-recommends --download-only "$@" >/dev/null
rm -f /var/cache/apt/archives/libllvm*.deb # compiles queries; 100 MB
# Unpacked, not installed: nothing here is to be set up or started.
for deb in /var/cache/apt/archives/*.deb; do
  dpkg-deb --fsys-tarfile "$deb" | tar -x -C / --keep-directory-symlink
done
ldconfig
apt-get clean
rm -rf /var/lib/apt/lists/*

mkdir /layers
cd /layers
touch have # what the base has
tar -C / --mtime=@0 -cf base.tar bin lib lib64 sbin # links into usr

# libraries FILE...: what the programs load.
libraries() { ldd "$@" 2>/dev/null | grep -o '/[^ :]* (' | tr -d ' ('; }

# put LAYER: packs the files that stdin names, instead of links what they lead to,
# unless the base has them; with their directories, or those would be made unreadable.
put() {
  sed -E 's,^/(s?bin|lib|lib64)/,/usr/\1/,; s,^/,,' | awk '{ print; while (sub("/[^/]*$", "")) print }' | sort -u >$1.all
  comm -23 $1.all have >$1.list
  tar -C / --dereference --no-recursion --mtime=@0 --owner=0 --group=0 --numeric-owner -T $1.list -rf $1.tar
  gzip -9n $1.tar
}

# Redis loads next to nothing that Postgres doesn't: its libraries are for both.
tools=$(dpkg -L coreutils dash findutils grep gzip hostname sed tar | grep '^/\(usr/\)\?bin/' && echo /usr/bin/setpriv)
{ echo "$tools"; libraries $tools /usr/bin/redis-server; find /usr/lib/locale/C.utf8 -type f; } | put base
mv base.list have

printf '%s\n' /usr/bin/redis-server /usr/bin/redis-cli | put redis

sed -i "s/^#listen_addresses = 'localhost'/listen_addresses = '*'/" /usr/share/postgresql/15/postgresql.conf.sample
files=$(find /usr/lib/postgresql/15 /usr/share/postgresql/15 -type f ! -path '*/bitcode/*' ! -path '*/man/*' ! -name 'llvmjit*')
{ echo "$files"; libraries $files; find /usr/share/zoneinfo -type f ! -path '*/right/*' ! -path '*/posix/*'; } | put postgres
