package acceptance

import (
	"encoding/base64"
	"encoding/json"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// leaks finds secrets in texts that everybody may read, in the forms in which
// tools repeat them. It shares no code with the provider's redaction, which it checks.
type leaks struct {
	forms map[string]string // by form: what it is, without the value
}

func newLeaks(secrets []string) *leaks {
	l := &leaks{forms: map[string]string{}}
	for i, secret := range secrets {
		for _, value := range append(strings.Split(strings.TrimSpace(secret), "\n"), secret) {
			if len(value) >= 6 && !strings.HasPrefix(value, "-----") { // a PEM's first and last line are none
				l.add(value, "secret "+strconv.Itoa(i))
			}
		}
	}
	return l
}

func (l *leaks) add(value, name string) {
	add := func(form, how string) {
		if l.forms[form] == "" {
			l.forms[form] = name + ", " + how
		}
	}
	add(value, "plain")
	for offset := range 3 {
		// What base64 shows of the value, wherever it stands in a longer text.
		for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			text := encoding.EncodeToString([]byte(strings.Repeat("x", offset) + value))
			from := []int{0, 2, 3}[offset]
			if text = text[from : len(text)-1-len(text)%2]; len(text) >= 8 {
				add(text, "base64")
			}
		}
	}
	add(url.QueryEscape(value), "URL-encoded")
	add(url.PathEscape(value), "URL-encoded")
	add(url.UserPassword("", value).String()[1:], "URL-encoded")
	add(strings.ToLower(url.QueryEscape(value)), "URL-encoded")
	add(strings.ReplaceAll(value, "'", `'\''`), "shell-quoted")
	add(strings.ReplaceAll(value, "'", `'"'"'`), "shell-quoted")
	quoted := strconv.Quote(value)
	add(quoted[1:len(quoted)-1], "quoted")
	if text, err := json.Marshal(value); err == nil {
		add(string(text[1:len(text)-1]), "in JSON")
	}
}

// find says which secrets a text holds, without them.
func (l *leaks) find(text string) []string {
	var found []string
	for form, what := range l.forms {
		if strings.Contains(text, form) {
			found = append(found, what)
		}
	}
	return found
}

func (l *leaks) text(t *testing.T, what, text string) {
	t.Helper()
	if found := l.find(text); len(found) > 0 {
		t.Errorf("%s: holds %q", what, found)
	}
}

// files looks into every file below the directories: states, plans, logs.
func (l *leaks) files(t *testing.T, dirs ...string) {
	t.Helper()
	n := 0
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			n++
			text, err := os.ReadFile(path)
			l.text(t, path, string(text))
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
	if n == 0 {
		t.Errorf("no files in %q", dirs)
	}
}

func TestLeaksAreFoundInEveryForm(t *testing.T) {
	t.Parallel()
	const secret = `hunter2's "secret" of $9+/ü`
	l := newLeaks([]string{"short", secret, "-----BEGIN KEY-----\nMIIEvQIBADANBg\n-----END KEY-----\n"})
	for how, text := range map[string]string{
		"plain": secret, "base64": base64.StdEncoding.EncodeToString([]byte(secret)),
		"base64, one byte in":    base64.StdEncoding.EncodeToString([]byte(":" + secret + "tail")),
		"base64, two bytes in":   base64.URLEncoding.EncodeToString([]byte("u:" + secret)),
		"query":                  url.QueryEscape(secret),
		"URL":                    (&url.URL{Scheme: "redis", User: url.UserPassword("u", secret), Host: "h"}).String(),
		"shell":                  `'` + strings.ReplaceAll(secret, "'", `'\''`) + `'`,
		"Go":                     strconv.Quote(secret),
		"a line of a longer one": "x MIIEvQIBADANBg y",
	} {
		if found := l.find("before " + text + " after"); len(found) == 0 {
			t.Errorf("not found: %s", how)
		}
	}
	if found := l.find("-----BEGIN KEY----- nothing of it, short"); len(found) > 0 {
		t.Errorf("found: %q", found)
	}
}
