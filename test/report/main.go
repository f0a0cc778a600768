// Command report runs `go test` and reports as people and CI want it: the output of failed tests in
// full, one line for each slow test that passed, and at the end what was skipped and why, followed by
// go test's own line of each package. A run in which no test passed is a failure.
//
//	go run ./test/report -title NAME [-results FILE] -- GO-TEST-ARGUMENTS
//	go run ./test/report -all FILE [-cover DIR]
//
// The second form tells of all runs whose results are in the file: what each took, the slowest tests,
// and, of the coverage profiles in DIR, what part of the nouns' code the tests reach.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	title := flag.String("title", "tests", "what the summary calls this run")
	results := flag.String("results", "", "append the results to this file as well, a JSON object")
	all := flag.String("all", "", "tell of the runs in this file, and run nothing")
	cover := flag.String("cover", "", "with -all: the directory of the coverage profiles")
	flag.Parse()
	var ok bool
	var err error
	if *all != "" {
		ok, err = tellAll(os.Stdout, *all, *cover)
	} else {
		ok, err = run(*title, *results, flag.Args())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

func run(title, file string, args []string) (bool, error) {
	// An interrupt goes to go test too; its tests clean up, and their last words are worth reading.
	signal.Notify(make(chan os.Signal, 1), os.Interrupt, syscall.SIGTERM)

	begin, busy := time.Now(), busySeconds()
	cmd := exec.Command("go", append([]string{"test", "-json"}, args...)...) //nolint:noctx // ended by the signals above
	cmd.Stderr = os.Stderr
	events, err := cmd.StdoutPipe()
	if err != nil {
		return false, err
	}
	if err := cmd.Start(); err != nil {
		return false, err
	}
	r, readErr := follow(events, os.Stdout)
	if readErr != nil {
		// Keep go test from blocking on a full pipe; its exit code still counts.
		_, _ = io.Copy(io.Discard, events)
	}
	testErr := cmd.Wait()
	r.Title = title
	r.OK = testErr == nil && readErr == nil && r.ok()
	r.Wall = time.Since(begin).Seconds()
	r.Tests = (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
	r.Rest = max(0, busySeconds()-busy-r.Tests)

	fmt.Print(r.summary())
	if file != "" {
		if err := r.appendTo(file); err != nil {
			return false, err
		}
	}
	return r.OK, readErr
}
