package firewall

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
)

// Observed is what a server shows of its packet filter, and of ours in it.
type Observed struct {
	// Denied is the user who may not look, "" where the rest was read.
	Denied string
	// Interfaces are all network interfaces, External those of the default routes.
	Interfaces, External []string
	// Addresses6 are the IPv6 addresses by interface, link-local ones too.
	Addresses6 map[string][]netip.Addr
	IPv4, IPv6 Family
	// Spec is what an apply left on the server, nil where there is none.
	Spec *Spec
	// Firewalld is active, UFW is enabled.
	Firewalld, UFW bool
	// Proxies are where Docker's userland proxy listens.
	Proxies []Proxied

	specText string
	files    map[string]file
	enabled  map[string]bool
	failed   map[string]bool
}

// A Family is the filter of one IP version.
type Family struct {
	// Kind is the back end that Docker uses: "nft" or "legacy"; "" where it
	// filters nothing, because it manages no rules for this version.
	Kind string
	// unguarded: Docker publishes ports by rules, but has no DOCKER-USER.
	unguarded bool
	// stale is the other back end, where it has our chains.
	stale  string
	chains map[string][]rule
}

// Proxied is a port on which a docker-proxy listens.
type Proxied struct {
	Address  netip.Addr
	Port     uint16
	Protocol string
}

// A file of ours: its mode, as in 600, its owner's number and its SHA-256.
type file struct{ mode, owner, sum string }

// Observe reads a snapshot.
func Observe(snap *fleet.Snapshot) (*Observed, error) {
	o := &Observed{Addresses6: map[string][]netip.Addr{}, files: map[string]file{}, enabled: map[string]bool{}, failed: map[string]bool{}}
	families := map[byte]*Family{'4': &o.IPv4, '6': &o.IPv6}
	for line := range strings.Lines(snap.Firewall) {
		key, value, _ := strings.Cut(strings.TrimRight(line, "\n"), "\t")
		fields := strings.Fields(value)
		var family *Family
		if key != "" {
			family = families[key[len(key)-1]]
		}
		switch key {
		case "denied":
			o.Denied = value
		case "interfaces":
			o.Interfaces = fields
		case "route4", "route6":
			o.External = append(o.External, routeInterfaces(fields)...)
		case "addr6":
			o.address(fields)
		case "kind4", "kind6":
			family.Kind = value
		case "unguarded4", "unguarded6":
			family.unguarded = true
		case "stale4", "stale6":
			family.stale = value
		case "rule4", "rule6":
			family.add(value)
		case "spec":
			o.specText = value
			o.Spec = new(Spec)
			if err := json.Unmarshal([]byte(value), o.Spec); err != nil {
				return nil, fmt.Errorf("%s: %w", specFile, err)
			}
		case "file":
			if len(fields) >= 3 {
				o.files[fields[0]] = file{fields[1], fields[2], strings.Join(fields[3:], "")}
			}
		case "enabled":
			o.enabled[value] = true
		case "failed":
			o.failed[value] = true
		case "firewalld":
			o.Firewalld = true
		case "ufw":
			o.UFW = true
		case "proxy":
			o.proxy(fields)
		}
	}
	slices.Sort(o.External)
	o.External = slices.Compact(o.External)
	return o, nil
}

// routeInterfaces finds the interfaces in a line of `ip route`.
func routeInterfaces(words []string) (names []string) {
	for i, w := range words {
		if w == "dev" && i+1 < len(words) && words[i+1] != "lo" {
			names = append(names, words[i+1])
		}
	}
	return names
}

// address takes "352: eth0 inet6 fd5a:231::a/64 scope global …".
func (o *Observed) address(words []string) {
	if len(words) < 4 {
		return
	}
	if p, err := netip.ParsePrefix(words[3]); err == nil && !p.Addr().IsLoopback() {
		o.Addresses6[words[1]] = append(o.Addresses6[words[1]], p.Addr())
	}
}

// proxy takes the command line of a docker-proxy.
func (o *Observed) proxy(words []string) {
	var p Proxied
	for i := 0; i+1 < len(words); i++ {
		switch words[i] {
		case "-host-ip":
			p.Address, _ = netip.ParseAddr(words[i+1])
		case "-host-port":
			n, _ := strconv.ParseUint(words[i+1], 10, 16)
			p.Port = uint16(n)
		case "-proto":
			p.Protocol = words[i+1]
		}
	}
	if p.Address.IsValid() {
		o.Proxies = append(o.Proxies, p)
	}
}

func (f *Family) add(line string) {
	if f.chains == nil {
		f.chains = map[string][]rule{}
	}
	if name, ok := strings.CutPrefix(line, ":"); ok {
		f.chains[name] = append(f.chains[name], []rule{}...)
		return
	}
	r := parseRule(line)
	f.chains[r.chain] = append(f.chains[r.chain], r)
}

// ours is what stands in our chains.
func (f *Family) ours() []rule {
	return append(slices.Clone(f.chains[gate]), f.chains[allow]...)
}

// jumps are the places of the jumps to our chain in DOCKER-USER.
func (f *Family) jumps() (at []int) {
	for i, r := range f.chains["DOCKER-USER"] {
		if r.target == gate && r.other == "" {
			at = append(at, i)
		}
	}
	return at
}

// throughDockerUser says whether FORWARD asks DOCKER-USER before Docker's own
// rules let something through. The rules between Docker's networks only drop;
// after a restart with live-restore Docker leaves them before DOCKER-USER.
func (f *Family) throughDockerUser() bool {
	for _, r := range f.chains["FORWARD"] {
		switch {
		case r.target == "DOCKER-ISOLATION-STAGE-1":
		case r.target == "DOCKER-USER" && r == (rule{chain: "FORWARD", target: "DOCKER-USER"}):
			return true
		case r.target == "ACCEPT" || strings.HasPrefix(r.target, "DOCKER"):
			return false
		}
	}
	return false
}

// Present says whether anything of ours is on the server.
func (o *Observed) Present() bool {
	return len(o.files) > 0 || len(o.IPv4.ours())+len(o.IPv6.ours()) > 0 || o.IPv4.stale+o.IPv6.stale != ""
}

// Guarded are the interfaces that shall be guarded.
func (o *Observed) Guarded(s Spec) []string {
	if len(s.Interfaces) > 0 {
		return slices.Sorted(slices.Values(s.Interfaces))
	}
	return o.External
}

// hasIPv6 says whether the server has an IPv6 address on one of the
// interfaces. A link-local one counts: the neighbours reach it.
func (o *Observed) hasIPv6(interfaces []string) bool {
	return slices.ContainsFunc(interfaces, func(name string) bool { return len(o.Addresses6[name]) > 0 })
}
