package provider

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/firewall"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/workload"
)

// planFirewall keeps what is planned for a server's firewall, for those who
// plan to publish ports there. Terraform says in which order they come.
func (d *deps) planFirewall(server string, s firewall.Spec) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.firewalls[server] = s
}

// reach says who will reach a port that is going to be published, and why, as
// far as this run knows without asking the server: by the rules that it plans,
// else by those that were in force when it looked last. "" is not known.
func (d *deps) reach(server string, p firewall.Published) (firewall.Reach, string) {
	if d.unknown {
		return "", ""
	}
	d.mu.Lock()
	planned, ok := d.firewalls[server]
	d.mu.Unlock()
	if ok {
		return planned.Reach(p.Port, p.Protocol)
	}
	snap := d.fleet.Server(server).Seen()
	if snap == nil || !snap.Docker.Running || !p.Address.Is4() {
		return "", ""
	}
	reach, why, err := firewall.Foresee(snap, p)
	if err != nil {
		return "", "" // who may not see the rules is told where it matters
	}
	return reach, why
}

// warnPublic tells which ports of a container, called name, others will reach
// though no rule lets them.
func (d *deps) warnPublic(name string, ports types.List, servers []string, diags *diag.Diagnostics) {
	var public []string
	for _, v := range ports.Elements() {
		s, ok := v.(types.String)
		if !ok || s.IsUnknown() {
			continue
		}
		p, err := workload.ParsePort(s.ValueString())
		if err != nil || !p.Public() {
			continue
		}
		for _, server := range servers {
			text := ""
			reach, why := d.reach(server, firewall.Published{Address: p.Bind, Port: p.Host, Protocol: p.Protocol})
			switch {
			case reach == "":
				text = fmt.Sprintf("- %s: Docker lets such ports pass by UFW and other firewalls of the server itself", s.ValueString())
			case reach == firewall.Unknown || reach == firewall.Anywhere && !firewall.ByRule(why):
				text = fmt.Sprintf("- %s: %s", s.ValueString(), why)
			}
			if text != "" && !slices.Contains(public, text) {
				public = append(public, text)
			}
		}
	}
	if len(public) > 0 {
		diags.AddAttributeWarning(path.Root("ports"), "Ports that others can reach",
			fmt.Sprintf("%s publishes to others than the server itself:\n%s.\n\nRestrict them with kamal_firewall, or with a firewall in front of the server. Containers of the app need no published port.",
				name, strings.Join(public, ".\n")))
	}
}

// warnProxyPorts tells which ports of kamal-proxy nobody will reach, and which
// ones everybody will though no rule says so.
func (d *deps) warnProxyPorts(m proxyModel, diags *diag.Diagnostics) {
	binds, known := texts(m.BindAddresses)
	if !known || m.Server.IsUnknown() || m.HTTPPort.IsUnknown() || m.HTTPSPort.IsUnknown() {
		return
	}
	server := m.Server.ValueString()
	if len(binds) == 0 {
		binds = []string{"0.0.0.0"}
	}
	var open []string
	because := ""
	for _, port := range []types.Int64{m.HTTPPort, m.HTTPSPort} {
		for _, bind := range binds {
			address, err := netip.ParseAddr(bind)
			if err != nil || address.IsLoopback() {
				continue
			}
			n := uint16(port.ValueInt64())
			reach, why := d.reach(server, firewall.Published{Container: "kamal-proxy", Address: address, Port: n, Protocol: "tcp"})
			switch {
			case reach == firewall.Nobody:
				summary, detail := closedProxyPort(n, server)
				d.addWarning(diags, summary, detail)
			case reach == firewall.Anywhere && !firewall.ByRule(why):
				open, because = append(open, fmt.Sprint(n)), why
			default:
				continue
			}
			break // one word for each port
		}
	}
	if len(open) > 0 {
		d.addWarning(diags, "No rule says who reaches kamal-proxy on "+server,
			fmt.Sprintf("It publishes %s, and everybody reaches that: %s.\n\nFor a public site that is as it should be. Where only a load balancer or some networks shall reach it, kamal_firewall says so.",
				strings.Join(open, " and "), because))
	}
}
