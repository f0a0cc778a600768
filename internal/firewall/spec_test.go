package firewall

import (
	"slices"
	"strings"
	"testing"
)

func TestPorts(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"80": "80", "1": "1", "65535": "65535", "8000-8100": "8000:8100", "80-80": "80"} {
		if got, err := ParsePorts(text); err != nil || got.String() != want {
			t.Errorf("%s: %s, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "0", "65536", "-1", "80-", "-80", "080", "+80", "http", "8100-8000", "1-2-3", "0-10", "80 ", "8000:8100", "80,443"} {
		if got, err := ParsePorts(text); err == nil {
			t.Errorf("%q is accepted as %s", text, got)
		}
	}
}

func TestSources(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"10.0.0.0/8": "10.0.0.0/8", "192.0.2.1": "192.0.2.1/32", "2001:DB8::/32": "2001:db8::/32", "::1": "::1/128", "0.0.0.0/0": "0.0.0.0/0"} {
		if got, err := ParseSource(text); err != nil || got.String() != want {
			t.Errorf("%s: %s, %v", text, got, err)
		}
	}
	for text, says := range map[string]string{"": "is no network", "10.0.0.0/33": "is no network", "10.0.0/8": "is no network", "example.com": "is no network",
		"10.1.2.3/8": "write 10.0.0.0/8", "::ffff:10.0.0.1": "is no network", "fe80::1%eth0": "is no network", "2001:db8::1/32": "write 2001:db8::/32", "!10.0.0.0/8": "is no network"} {
		if _, err := ParseSource(text); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestValidateNamesThePlace(t *testing.T) {
	t.Parallel()
	s := Spec{
		Allow: []Rule{
			{Port: "80", Protocol: "tcp"},
			{Port: "0", Protocol: "tcp"},
			{Port: "80", Protocol: "udp", Sources: []string{"10.0.0.0/8", "nonsense", "10.0.0.0/8"}},
			{Port: "80-80", Protocol: "tcp"},
			{Port: "80", Protocol: "tcp", Sources: []string{"10.0.0.0/8"}},
			{Port: "80", Protocol: "tcp", Sources: []string{"192.0.2.1", "10.0.0.0/8"}},
		},
		Interfaces: []string{"eth0", "eth+", "lo", "eth0", "a name", "0123456789abcdef"},
	}
	var got []string
	for _, e := range s.Validate() {
		got = append(got, strings.TrimSpace(strings.Join([]string{e.Attribute, string(rune('0' + e.Index)), e.Key, strings.Repeat("#", e.Source+1)}, " ")))
	}
	want := []string{"allow 1 port", "allow 2 sources ##", "allow 2 sources ###", "allow 3", "allow 5",
		"interfaces 1", "interfaces 2", "interfaces 3", "interfaces 4", "interfaces 5"}
	for i := range got {
		got[i] = strings.Join(strings.Fields(got[i]), " ")
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if e := (Spec{Allow: []Rule{{Port: "80", Protocol: "tcp"}, {Port: "80", Protocol: "udp"}}, Interfaces: []string{"eth0.100", "br-0"}}).Validate(); e != nil {
		t.Errorf("a good spec: %v", e[0])
	}
}

func TestAllows(t *testing.T) {
	t.Parallel()
	s := Spec{Allow: []Rule{{Port: "80-90", Protocol: "tcp", Sources: []string{"192.0.2.1"}}, {Port: "53", Protocol: "udp"}}}
	for _, tt := range []struct {
		port     uint16
		protocol string
		want     bool
	}{{80, "tcp", true}, {90, "tcp", true}, {91, "tcp", false}, {79, "tcp", false}, {80, "udp", false}, {53, "udp", true}, {53, "tcp", false}} {
		if got := s.Allows(tt.port, tt.protocol); got != tt.want {
			t.Errorf("%d/%s: %t", tt.port, tt.protocol, got)
		}
	}
	s.Allow = append(s.Allow, Rule{Port: "85"})
	for port, want := range map[uint16]Reach{80: Sources, 85: Anywhere, 91: Nobody} {
		if got, why := s.Reach(port, "tcp"); got != want || ByRule(why) == (want == Nobody) {
			t.Errorf("%d: %s, %s", port, got, why)
		}
	}
}
