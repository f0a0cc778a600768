package acceptance

import (
	"bytes"
	"regexp"
	"strings"
	"sync"
)

var (
	ansi = regexp.MustCompile("\x1b\\[[0-9;]*[a-zA-Z]")
	// overrides is what the CLIs warn of because of the tests' CLI configuration.
	overrides = regexp.MustCompile(`(?s)Warning: Provider development overrides are in effect\n.*?with published\s+releases\.\n`)
	// box is the drawing to the left of a diagnostic.
	box = regexp.MustCompile(`(?m)^[╷│╵] ?`)
)

// unwrap returns a CLI's output as the provider said it: without colours, boxes
// and the line breaks that the CLI puts into paragraphs. Lines that begin with a
// space are as they were, the CLI does not wrap these.
func unwrap(output string) string {
	output = box.ReplaceAllString(ansi.ReplaceAllString(output, ""), "")
	var out strings.Builder
	joinable := false // the line before may go on
	for line := range strings.Lines(output) {
		line = strings.TrimRight(line, " \n")
		starts := line == "" || line[0] == ' ' || line[0] == '\t'
		switch {
		case out.Len() == 0:
		case joinable && !starts:
			out.WriteByte(' ')
		default:
			out.WriteByte('\n')
		}
		out.WriteString(line)
		joinable = !starts
	}
	return out.String()
}

// readable is a CLI's output for a test's log.
func readable(output string) string {
	return strings.TrimSpace(overrides.ReplaceAllString(ansi.ReplaceAllString(output, ""), ""))
}

// says tells whether a CLI's output holds a text, whatever line breaks and
// boxes the CLI put into it.
func says(output, text string) bool {
	return strings.Contains(squash(unwrap(output)), squash(text))
}

// squash turns all runs of white space into one space.
func squash(s string) string { return strings.Join(strings.Fields(s), " ") }

// lockedBuffer takes stdout and stderr at once.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
