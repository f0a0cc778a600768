package provider

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/firewall"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
)

type firewallModel struct {
	ID                types.String   `tfsdk:"id"`
	Server            types.String   `tfsdk:"server"`
	Allow             types.List     `tfsdk:"allow"`
	Interfaces        types.List     `tfsdk:"interfaces"`
	AllowIPv6Proxy    types.Bool     `tfsdk:"allow_ipv6_userland_proxy"`
	GuardedInterfaces types.List     `tfsdk:"guarded_interfaces"`
	Backend           types.String   `tfsdk:"backend"`
	MachineID         types.String   `tfsdk:"machine_id"`
	Drift             types.List     `tfsdk:"drift"`
	Timeouts          timeouts.Value `tfsdk:"timeouts"`
}

type firewallRuleModel struct {
	Port        types.String `tfsdk:"port"`
	Protocol    types.String `tfsdk:"protocol"`
	Sources     types.List   `tfsdk:"sources"`
	Description types.String `tfsdk:"description"`
}

// spec is the model as the noun wants it. Rules and interfaces that are not
// known yet, in part or as a whole, are left out: places[i] says where the i-th
// rule stands in the configuration, all whether none is missing.
func (m *firewallModel) spec(ctx context.Context) (s firewall.Spec, places []int, all bool, diags diag.Diagnostics) {
	all = !m.Allow.IsUnknown() && !m.Interfaces.IsUnknown()
	var rules []firewallRuleModel
	if !m.Allow.IsNull() && !m.Allow.IsUnknown() {
		diags.Append(m.Allow.ElementsAs(ctx, &rules, false)...)
	}
	for i, r := range rules {
		sources, known := texts(r.Sources)
		if r.Port.IsUnknown() || r.Protocol.IsUnknown() || !known {
			all = false
			continue
		}
		s.Allow = append(s.Allow, firewall.Rule{Port: r.Port.ValueString(), Protocol: r.Protocol.ValueString(), Sources: sources, Description: r.Description.ValueString()})
		places = append(places, i)
	}
	interfaces, known := texts(m.Interfaces)
	if known {
		s.Interfaces = interfaces
	}
	s.AllowIPv6Proxy = m.AllowIPv6Proxy.ValueBool()
	return s, places, all && known, diags
}

// texts takes a list of strings apart; known is false if a part of it is not known yet.
func texts(list types.List) (out []string, known bool) {
	if list.IsUnknown() {
		return nil, false
	}
	for _, v := range list.Elements() {
		s, ok := v.(types.String)
		if !ok || s.IsUnknown() {
			return nil, false
		}
		out = append(out, s.ValueString())
	}
	return out, true
}

// textList makes a list of strings.
func textList(ctx context.Context, in []string) types.List {
	list, diags := types.ListValueFrom(ctx, types.StringType, append([]string{}, in...))
	if diags.HasError() {
		panic("strings always make a list")
	}
	return list
}

// imported sets what an import takes from the server's own record.
func (m *firewallModel) imported(ctx context.Context, s firewall.Spec) diag.Diagnostics {
	m.Allow = types.ListNull(types.ObjectType{AttrTypes: firewallRuleTypes})
	m.Interfaces = types.ListNull(types.StringType)
	m.AllowIPv6Proxy = types.BoolValue(s.AllowIPv6Proxy)
	if len(s.Interfaces) > 0 {
		m.Interfaces = textList(ctx, s.Interfaces)
	}
	if len(s.Allow) == 0 {
		return nil
	}
	var rules []firewallRuleModel
	for _, r := range s.Allow {
		one := firewallRuleModel{Port: types.StringValue(r.Port), Sources: types.ListNull(types.StringType)}
		if len(r.Sources) > 0 {
			one.Sources = textList(ctx, r.Sources)
		}
		if r.Protocol != "" {
			one.Protocol = types.StringValue(r.Protocol)
		}
		if r.Description != "" {
			one.Description = types.StringValue(r.Description)
		}
		rules = append(rules, one)
	}
	var diags diag.Diagnostics
	m.Allow, diags = types.ListValueFrom(ctx, types.ObjectType{AttrTypes: firewallRuleTypes}, rules)
	return diags
}

// facts are what the server shows.
func (m *firewallModel) facts(ctx context.Context, o *firewall.Observed, s firewall.Spec, snap *fleet.Snapshot) {
	m.GuardedInterfaces = textList(ctx, o.Guarded(s))
	if o.IPv4.Kind != "" || m.Backend.IsNull() || m.Backend.IsUnknown() {
		m.Backend = types.StringValue(o.IPv4.Kind)
	}
	m.MachineID = types.StringValue(snap.Facts.MachineID)
}

// invalid attaches an *firewall.InvalidError to its attribute, and names that in
// the summary: the CLI shows no place deep in a list. It says whether there is one.
func invalid(diags *diag.Diagnostics, places []int, err error) bool {
	var e *firewall.InvalidError
	if !errors.As(err, &e) {
		return false
	}
	i := e.Index
	if e.Attribute == "allow" && i < len(places) {
		i = places[i]
	}
	at := path.Root(e.Attribute).AtListIndex(i)
	if e.Key != "" {
		at = at.AtName(e.Key)
	}
	if e.Source >= 0 {
		at = at.AtListIndex(e.Source)
	}
	diags.AddAttributeError(at, "Invalid "+at.String(), e.Why+".")
	return true
}

// proxyPortsKey is the private state's key for the ports of kamal-proxy: a plan
// warns about those that the firewall would close, and may not ask the server.
const proxyPortsKey = "proxy_ports"

func saveProxyPorts(ctx context.Context, private privateWriter, snap *fleet.Snapshot) diag.Diagnostics {
	b, err := json.Marshal(firewall.ProxyPorts(snap))
	if err != nil {
		panic("a list of ports always marshals: " + err.Error())
	}
	return private.SetKey(ctx, proxyPortsKey, b)
}

func loadProxyPorts(ctx context.Context, private privateReader) (ports []firewall.Port) {
	if b, diags := private.GetKey(ctx, proxyPortsKey); !diags.HasError() && len(b) > 0 {
		_ = json.Unmarshal(b, &ports) // only a warning hangs on it
	}
	return ports
}

// closed are the ports that a Spec lets nobody reach.
func closed(s firewall.Spec, ports []firewall.Port) []firewall.Port {
	return slices.DeleteFunc(slices.Clone(ports), func(p firewall.Port) bool { return s.Allows(p.Port, p.Protocol) })
}
