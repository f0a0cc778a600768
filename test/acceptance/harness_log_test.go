package acceptance

import (
	"errors"
	"io/fs"
	"os"
	"regexp"
	"strconv"
	"strings"
)

// A Call is a log line of the provider about an SSH connection or a remote call.
type Call struct {
	Server    string
	Title     string // of a remote call
	Handshake bool   // a connection came about; else a remote call was made
}

// Messages of the provider's log; package sshexec writes them.
const (
	handshakeMessage  = "ssh handshake"
	remoteCallMessage = "remote call"
)

// Calls returns what the provider did over SSH during the last command. The
// empty-plan check of Apply is not counted.
func (w *workspace) Calls() []Call {
	w.t.Helper()
	content, err := os.ReadFile(w.lastLog)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return parseCalls(string(content))
}

// Handshakes counts the connections that the last command made to a server.
// `plan` has one process that connects, `apply` two: one plans, one applies.
func (w *workspace) Handshakes(server string) int {
	w.t.Helper()
	n := 0
	for _, c := range w.Calls() {
		if c.Handshake && c.Server == server {
			n++
		}
	}
	return n
}

// RemoteCalls returns the titles of the remote calls that the last command made
// to a server, in order. Signs of life are left out: how many there are, only
// time tells.
func (w *workspace) RemoteCalls(server string) []string {
	w.t.Helper()
	var titles []string
	for _, c := range w.Calls() {
		if !c.Handshake && c.Server == server && c.Title != "give a sign of life" {
			titles = append(titles, c.Title)
		}
	}
	return titles
}

// longValue is a line of a value with line breaks.
var longValue = regexp.MustCompile(`(?m)^  \| .*$`)

// record is the first line of a log record: time, level, source, the rest.
var record = regexp.MustCompile(`(?m)^\d{4}-\d\d-\d\dT\S+ \[\w+\] +(\S+): `)

// parseCalls reads the text form of hclog as the CLIs write it; a JSON form
// exists only together with the CLI's own log at level TRACE.
func parseCalls(log string) []Call {
	var calls []Call
	starts := record.FindAllStringSubmatchIndex(log, -1)
	for i, at := range starts {
		end := len(log)
		if i+1 < len(starts) {
			end = starts[i+1][0]
		}
		source, text := log[at[2]:at[3]], log[at[1]:end]
		message, fields, _ := strings.Cut(longValue.ReplaceAllString(text, ""), ": ")
		if !strings.Contains(source, "terraform-provider-kamal") {
			continue
		}
		switch message {
		case handshakeMessage:
			calls = append(calls, Call{Server: field(fields, "server"), Handshake: true})
		case remoteCallMessage:
			calls = append(calls, Call{Server: field(fields, "server"), Title: field(fields, "call")})
		}
	}
	return calls
}

// field returns the value of key=value or key="value" in a record.
func field(fields, key string) string {
	m := regexp.MustCompile(`(?:^|\s)` + regexp.QuoteMeta(key) + `=("(?:[^"\\]|\\.)*"|\S*)`).FindStringSubmatch(fields)
	if m == nil {
		return ""
	}
	if value, err := strconv.Unquote(m[1]); err == nil {
		return value
	}
	return m[1]
}
