package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// result is what a run of go test came to. Only top-level tests are counted as passed or failed;
// a skipped subtest is listed too, as it is something the run did not show.
type result struct {
	Title          string
	OK             bool
	Passed, Failed int
	Skipped        []string // "TestName: reason"
	Packages       []string // go test's last line of each package
	Took           []took   // the top-level tests that passed or failed
	// Wall is in seconds, Tests and Rest in CPU seconds: of go test with all that it started and
	// waited for, and of everything else on the machine, which is mostly the servers.
	Wall, Tests, Rest float64

	longest map[[2]string]float64 // by package and top-level test: of it and its subtests
}

// took is how long a test ran, in seconds; of subtests that ran side by side, the longest.
type took struct {
	Test    string
	Seconds float64
}

func (r *result) ok() bool { return r.Failed == 0 && r.Passed > 0 }

func (r *result) summary() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d passed, %d failed, %d skipped\n", r.Title, r.Passed, r.Failed, len(r.Skipped))
	for _, s := range r.Skipped {
		fmt.Fprintf(&b, "  skipped %s\n", s)
	}
	if r.Passed == 0 && r.Failed == 0 {
		b.WriteString("  no test passed: that counts as a failure\n")
	}
	for _, p := range r.Packages {
		b.WriteString(p)
	}
	return b.String()
}

func (r *result) appendTo(file string) error {
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	return errors.Join(json.NewEncoder(f).Encode(r), f.Close())
}

func readResults(file string) ([]result, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var all []result
	for in := json.NewDecoder(f); ; {
		var r result
		switch err := in.Decode(&r); {
		case errors.Is(err, io.EOF):
			return all, nil
		case err != nil:
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		all = append(all, r)
	}
}

// slowest are the n tests that took longest, of all runs, each with its run.
func slowest(all []result, n int) []took {
	var tests []took
	for _, r := range all {
		for _, t := range r.Took {
			tests = append(tests, took{t.Test + " (" + r.Title + ")", t.Seconds})
		}
	}
	slices.SortStableFunc(tests, func(a, b took) int { return int(1000 * (b.Seconds - a.Seconds)) })
	return tests[:min(n, len(tests))]
}
