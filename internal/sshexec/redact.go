package sshexec

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
)

const (
	mask = "[redacted]"
	// Shorter values would be found in every text by accident: they are
	// replaced only where they stand as a value, see redactShort.
	minSecret = 4
	// The characters that a base64 text shows of a value inside a longer one
	// get few for a short value; below this they would match by accident.
	minEmbedded = 6
	// Lines of a longer secret (a private key) count by themselves from here.
	minLine = 16
)

// A redactor replaces registered values in texts. Values are found in the
// forms in which tools repeat them, also where two of them overlap.
type redactor struct {
	mu    sync.RWMutex
	known map[string]bool
	// byPrefix finds the patterns that can begin at a position.
	byPrefix map[[minSecret]byte][]string
	first    [256]bool
	short    []*regexp.Regexp
}

func (r *redactor) add(values ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.known == nil {
		r.known = map[string]bool{}
		r.byPrefix = map[[minSecret]byte][]string{}
	}
	for _, v := range values {
		r.addForms(v)
		for line := range strings.Lines(v) {
			line = strings.TrimSpace(line)
			// "-----BEGIN …-----" is no secret.
			if len(line) >= minLine && line != v && !strings.HasPrefix(line, "-----") {
				r.addForms(line)
			}
		}
	}
}

func (r *redactor) addForms(v string) {
	if v == "" || r.known[v] {
		return
	}
	r.known[v] = true
	for form := range forms(v) {
		if len(form) < minSecret {
			r.short = append(r.short, shortPattern(form))
			continue
		}
		key := [minSecret]byte([]byte(form))
		r.byPrefix[key] = append(r.byPrefix[key], form)
		r.first[form[0]] = true
	}
}

// forms returns the texts in which v may appear.
func forms(v string) map[string]bool {
	out := map[string]bool{v: true}
	add := func(s string) {
		if s != "" {
			out[s] = true
		}
	}
	if t := strings.TrimSpace(v); len(t) >= minSecret {
		add(t)
	}
	for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		if s := enc.EncodeToString([]byte(v)); len(s) >= minSecret {
			add(s)
		}
	}
	for _, enc := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for offset := range 3 {
			if s := embedded(enc, v, offset); len(s) >= minEmbedded {
				add(s)
			}
		}
	}
	q := url.QueryEscape(v)
	for _, s := range []string{q, url.PathEscape(v), strings.ReplaceAll(q, "+", "%20"), url.UserPassword("", v).String()[1:]} {
		add(s)
		add(lowerEscapes(s))
	}
	add(strings.ReplaceAll(v, "'", `'"'"'`))
	add(strings.ReplaceAll(v, "'", `'\''`))
	quoted := strconv.Quote(v)
	add(quoted[1 : len(quoted)-1])
	for _, html := range []bool{true, false} {
		var b strings.Builder
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(html)
		if enc.Encode(v) == nil {
			s := strings.TrimSuffix(b.String(), "\n")
			add(s[1 : len(s)-1])
		}
	}
	return out
}

// embedded returns the characters that the base64 form of any text shows for
// v, when v starts offset bytes behind a multiple of 3 in it.
func embedded(enc *base64.Encoding, v string, offset int) string {
	s := enc.EncodeToString(append(make([]byte, offset), v...))
	from := (offset*8 + 5) / 6
	to := (offset + len(v)) * 8 / 6
	return s[from:max(from, to)]
}

var escapes = regexp.MustCompile(`%[0-9A-F]{2}`)

func lowerEscapes(s string) string { return escapes.ReplaceAllStringFunc(s, strings.ToLower) }

// shortPattern finds a value of up to three bytes only where it stands as a
// value: behind = or :, or between quotes.
func shortPattern(v string) *regexp.Regexp {
	return regexp.MustCompile(`(=|: ?|'|")` + regexp.QuoteMeta(v) + `(['"\s,;&}]|$)`)
}

func (r *redactor) redact(s string) string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if len(r.byPrefix) > 0 {
		s = r.redactLong(s)
	}
	for _, p := range r.short {
		s = p.ReplaceAllString(s, "${1}"+mask+"${2}")
	}
	return s
}

func (r *redactor) redactLong(s string) string {
	var b strings.Builder
	kept := 0          // everything before it is in b
	from, to := -1, -1 // the run of overlapping finds that is open
	flush := func() {
		b.WriteString(s[kept:from])
		b.WriteString(mask)
		kept = to
	}
	for i := 0; i+minSecret <= len(s); i++ {
		if !r.first[s[i]] {
			continue
		}
		end := -1
		for _, form := range r.byPrefix[[minSecret]byte([]byte(s[i:i+minSecret]))] {
			if i+len(form) > end && strings.HasPrefix(s[i:], form) {
				end = i + len(form)
			}
		}
		if end < 0 {
			continue
		}
		if from >= 0 && i > to {
			flush()
			from = -1
		}
		if from < 0 {
			from = i
		}
		to = max(to, end)
	}
	if from < 0 {
		return s
	}
	flush()
	b.WriteString(s[kept:])
	return b.String()
}
