package testbed

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
)

// lookScript prints sections, each after a line "@NAME".
//
//go:embed recipe/look.sh
var lookScript string

// lookAtSystem looks at what systemd, the kernel's network and its packet filter have.
func (in *inside) lookAtSystem(ctx context.Context, f *footprint) error {
	out, err := in.run(ctx, "", lookScript)
	if err != nil {
		return err
	}
	section := ""
	var rules []string // of the section, if it is a packet filter's
	filter := func() {
		for table, text := range filterTables(rules) {
			f.values[section+" "+table] = text
		}
		rules = nil
	}
	for _, line := range lines(out) {
		if name, ok := strings.CutPrefix(line, "@"); ok {
			filter()
			section = name
			continue
		}
		switch section {
		case "unit":
			if fields := strings.Fields(line); len(fields) >= 4 {
				f.values["unit "+fields[0]] = fields[2]
				if fields[3] == ranOnce {
					f.values["unit "+fields[0]] = ranOnce
				}
			}
		case "sysctl":
			if name, value, ok := strings.Cut(line, ":"); ok && seenSysctl(name) {
				f.values["sysctl "+name] += value + "\n"
			}
		case "link":
			if m := linkLine.FindStringSubmatch(line); m != nil && !strings.HasPrefix(m[1], "veth") {
				up := slices.Contains(strings.Split(m[2], ","), "UP")
				f.values["link "+m[1]] = fmt.Sprintf("up %t, mtu %s", up, m[3])
			}
		case "address", "route":
			// The kernel makes these itself once a link has been up.
			if !ofKernel.MatchString(line) {
				f.values[section+" "+indexes.ReplaceAllString(strings.TrimSpace(line), "")] = "is there"
			}
		case "iptables-nft", "ip6tables-nft", "iptables-legacy", "ip6tables-legacy":
			rules = append(rules, line)
		default:
			f.values[section] += line + "\n"
		}
	}
	filter()
	return in.lookAtTables(ctx, f)
}

// ranOnce is the state of a service that did something and has nothing left to run.
const ranOnce = "exited"

var (
	linkLine = regexp.MustCompile(`^\d+: ([^:@]+)[^<]*<([^>]*)> mtu (\d+)`)
	ofKernel = regexp.MustCompile(`\bfe80:|\bff00::|^multicast |^anycast | dev veth|^\d+: veth`)
	indexes  = regexp.MustCompile(`^\d+: |\\.*$| linkdown`)
)

// seenSysctl leaves out counters and what belongs to interfaces that come and go.
func seenSysctl(name string) bool {
	if rest, ok := strings.CutPrefix(name, "/proc/sys/net/netfilter/"); ok {
		return rest != "nf_conntrack_count"
	}
	fields := strings.Split(name, "/") // "" proc sys net ipv4 conf eth0 forwarding
	if len(fields) > 6 && (fields[5] == "conf" || fields[5] == "neigh") {
		return fields[5] == "conf" && slices.Contains([]string{"all", "default", "lo", "eth0", "docker0"}, fields[6])
	}
	return true
}

// filterTables splits what iptables-save prints into its tables, without counters
// and without tables in which nothing is set.
func filterTables(saved []string) map[string]string {
	tables := map[string]string{}
	name, text, empty := "", "", true
	for _, line := range saved {
		switch {
		case strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "*"):
			name, text, empty = line[1:], line+"\n", true
		case line == "COMMIT":
			if !empty {
				tables[name] = text + "COMMIT\n"
			}
		default:
			if strings.HasPrefix(line, ":") {
				line, _, _ = strings.Cut(line, " [")
				empty = empty && strings.HasSuffix(line, " ACCEPT")
				line += " [0:0]"
			} else {
				empty = false
			}
			text += line + "\n"
		}
	}
	return tables
}

// lookAtTables looks at nftables' own tables, by this machine's nft: servers
// need not have it. Those of iptables have been seen already.
func (in *inside) lookAtTables(ctx context.Context, f *footprint) error {
	nft := func(args ...string) (string, error) {
		return in.nsenter(ctx, "", []string{"net"}, append([]string{"nft", "--stateless"}, args...)...)
	}
	tables, err := nft("list", "tables")
	if err != nil {
		return err
	}
	for _, table := range lines(tables) {
		if ofIptables.MatchString(table) {
			continue
		}
		fields := strings.Fields(table) // table FAMILY NAME
		if len(fields) != 3 {
			return fmt.Errorf("nft list tables: %q", table)
		}
		text, err := nft("list", "table", fields[1], fields[2])
		if err != nil {
			return err
		}
		f.values["nft "+fields[1]+" "+fields[2]] = text
	}
	return nil
}

var ofIptables = regexp.MustCompile(`^table ip6? (filter|nat|mangle|raw|security)$`)

// lookAtMounts reads what is mounted in the server's view.
func (in *inside) lookAtMounts(f *footprint) error {
	text, err := os.ReadFile(in.proc + "/mountinfo")
	if err != nil {
		return err
	}
	for _, line := range lines(string(text)) {
		before, after, _ := strings.Cut(line, " - ")
		mount, of := strings.Fields(before), strings.Fields(after)
		if len(mount) < 6 || len(of) < 2 {
			return fmt.Errorf("mountinfo: %q", line)
		}
		switch at := mount[4]; {
		case at == "/run/docker/netns/default", strings.HasPrefix(at, "/run/credentials/"):
		default:
			f.values["mount "+at] += of[0] + " " + mount[5] + "\n"
		}
	}
	return nil
}
