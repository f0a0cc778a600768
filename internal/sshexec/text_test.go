package sshexec_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

func FuzzQuote(f *testing.F) {
	for _, s := range []string{"", "plain", "it's", "a b", "$HOME `id` $(id)", "\\", "\n", "\n\n", "~", "-n", "é\xff\x01", "!x", "a=b", "*"} {
		f.Add(s, s+"x")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		if strings.ContainsRune(a+b, 0) {
			t.Skip("no shell carries NUL")
		}
		out, err := exec.Command("/bin/sh", "-c", sshexec.Join("printf", "%s|", a, b)).Output()
		if err != nil || string(out) != a+"|"+b+"|" {
			t.Errorf("%q %q arrived as %q, %v", a, b, out, err)
		}
		if out, err := exec.Command("/bin/sh", "-c", "X="+sshexec.Quote(a)+`; printf %s "$X"`).Output(); err != nil || string(out) != a && !strings.HasPrefix(a, "~") {
			t.Errorf("%q was assigned as %q, %v", a, out, err)
		}
	})
}

func TestEveryByteSurvivesQuote(t *testing.T) {
	t.Parallel()
	var all []byte
	for b := 1; b < 256; b++ {
		all = append(all, byte(b))
	}
	out, err := exec.Command("/bin/sh", "-c", sshexec.Join("printf", "%s", string(all))).Output()
	if err != nil || string(out) != string(all) {
		t.Errorf("%q, %v", out, err)
	}
}

// encodings are the ways in which tools repeat a value.
func encodings(v string) map[string]string {
	j, _ := json.Marshal(map[string]string{"v": v})
	m := map[string]string{
		"plain":  v,
		"quoted": sshexec.Quote(v),
		"json":   string(j),
		"go":     strconv.Quote(v),
		"query":  url.Values{"v": {v}}.Encode(),
		"path":   url.PathEscape(v),
		"url":    (&url.URL{Scheme: "postgres", User: url.UserPassword("u", v), Host: "db"}).String(),
	}
	for name, enc := range map[string]*base64.Encoding{"std": base64.StdEncoding, "url": base64.URLEncoding, "raw": base64.RawStdEncoding} {
		for i := range 4 {
			m[fmt.Sprint("base64 ", name, i)] = enc.EncodeToString([]byte(strings.Repeat("u", i) + v + strings.Repeat(":", i)))
		}
	}
	return m
}

func TestRedactFindsEveryForm(t *testing.T) {
	t.Parallel()
	for _, v := range []string{"hunter2-and-more", `p'a"s\s<&>w%o r+d/é`, "line one is long enough\nline two is long as well", "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0B\n-----END KEY-----\n"} {
		p := sshexec.NewPool(nil, nil)
		p.AddSecret(v)
		for name, text := range encodings(v) {
			got := p.Redact("before " + text + " after")
			if !strings.HasPrefix(got, "before ") || !strings.HasSuffix(got, " after") || !strings.Contains(got, "[redacted]") {
				t.Errorf("%s of %q: %q", name, v, got)
			}
			// What is left of an encoded text is the neighbourhood's: for
			// base64 the characters that a neighbour shares.
			if left := strings.ReplaceAll(got, "[redacted]", ""); len(left) > len("before  after")+24 {
				t.Errorf("%s of %q leaves %q", name, v, got)
			}
		}
		for line := range strings.Lines(v) {
			line = strings.TrimSpace(line)
			if len(line) >= 16 && !strings.HasPrefix(line, "---") && strings.Contains(p.Redact("a "+line+" b"), line) {
				t.Errorf("line %q is shown", line)
			}
		}
	}
}

func TestRedactTable(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		secrets  []string
		in, want string
	}{
		{nil, "text", "text"},
		{[]string{""}, "text", "text"},
		{[]string{"abcd"}, "xabcdabcdx", "x[redacted]x"},
		{[]string{"abcdef", "defghi"}, "1abcdefghi2", "1[redacted]2"}, // overlapping
		{[]string{"abcd", "abcdefgh"}, "abcdefgh abcd", "[redacted] [redacted]"},
		{[]string{"aaaa"}, "aaaaaa", "[redacted]"},
		{[]string{"42"}, "exit code 42, line 42: PIN=42 '42' at 10:42x", "exit code 42, line 42: PIN=[redacted] '[redacted]' at 10:42x"},
	} {
		p := sshexec.NewPool(nil, nil)
		p.AddSecret(tt.secrets...)
		if got := p.Redact(tt.in); got != tt.want {
			t.Errorf("%q in %q: %q, want %q", tt.secrets, tt.in, got, tt.want)
		}
	}
}

func FuzzRedact(f *testing.F) {
	f.Add("hunter2", "hunter3", "text ", " more")
	f.Add("aaaa", "aaab", "a", "a")
	f.Add("line one\nline two", "'\"\\", "=", ";")
	f.Fuzz(func(t *testing.T, a, b, before, after string) {
		if len(a) < 4 || len(b) < 4 {
			t.Skip("short values are replaced in some places only")
		}
		p := sshexec.NewPool(nil, nil)
		p.AddSecret(a, b)
		for name, form := range map[string]string{"plain": a, "both": a + b, "base64": base64.StdEncoding.EncodeToString([]byte(a)), "query": url.QueryEscape(b)} {
			got := p.Redact(before + form + after)
			// The mask itself may hold a value such as "acte".
			if left := strings.ReplaceAll(got, "[redacted]", "\x00"); strings.Contains(left, form) && !strings.Contains(form, "\x00") {
				t.Errorf("%s of %q is shown: %q", name, a, got)
			}
		}
	})
}
