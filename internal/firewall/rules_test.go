package firewall

import (
	"slices"
	"strings"
	"testing"
)

var sample = Spec{Allow: []Rule{
	{Port: "80", Protocol: "tcp"},
	{Port: "8000-8100", Protocol: "udp", Sources: []string{"10.0.0.0/8", "2001:DB8::/32", "192.0.2.1"}},
	{Port: "443", Protocol: "tcp", Sources: []string{"0.0.0.0/0"}},
	{Port: "22", Protocol: "tcp", Sources: []string{"2001:db8::7"}},
}}

func TestRenderedRules(t *testing.T) {
	t.Parallel()
	const want4 = `:KAMAL-FW - [0:0]
:KAMAL-FW-ALLOW - [0:0]
-A KAMAL-FW -m conntrack --ctstate ESTABLISHED,RELATED -j RETURN
-A KAMAL-FW -i eth0 -m conntrack --ctstate DNAT --ctdir ORIGINAL -j KAMAL-FW-ALLOW
-A KAMAL-FW -i eth1 -m conntrack --ctstate DNAT --ctdir ORIGINAL -j KAMAL-FW-ALLOW
-A KAMAL-FW-ALLOW -m conntrack --ctorigdst 127.0.0.0/8 -j DROP
-A KAMAL-FW-ALLOW -p tcp -m conntrack --ctorigdstport 80 -j RETURN
-A KAMAL-FW-ALLOW -s 10.0.0.0/8 -p udp -m conntrack --ctorigdstport 8000:8100 -j RETURN
-A KAMAL-FW-ALLOW -s 192.0.2.1/32 -p udp -m conntrack --ctorigdstport 8000:8100 -j RETURN
-A KAMAL-FW-ALLOW -p tcp -m conntrack --ctorigdstport 443 -j RETURN
-A KAMAL-FW-ALLOW -j DROP
`
	if got := render(wanted(4, sample, []string{"eth0", "eth1"})); got != want4 {
		t.Errorf("IPv4:\n%s", got)
	}
	const want6 = `:KAMAL-FW - [0:0]
:KAMAL-FW-ALLOW - [0:0]
-A KAMAL-FW -m conntrack --ctstate ESTABLISHED,RELATED -j RETURN
-A KAMAL-FW -i eth0 -m conntrack --ctstate DNAT --ctdir ORIGINAL -j KAMAL-FW-ALLOW
-A KAMAL-FW-ALLOW -p tcp -m conntrack --ctorigdstport 80 -j RETURN
-A KAMAL-FW-ALLOW -s 2001:db8::/32 -p udp -m conntrack --ctorigdstport 8000:8100 -j RETURN
-A KAMAL-FW-ALLOW -s 2001:db8::7/128 -p tcp -m conntrack --ctorigdstport 22 -j RETURN
-A KAMAL-FW-ALLOW -j DROP
`
	if got := render(wanted(6, sample, []string{"eth0"})); got != want6 {
		t.Errorf("IPv6:\n%s", got)
	}
}

// asSaved is what iptables-save 1.8.9 and 1.8.11 print of the rules of sample.
const asSaved = `-A KAMAL-FW -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN
-A KAMAL-FW -i eth0 -m conntrack --ctstate DNAT --ctdir ORIGINAL -j KAMAL-FW-ALLOW
-A KAMAL-FW-ALLOW -m conntrack --ctorigdst 127.0.0.0/8 -j DROP
-A KAMAL-FW-ALLOW -p tcp -m conntrack --ctorigdstport 80 -j RETURN
-A KAMAL-FW-ALLOW -s 10.0.0.0/8 -p udp -m conntrack --ctorigdstport 8000:8100 -j RETURN
-A KAMAL-FW-ALLOW -s 192.0.2.1/32 -p udp -m conntrack --ctorigdstport 8000:8100 -j RETURN
-A KAMAL-FW-ALLOW -p tcp -m conntrack --ctorigdstport 443 -j RETURN
-A KAMAL-FW-ALLOW -j DROP`

func parsed(text string) (out []rule) {
	for line := range strings.Lines(text) {
		out = append(out, parseRule(strings.TrimRight(line, "\n")))
	}
	return out
}

func TestRulesAreComparedByWhatTheyMean(t *testing.T) {
	t.Parallel()
	want := wanted(4, sample, []string{"eth0"})
	swap := func(old, with string) string {
		if !strings.Contains(asSaved, old) {
			t.Fatalf("%q is not in the sample", old)
		}
		return strings.Replace(asSaved, old, with, 1)
	}
	line := func(n int) string { return slices.Collect(strings.Lines(asSaved))[n] }
	for name, tt := range map[string]struct{ text, says string }{
		"as saved":                   {asSaved, ""},
		"other order of allows":      {swap(line(3)+line(4), line(4)+line(3)), ""},
		"an allow twice":             {swap(line(3), line(3)+line(3)), ""},
		"matches in another order":   {swap("--ctstate DNAT --ctdir ORIGINAL", "--ctdir ORIGINAL --ctstate DNAT"), ""},
		"with a comment":             {swap("--ctorigdstport 80", `--ctorigdstport 80 -m comment --comment "it's \"mine\" -j DROP"`), ""},
		"an allow gone":              {swap(line(4), ""), "missing: KAMAL-FW-ALLOW -s 10.0.0.0/8"},
		"an allow more":              {swap(line(4), line(4)+"-A KAMAL-FW-ALLOW -s 203.0.113.9/32 -j RETURN\n"), "not ours: KAMAL-FW-ALLOW -s 203.0.113.9/32"},
		"the drop gone":              {swap("\n-A KAMAL-FW-ALLOW -j DROP", ""), "missing: KAMAL-FW-ALLOW -j DROP"},
		"the drop first":             {swap(line(2), "-A KAMAL-FW-ALLOW -j DROP\n"+line(2)), "another order"},
		"another port":               {swap("--ctorigdstport 80 ", "--ctorigdstport 81 "), "ctorigdstport 81"},
		"another interface":          {swap("-i eth0", "-i eth1"), "-i eth1"},
		"narrowed by something else": {swap("-p tcp -m conntrack --ctorigdstport 80", "-p tcp -m limit --limit 5/min -m conntrack --ctorigdstport 80"), "limit"},
		"negated":                    {swap("-s 10.0.0.0/8", "! -s 10.0.0.0/8"), "not ours"},
		"accepts":                    {swap("--ctorigdstport 80 -j RETURN", "--ctorigdstport 80 -j ACCEPT"), "-j ACCEPT"},
		"replies not first":          {swap(line(0)+line(1), line(1)+line(0)), "another order"},
	} {
		if got := compare(want, parsed(tt.text)); (tt.says == "") != (got == "") || !strings.Contains(got, tt.says) {
			t.Errorf("%s: %q, want %q in it", name, got, tt.says)
		}
	}
}

func TestManyRulesAreCompared(t *testing.T) {
	t.Parallel()
	s := Spec{}
	for i := range 5000 {
		s.Allow = append(s.Allow, Rule{Port: Ports{uint16(1 + i), uint16(1 + i)}.String(), Protocol: "tcp"})
	}
	want := wanted(4, s, []string{"eth0"})
	is := slices.Clone(want)
	slices.Reverse(is[3 : len(is)-1])
	if said := compare(want, is); said != "" {
		t.Error(said)
	}
	if said := compare(want, is[:len(is)-9]); !strings.Contains(said, "and 6 more") {
		t.Error(said)
	}
}
