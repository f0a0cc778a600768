// Command report runs `go test` and reports as people and CI want it: the output of failed tests in
// full, one line for each slow test that passed, and at the end what was skipped and why, followed by
// go test's own line of each package. A run in which no test passed is a failure.
//
//	go run ./test/report -title NAME [-summary FILE] -- GO-TEST-ARGUMENTS
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
)

func main() {
	title := flag.String("title", "tests", "what the summary calls this run")
	summaryFile := flag.String("summary", "", "append the summary to this file as well")
	flag.Parse()
	ok, err := run(*title, *summaryFile, flag.Args())
	if err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

func run(title, summaryFile string, args []string) (bool, error) {
	// An interrupt goes to go test too; its tests clean up, and their last words are worth reading.
	signal.Notify(make(chan os.Signal, 1), os.Interrupt, syscall.SIGTERM)

	cmd := exec.Command("go", append([]string{"test", "-json"}, args...)...) //nolint:noctx // ended by the signals above
	cmd.Stderr = os.Stderr
	events, err := cmd.StdoutPipe()
	if err != nil {
		return false, err
	}
	if err := cmd.Start(); err != nil {
		return false, err
	}
	result, readErr := follow(events, os.Stdout)
	if readErr != nil {
		// Keep go test from blocking on a full pipe; its exit code still counts.
		_, _ = io.Copy(io.Discard, events)
	}
	testErr := cmd.Wait()

	summary := result.summary(title)
	fmt.Print(summary)
	if summaryFile != "" {
		if err := appendTo(summaryFile, summary); err != nil {
			return false, err
		}
	}
	return testErr == nil && result.ok(), readErr
}

func appendTo(file, text string) error {
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}
