package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// slow is from how many seconds on a passed test gets a line of its own.
const slow = 1.0

// lastWords is how many lines are shown of a test that was not finished.
const lastWords = 200

// event is one line of `go test -json`; `go doc test2json` describes the fields.
type event struct {
	Action     string
	Package    string
	ImportPath string
	Test       string
	Elapsed    float64 // seconds
	Output     string
}

// follow reads the events of one go test and writes progress and failures to out as they come.
func follow(events io.Reader, out io.Writer) (result, error) {
	var r result
	output := map[[2]string][]string{} // by package and test, until its outcome is known
	in := bufio.NewReader(events)
	for {
		line, readErr := in.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if err := json.Unmarshal(line, &e); err != nil {
				fmt.Fprintf(out, "%s", line) // not from go test's -json: show it as it is
			} else {
				r.take(e, output, out)
			}
		}
		if errors.Is(readErr, io.EOF) {
			return r, nil
		}
		if readErr != nil {
			return r, fmt.Errorf("reading the events of go test: %w", readErr)
		}
	}
}

func (r *result) take(e event, output map[[2]string][]string, out io.Writer) {
	key := [2]string{e.Package, e.Test}
	name, _, isSub := strings.Cut(e.Test, "/")
	topLevel := e.Test != "" && !isSub
	// A test whose subtests run side by side does not count their time as its own.
	if e.Action == "pass" || e.Action == "fail" {
		if r.longest == nil {
			r.longest = map[[2]string]float64{}
		}
		at := [2]string{e.Package, name}
		e.Elapsed = max(e.Elapsed, r.longest[at])
		r.longest[at] = e.Elapsed
	}
	switch e.Action {
	case "build-output":
		fmt.Fprint(out, e.Output)
		return
	case "output":
		output[key] = append(output[key], e.Output)
		return
	case "pass":
		if topLevel {
			r.Passed++
			r.Took = append(r.Took, took{e.Test, e.Elapsed})
			if e.Elapsed >= slow {
				fmt.Fprintf(out, "passed %s (%.1fs)\n", e.Test, e.Elapsed)
			}
		}
	case "fail":
		if topLevel {
			r.Failed++
			r.Took = append(r.Took, took{e.Test, e.Elapsed})
		}
		if e.Test == "" {
			unfinished(e.Package, output, out)
		}
		for _, line := range output[key] {
			if e.Test != "" || !isVerdict(line) {
				fmt.Fprint(out, line)
			}
		}
	case "skip":
		if e.Test != "" {
			r.Skipped = append(r.Skipped, e.Test+": "+reason(output[key]))
		}
	default:
		return
	}
	if e.Test == "" && e.Action != "skip" {
		r.Packages = append(r.Packages, verdict(output[key]))
	}
	delete(output, key)
}

// unfinished shows the last words of the tests that a failed package left
// without an outcome: the process died. Those of a panic in a goroutine go to
// whichever test spoke last.
func unfinished(pkg string, output map[[2]string][]string, out io.Writer) {
	for _, key := range slices.SortedFunc(maps.Keys(output), func(a, b [2]string) int { return strings.Compare(a[1], b[1]) }) {
		if key[0] != pkg || key[1] == "" {
			continue
		}
		said := slices.DeleteFunc(output[key], func(line string) bool { return strings.HasPrefix(line, "=== ") })
		delete(output, key)
		if len(said) == 0 {
			continue // most had not even begun
		}
		fmt.Fprintf(out, "%s was not finished; its last words:\n", key[1])
		for _, line := range said[max(0, len(said)-lastWords):] {
			fmt.Fprint(out, line)
		}
	}
}

// verdict is go test's last line of a package: "ok", the path and the time, or "FAIL" and the path.
func verdict(lines []string) string {
	for i := len(lines) - 1; i >= 0; i-- {
		if isVerdict(lines[i]) {
			return lines[i]
		}
	}
	return ""
}

func isVerdict(line string) bool {
	return strings.HasPrefix(line, "ok  \t") || strings.HasPrefix(line, "FAIL\t")
}

// reason is what a test said before it was skipped, on one line.
func reason(lines []string) string {
	var said []string
	for _, line := range lines {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "=== ") && !strings.HasPrefix(line, "--- ") {
			said = append(said, line)
		}
	}
	return strings.Join(said, " ")
}
