package fleet

// Where kamal_firewall keeps its files. The directory is readable by root only.
const (
	FirewallDir       = "/etc/kamal-firewall"
	FirewallUnit      = "kamal-firewall.service"
	FirewallEarlyUnit = "kamal-firewall-early.service"
	FirewallUnitDir   = "/etc/systemd/system"
)

// FirewallPrelude defines the shell functions with which the packet filter is
// read. iptables has two back ends with rules of their own, and only the one
// that Docker uses counts: the one that has the chain DOCKER-USER. Where both
// have it (somebody switched, and the old rules stay until a reboot), it is
// the one behind the plain name, as for Docker.
//
//	fw_save PROGRAM KIND [TABLE]  prints a table. It makes no table where there is none.
//	fw_own PROGRAM                prints the kind behind the plain name: nft or legacy
//	fw_kind PROGRAM               prints the kind that has DOCKER-USER; else it fails.
const FirewallPrelude = `
fw_save() {
  if [ "$2" = legacy ]; then grep -qsx "${3:-filter}" "/proc/net/${1%tables}_tables_names" || return 0; fi
  if command -v "$1-$2-save" >/dev/null 2>&1; then "$1-$2-save" -t "${3:-filter}" 2>/dev/null
  elif [ "$2" = "$(fw_own "$1")" ]; then "$1-save" -t "${3:-filter}" 2>/dev/null; fi
}
fw_own() { case $("$1" -V 2>/dev/null) in *legacy*) echo legacy;; *) echo nft;; esac; }
fw_kind() {
  command -v "$1" >/dev/null 2>&1 || return 1
  case $(fw_own "$1") in nft) set -- "$1" nft legacy;; *) set -- "$1" legacy nft;; esac
  if fw_save "$1" "$2" | grep -q '^:DOCKER-USER '; then echo "$2"
  elif fw_save "$1" "$3" | grep -q '^:DOCKER-USER '; then echo "$3"
  else return 1; fi
}
`

// firewallScript prints what package firewall parses: lines of a key, a tab
// and a value. Of the rules only the chains that a published port's packets
// pass before Docker's own.
const firewallScript = `
f() { printf '%s\t%s\n' "$1" "$2"; }
[ "$(id -u)" = 0 ] || { f denied "$(id -un)"; exit 0; }
l=; for i in /sys/class/net/*; do case ${i##*/} in veth*) ;; *) l="$l ${i##*/}";; esac; done
f interfaces "$l"
ip -4 route show table all default 2>/dev/null | sed 's/^/route4	/'
ip -6 route show table all default 2>/dev/null | sed 's/^/route6	/'
ip -6 -o addr show 2>/dev/null | sed 's/^/addr6	/'
nl='
'
for v in 4 6; do
  case $v in 4) p=iptables;; 6) p=ip6tables;; esac
  # Each back end's table is read once, and looked through by the shell itself.
  own=$(fw_own $p) k=
  nft=$(fw_save $p nft) legacy=$(fw_save $p legacy)
  case $own in nft) set -- nft legacy;; *) set -- legacy nft;; esac
  for o; do
    case $o in nft) t=$nft;; *) t=$legacy;; esac
    case $nl$t in *"$nl:DOCKER-USER "*) command -v $p >/dev/null 2>&1 && k=$o && rules=$t && break;; esac
  done
  f kind$v "$k"
  if [ -n "$k" ]; then
    printf '%s\n' "$rules" | sed -n -e 's/^\(:[^ ]*\) .*/\1/' -e '/^:FORWARD$/b p' -e '/^:DOCKER-USER$/b p' -e '/^:KAMAL-FW/b p' \
      -e '/^-A FORWARD /b p' -e '/^-A DOCKER-USER /b p' -e '/^-A KAMAL-FW/b p' -e d -e ':p' -e "s/^/rule$v	/p"
  elif fw_save $p "$own" nat | grep -q '^:DOCKER '; then f unguarded$v nat
  fi
  [ "$k" = nft ] || case $nl$nft in *"$nl:KAMAL-FW "*) f stale$v nft;; esac
  [ "$k" = legacy ] || case $nl$legacy in *"$nl:KAMAL-FW "*) f stale$v legacy;; esac
done
if [ -d ` + FirewallDir + ` ]; then
  [ ! -f ` + FirewallDir + `/spec.json ] || f spec "$(cat ` + FirewallDir + `/spec.json)"
fi
for i in ` + FirewallDir + ` ` + FirewallDir + `/* ` + FirewallUnitDir + `/` + FirewallUnit + ` ` + FirewallUnitDir + `/` + FirewallEarlyUnit + `; do
  [ -e "$i" ] || continue
  s=; [ ! -f "$i" ] || s=$(sha256sum < "$i")
  f file "$(stat -c '%n %a %u' "$i") ${s%% *}"
done
if [ -e ` + FirewallUnitDir + `/` + FirewallUnit + ` ]; then
  for i in ` + FirewallUnit + ` ` + FirewallEarlyUnit + `; do
    systemctl is-enabled --quiet $i 2>/dev/null && f enabled $i
    systemctl is-failed --quiet $i 2>/dev/null && f failed $i
  done
fi
if command -v firewall-cmd >/dev/null 2>&1; then systemctl is-active --quiet firewalld 2>/dev/null && f firewalld active; fi
grep -qs '^ENABLED=yes' /etc/ufw/ufw.conf && f ufw active
for i in /proc/[0-9]*/comm; do
  read -r c < "$i" 2>/dev/null || continue
  [ "$c" != docker-proxy ] || f proxy "$(tr '\0' ' ' < "${i%comm}cmdline" 2>/dev/null)"
done 2>/dev/null
exit 0`
