package provider

import (
	"context"
	"crypto/tls"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/proxy"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

var (
	hostPattern       = regexp.MustCompile(`^(\*\.)?([a-z0-9_]([a-z0-9_-]*[a-z0-9_])?\.)*[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?$`)
	pathPrefixPattern = regexp.MustCompile(`^/[^?#\s]*$`)
	headerPattern     = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")
)

func headerValidator() validator.String {
	return stringvalidator.RegexMatches(headerPattern, "is no name of a header")
}

// hostValidator accepts what kamal-proxy can match with the Host header: names
// in lower case, with *. for one level below at most.
type hostValidator struct{}

func (hostValidator) Description(context.Context) string {
	return "a domain name in lower case, as in shop.example.com or *.example.com"
}

func (v hostValidator) MarkdownDescription(ctx context.Context) string { return v.Description(ctx) }

func (v hostValidator) ValidateString(ctx context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	if req.ConfigValue.IsNull() || req.ConfigValue.IsUnknown() {
		return
	}
	host, hint := req.ConfigValue.ValueString(), ""
	switch {
	case len(host) <= 253 && hostPattern.MatchString(host):
		return
	case host == "*" || host == "":
		hint = " For any host leave hosts out."
	case strings.ContainsAny(host, "/:"):
		hint = " It has no scheme, no port and no path."
	case strings.ToLower(host) != host:
		hint = " Browsers send it in lower case, and kamal-proxy compares it letter by letter."
	}
	resp.Diagnostics.AddAttributeError(req.Path, "Invalid host", fmt.Sprintf("%q is not %s.%s", host, v.Description(ctx), hint))
}

// ValidateConfig refuses at plan what kamal-proxy would refuse or choke on.
// What is unknown yet is left to the apply.
func (r *proxyRouteResource) ValidateConfig(ctx context.Context, req resource.ValidateConfigRequest, resp *resource.ValidateConfigResponse) {
	var m proxyRouteModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	resp.Diagnostics.Append(m.validate(ctx, time.Now())...)
}

func (m proxyRouteModel) validate(ctx context.Context, now time.Time) diag.Diagnostics {
	var diags diag.Diagnostics
	servers, serversKnown := knownStrings(m.Servers)
	hosts, hostsKnown := knownStrings(m.Hosts)
	paths, pathsKnown := knownStrings(m.PathPrefixes)
	checkServers(servers, &diags)
	normal := map[string]string{}
	for _, p := range paths {
		n := proxy.NormalizePath(p)
		if other, ok := normal[n]; ok {
			diags.AddAttributeError(path.Root("path_prefixes"), "Duplicate path prefix", fmt.Sprintf("%q and %q are the same.", other, p))
		}
		normal[n] = p
	}
	if c := m.CanonicalHost; !c.IsNull() && !c.IsUnknown() && !m.Hosts.IsNull() && hostsKnown && !slices.Contains(hosts, c.ValueString()) {
		diags.AddAttributeError(path.Root("canonical_host"), "Canonical host is none of the hosts",
			fmt.Sprintf("%q is not among hosts (%s), so visitors would be sent to a place that this route does not serve.", c.ValueString(), strings.Join(hosts, ", ")))
	}
	m.validateBuffering(ctx, &diags)
	if m.TLS.IsNull() || m.TLS.IsUnknown() {
		return diags
	}
	at := path.Root("tls")
	if m.Hosts.IsNull() {
		diags.AddAttributeError(at, "TLS without hosts", "kamal-proxy finds a certificate by the host's name: name the route's hosts.")
	}
	if !m.PathPrefixes.IsNull() && pathsKnown && normal["/"] == "" {
		diags.AddAttributeError(at, "TLS on a route without the path /",
			"kamal-proxy takes the TLS of a path from the route that has the same host and the path \"/\". Set tls there, and leave it out here.")
	}
	var t routeTLSModel
	diags.Append(as(ctx, m.TLS, &t)...)
	own := !t.Certificate.IsNull()
	switch acme := t.ACME.ValueBool(); {
	case acme && (own || !t.PrivateKey.IsNull()):
		diags.AddAttributeError(at, "Two kinds of certificate", "Set either acme, for certificates from Let's Encrypt, or certificate_pem and private_key_pem, for an own one.")
		return diags
	case acme:
		if serversKnown && len(servers) > 1 {
			diags.AddAttributeError(at.AtName("acme"), "ACME with several servers",
				"Let's Encrypt asks one server for its proof, and the name leads to several, each with a kamal-proxy that knows nothing of the others. Use an own certificate (certificate_pem, private_key_pem), or end TLS at a load balancer in front.")
		}
		for _, h := range hosts {
			if strings.HasPrefix(h, "*.") {
				diags.AddAttributeError(at.AtName("acme"), "ACME with a wildcard host", fmt.Sprintf("kamal-proxy can't prove to Let's Encrypt that it serves %s: that takes DNS. Name the hosts one by one, or use an own certificate.", h))
			}
		}
	case t.ACME.IsUnknown():
	case t.Staging.ValueBool():
		diags.AddAttributeError(at.AtName("staging"), "Staging without ACME", "staging says which Let's Encrypt gives the certificates: it needs acme = true.")
	case !own && t.PrivateKey.IsNull():
		diags.AddAttributeError(at, "TLS without a certificate", "Set acme = true, or certificate_pem and private_key_pem.")
	case own != !t.PrivateKey.IsNull():
		diags.AddAttributeError(at, "Half a certificate", "certificate_pem and private_key_pem belong together: set both.")
	}
	if own && !t.Certificate.IsUnknown() && !t.PrivateKey.IsNull() && !t.PrivateKey.IsUnknown() {
		validatePair(at, t.Certificate, t.PrivateKey, hosts, now, &diags)
	}
	return diags
}

// validatePair checks that a key fits its certificate, and warns of a
// certificate that visitors will not accept.
func validatePair(at path.Path, cert, key types.String, hosts []string, now time.Time, diags *diag.Diagnostics) {
	// The error never quotes the key.
	pair, err := tls.X509KeyPair([]byte(cert.ValueString()), []byte(key.ValueString()))
	if err != nil {
		diags.AddAttributeError(at.AtName("certificate_pem"), "Certificate and private key do not fit", err.Error()+".")
		return
	}
	leaf := pair.Leaf
	if now.After(leaf.NotAfter) {
		diags.AddAttributeWarning(at.AtName("certificate_pem"), "The certificate has expired", fmt.Sprintf("It was valid until %s: browsers will refuse it.", leaf.NotAfter.Format(time.RFC3339)))
	} else if now.Before(leaf.NotBefore) {
		diags.AddAttributeWarning(at.AtName("certificate_pem"), "The certificate is not valid yet", fmt.Sprintf("It is valid from %s: browsers will refuse it until then.", leaf.NotBefore.Format(time.RFC3339)))
	}
	for _, h := range hosts {
		// A wildcard host stands for any name in its place.
		if name := strings.Replace(h, "*.", "any.", 1); leaf.VerifyHostname(name) != nil {
			diags.AddAttributeWarning(at.AtName("certificate_pem"), "The certificate is not for all hosts",
				fmt.Sprintf("It is for %s, and not for %s: browsers will refuse it there.", strings.Join(leaf.DNSNames, ", "), h))
		}
	}
}

func (m proxyRouteModel) validateBuffering(ctx context.Context, diags *diag.Diagnostics) {
	var b routeBufferingModel
	diags.Append(as(ctx, m.Buffering, &b)...)
	off := func(v types.Bool) bool { return !v.IsNull() && !v.IsUnknown() && !v.ValueBool() }
	if off(b.Requests) && b.MaxRequestBody.ValueInt64() > 0 {
		diags.AddAttributeError(path.Root("buffering").AtName("max_request_body"), "Limit without buffering", "kamal-proxy limits the size of requests only while it buffers them: set requests = true.")
	}
	if off(b.Responses) && b.MaxResponseBody.ValueInt64() > 0 {
		diags.AddAttributeError(path.Root("buffering").AtName("max_response_body"), "Limit without buffering", "kamal-proxy limits the size of answers only while it buffers them: set responses = true.")
	}
}

// checkServers refuses two spellings of one server. Two names of one machine
// are found at apply, by its machine-id.
func checkServers(servers []string, diags *diag.Diagnostics) {
	seen := map[sshexec.Destination]string{}
	for _, s := range servers {
		d, err := sshexec.ParseDestination(s)
		if err != nil {
			continue // serverValidator says it
		}
		d.User = ""
		if other, ok := seen[d]; ok {
			diags.AddAttributeError(path.Root("servers"), "Server named twice", fmt.Sprintf("%q and %q are the same server.", other, s))
		}
		seen[d] = s
	}
}

// knownStrings are the elements of a list that are known; all says whether they are all.
func knownStrings(l types.List) (list []string, all bool) {
	if l.IsUnknown() {
		return nil, false
	}
	all = true
	for _, v := range l.Elements() {
		if s, ok := v.(types.String); ok && !s.IsUnknown() && !s.IsNull() {
			list = append(list, s.ValueString())
		} else {
			all = false
		}
	}
	return list, all
}
