# Prints what systemd, the network and the packet filter have, in sections for
# footprint_system.go. Nothing is made by looking: iptables-legacy-save without -t
# reads the tables that are there.
echo @unit
systemctl list-units --all --plain --full --no-legend --no-pager --type=service,socket,timer,path,scope,target,automount,swap \
  --state=active,reloading,activating,deactivating,failed
echo @environment
systemctl show --property=Environment
echo @hostname
uname -n
echo @swap
while read -r file _; do [ ! -f "$file" ] || echo "$file"; done </proc/swaps
echo @sysctl
grep --no-messages --recursive '' /proc/sys/net || true
echo @link
ip -o link
echo @address
ip -o address
echo @route
ip route show table all
ip -6 route show table all 2>/dev/null || true
ip rule
ip -6 rule 2>/dev/null || true
echo @iptables-nft
xtables-nft-multi iptables-save 2>/dev/null
echo @ip6tables-nft
xtables-nft-multi ip6tables-save 2>/dev/null
echo @iptables-legacy
xtables-legacy-multi iptables-save
echo @ip6tables-legacy
xtables-legacy-multi ip6tables-save
