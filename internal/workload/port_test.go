package workload

import (
	"slices"
	"strings"
	"testing"
)

func TestParsePort(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]struct {
		out    string
		public bool
	}{
		"5432":                   {out: "127.0.0.1:5432:5432"},
		"15432:5432":             {out: "127.0.0.1:15432:5432"},
		"53:53/udp":              {out: "127.0.0.1:53:53/udp"},
		"53:53/tcp":              {out: "127.0.0.1:53:53"},
		"127.0.0.5:5432:5432":    {out: "127.0.0.5:5432:5432"},
		"[::1]:5432:5432":        {out: "[::1]:5432:5432"},
		"0.0.0.0:5432:5432":      {out: "0.0.0.0:5432:5432", public: true},
		"[::]:5432:5432":         {out: "[::]:5432:5432", public: true},
		"10.0.0.7:5432:5432":     {out: "10.0.0.7:5432:5432", public: true},
		"[fd00::1]:5432:80/sctp": {out: "[fd00::1]:5432:80/sctp", public: true},
	} {
		p, err := ParsePort(in)
		if err != nil || p.String() != want.out || p.Public() != want.public {
			t.Errorf("%s: %s, public %t, %v; want %s, public %t", in, p, p.Public(), err, want.out, want.public)
		}
	}
}

func TestParsePortRefuses(t *testing.T) {
	t.Parallel()
	for _, in := range []string{
		"", ":", "x", "0", "65536", "-1", "5432:", ":5432", "5432:0", "0:5432", "127.0.0.1::5432", "1:2:3", "1.2.3.4:5:6:7", "::1:5432:5432",
		"[::1:5432:5432", "[fe80::1%eth0]:1:2", "localhost:5432:5432", "5432:5432/icmp", "5432:5432/", "5432-5440:5432-5440", " 5432", "5432:5432 ",
	} {
		if p, err := ParsePort(in); err == nil || !strings.Contains(err.Error(), `"`+in+`"`) {
			t.Errorf("%q was taken as %s (%v)", in, p, err)
		}
	}
}

func TestNormalPortsAreInOneSpellingAndOrder(t *testing.T) {
	t.Parallel()
	got := normalPorts([]string{"6379", "127.0.0.1:5432:5432/tcp"})
	if want := []string{"127.0.0.1:5432:5432", "127.0.0.1:6379:6379"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
