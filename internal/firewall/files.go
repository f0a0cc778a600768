package firewall

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
)

// What is written on a server. The file of the Spec is written last: where it
// is, a create came to its end.
const (
	loadFile   = fleet.FirewallDir + "/load"
	rulesFile4 = fleet.FirewallDir + "/rules.v4"
	rulesFile6 = fleet.FirewallDir + "/rules.v6"
	specFile   = fleet.FirewallDir + "/spec.json"
	unitFile   = fleet.FirewallUnitDir + "/" + fleet.FirewallUnit
	earlyFile  = fleet.FirewallUnitDir + "/" + fleet.FirewallEarlyUnit
)

// ownFile is a file of ours as it shall be.
type ownFile struct {
	path, mode, content string
}

func (f ownFile) sum() string {
	sum := sha256.Sum256([]byte(f.content))
	return hex.EncodeToString(sum[:])
}

// files are all files for a Spec, the Spec's own last.
func files(s Spec, guarded []string) []ownFile {
	spec, err := json.Marshal(s)
	if err != nil {
		panic(fmt.Sprintf("a Spec always marshals: %v", err))
	}
	return []ownFile{
		{loadFile, "600", loader},
		{rulesFile4, "600", render(wanted(4, s, guarded))},
		{rulesFile6, "600", render(wanted(6, s, guarded))},
		{unitFile, "644", unit},
		{earlyFile, "644", earlyUnit},
		{specFile, "600", string(spec) + "\n"},
	}
}

// toWrite leaves out the units that are on the server as they shall be: a file
// that is written again makes systemd want to read it again.
func (o *Observed) toWrite(own []ownFile) []ownFile {
	return slices.DeleteFunc(own, func(f ownFile) bool {
		return (f.path == unitFile || f.path == earlyFile) && o.files[f.path] == file{f.mode, "0", f.sum()}
	})
}

// unit loads the rules whenever Docker has been started: Docker makes
// DOCKER-USER only then.
const unit = `# Written by kamal_firewall of terraform-provider-kamal.
[Unit]
Description=Firewall for the ports that Docker publishes
After=docker.service
PartOf=docker.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh ` + loadFile + ` late

[Install]
WantedBy=docker.service
`

// earlyUnit guards the ports from before Docker starts: it publishes the ports
// of containers that it restarts before it says that it is up.
const earlyUnit = `# Written by kamal_firewall of terraform-provider-kamal.
[Unit]
Description=Firewall for the ports that Docker publishes, while Docker starts
After=network-pre.target nftables.service netfilter-persistent.service ufw.service
Before=docker.service

[Service]
Type=oneshot
ExecStart=/bin/sh ` + loadFile + ` early

[Install]
WantedBy=docker.service
`

// loader puts the rules in place. Each change is one transaction of
// iptables-restore, so that there is no moment between the old rules and the
// new ones. Others may change DOCKER-USER between our look and our change:
// then the transaction fails as a whole and is tried again.
//
//	load check   tries the files rules.v4.new and rules.v6.new and changes nothing
//	load early   before Docker starts: the chains in the table mangle, which Docker leaves alone
//	load late    the chains, and the jump as the first rule of DOCKER-USER; then what early made goes
//	load remove  all of it goes
const loader = `# Written by kamal_firewall of terraform-provider-kamal; an apply puts it back.
export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
dir=` + fleet.FirewallDir + `
` + fleet.FirewallPrelude + `
mark='-m comment --comment kamal-firewall'
restore() { # PROGRAM KIND [OPTION]
  r=$1-$2-restore
  command -v "$r" >/dev/null 2>&1 || r=$1-restore
  "$r" --noflush --wait 10 $3
}
rules() { echo "$dir/rules.v$(case $1 in ip6tables) echo 6;; *) echo 4;; esac)$2"; }
jumps() { sed -n "s/^-A \($1 .*-j $2\)\$/-D \1/p"; } # those in chain $1 to chain $2, as deletions

# clear PROGRAM KIND TABLE CHAIN: our chains and the jumps to them go.
clear() {
  s=$(fw_save "$1" "$2" "$3")
  case $s in *":` + gate + ` "*) ;; *) return 0;; esac
  {
    echo "*$3"
    printf '%s\n' "$s" | jumps "$4" ` + gate + `
    printf '%s\n' '-F ` + gate + `' '-X ` + gate + `'
    case $s in *":` + allow + ` "*) printf '%s\n' '-F ` + allow + `' '-X ` + allow + `';; esac
    echo COMMIT
  } | restore "$1" "$2"
}

late() { # PROGRAM KIND
  s=$(fw_save "$1" "$2")
  {
    echo '*filter'
    cat "$(rules "$1")"
    ours=$(printf '%s\n' "$s" | jumps DOCKER-USER ` + gate + `)
    first=$(printf '%s\n' "$s" | sed -n 's/^-A \(DOCKER-USER .*\)/-D \1/p' | head -n 1)
    if [ -z "$ours" ] || [ "$ours" != "$first" ]; then
      [ -z "$ours" ] || printf '%s\n' "$ours"
      echo "-I DOCKER-USER 1 $mark -j ` + gate + `"
    fi
    # Docker puts this jump there itself; some versions forget it, and it can be flushed.
    before=$(printf '%s\n' "$s" | grep -e '^-A FORWARD .*-j ACCEPT$' -e '^-A FORWARD .*-j DOCKER' | grep -v 'DOCKER-ISOLATION-STAGE-1$' | head -n 1)
    if [ "$before" != '-A FORWARD -j DOCKER-USER' ]; then
      printf '%s\n' "$s" | jumps FORWARD DOCKER-USER
      echo '-I FORWARD 1 -j DOCKER-USER'
    fi
    echo COMMIT
  } | restore "$1" "$2"
}

early() { # PROGRAM KIND
  {
    echo '*mangle'
    cat "$(rules "$1")"
    fw_save "$1" "$2" mangle | jumps FORWARD ` + gate + `
    echo "-I FORWARD 1 $mark -j ` + gate + `"
    echo COMMIT
  } | restore "$1" "$2"
}

again() { # COMMAND…: up to five times
  n=0
  until "$@"; do n=$((n + 1)); [ $n -lt 5 ] || return 1; sleep 0.2; done
}

exec 9>/run/kamal-firewall.lock && flock 9 || exit
failed=0
for p in iptables ip6tables; do
  command -v $p >/dev/null 2>&1 || continue
  case $1 in
  check)
    k=$(fw_kind $p) || continue
    { echo '*filter'; cat "$(rules $p .new)"; echo COMMIT; } | restore $p "$k" --test || failed=1;;
  early)
    # Without Docker's own rules for IPv6 there is nothing of it to guard.
    again early $p "$(fw_own $p)" || [ $p = ip6tables ] || failed=1;;
  late)
    k=$(fw_kind $p) || { [ $p = ip6tables ] || { echo 'there is no chain DOCKER-USER' >&2; failed=1; }; continue; }
    again late $p "$k" || { failed=1; continue; }
    for o in nft legacy; do
      again clear $p $o mangle FORWARD || failed=1
      [ $o = "$k" ] || again clear $p $o filter DOCKER-USER || failed=1
    done;;
  remove)
    for o in nft legacy; do
      again clear $p $o mangle FORWARD || failed=1
      again clear $p $o filter DOCKER-USER || failed=1
    done;;
  esac
done
exit $failed
`
