package testbed

import (
	"context"
	"errors"
	"strings"
)

// mendNetwork puts back the packet filter, the kernel's network settings, and
// takes away interfaces. Each table is replaced in one step.
func (m *mending) mendNetwork(ctx context.Context) error {
	var errs []error
	for _, program := range []string{"iptables", "ip6tables"} {
		for _, kind := range []string{"nft", "legacy"} {
			if text := m.tables(program + "-" + kind); text != "" {
				_, err := m.run(ctx, text, `exec "xtables-$1-multi" "$2-restore"`, kind, program)
				errs = append(errs, err)
			}
		}
	}
	for _, d := range m.of("nft") {
		if d.was == "" {
			family, name, _ := strings.Cut(d.key, " ")
			_, err := m.nsenter(ctx, "", []string{"net"}, "nft", "delete", "table", family, name)
			errs = append(errs, err)
		}
	}
	for _, d := range m.of("sysctl") {
		if d.was != "" && d.is != "" {
			_, err := m.run(ctx, d.was, `cat >"$1"`, d.key)
			errs = append(errs, err)
		}
	}
	for _, d := range m.of("link") {
		if d.was == "" { // gone by itself, most times: a network's bridge
			_, err := m.run(ctx, "", `[ ! -e "/sys/class/net/$1" ] || ip link delete "$1"`, d.key)
			errs = append(errs, err)
		}
	}
	for _, d := range m.rest {
		if d.key == "hostname" {
			_, err := m.run(ctx, "", `hostname "$1"`, strings.TrimSpace(d.was))
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// tables is what iptables-restore has to read to undo all changes of one back end.
func (m *mending) tables(backEnd string) string {
	text := ""
	for _, d := range m.of(backEnd) {
		if d.was != "" {
			text += d.was
			continue
		}
		for _, line := range lines(d.is) {
			chain, policy, _ := strings.Cut(line, " ")
			switch {
			case strings.HasPrefix(line, "*"):
				text += line + "\n"
			case strings.HasPrefix(line, ":") && !strings.HasPrefix(policy, "-"):
				text += chain + " ACCEPT [0:0]\n"
			}
		}
		text += "COMMIT\n"
	}
	return text
}
