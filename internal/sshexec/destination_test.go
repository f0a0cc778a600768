package sshexec_test

import (
	"strings"
	"testing"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

func TestParseDestination(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]sshexec.Destination{
		"10.0.0.1":               {Address: "10.0.0.1"},
		"web":                    {Address: "web"},
		"deploy@web.example.com": {User: "deploy", Address: "web.example.com"},
		"a@b@web:2222":           {User: "a@b", Address: "web", Port: 2222},
		"[::1]":                  {Address: "::1"},
		"root@[fe80::1%eth0]:22": {User: "root", Address: "fe80::1%eth0", Port: 22},
		"web_1-a":                {Address: "web_1-a"},
	} {
		got, err := sshexec.ParseDestination(in)
		if err != nil || got != want {
			t.Errorf("%q: %+v, %v", in, got, err)
		}
		if got.String() != in {
			t.Errorf("%q: String gives %q", in, got.String())
		}
	}
	for in, says := range map[string]string{
		"":                 "empty",
		" ":                "spaces",
		"web ":             "spaces",
		"we\nb":            "control",
		"ssh://web":        "without ssh://",
		"root:pass@web":    "password",
		"@web":             "no user",
		"root@":            "no address",
		":22":              "no address",
		"::1":              "in brackets, as in [::1]",
		"root@2001:db8::1": "in brackets",
		"[::1":             "not closed",
		"[10.0.0.1]":       "no IPv6",
		"[::1]22":          "no port",
		"[::1]:":           "no port",
		"web:":             "no port",
		"web:0":            "no port",
		"web:65536":        "no port",
		"web:+22":          "no port",
		"web:ssh":          "no port",
		"-oProxyCommand=x": "no address",
		"a/b":              "no address",
		"a,b":              "no address",
	} {
		_, err := sshexec.ParseDestination(in)
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want %q in it", in, err, says)
		}
	}
	if _, err := sshexec.ParseDestination("root:hunter2@web"); strings.Contains(err.Error(), "hunter2") {
		t.Errorf("shows the password: %v", err)
	}
}

func FuzzParseDestination(f *testing.F) {
	for _, s := range []string{"root@[::1]:22", "a@b:1", "x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := sshexec.ParseDestination(s)
		if err != nil {
			return
		}
		again, err := sshexec.ParseDestination(d.String())
		if err != nil || again != d {
			t.Errorf("%q gives %+v, its String %q gives %+v, %v", s, d, d.String(), again, err)
		}
	})
}
