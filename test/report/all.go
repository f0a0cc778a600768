package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
)

// tellAll tells of all runs in a file. It is false where one of them failed, or where the tests
// reach too little of a noun's code. The last lines are go test's own.
func tellAll(w io.Writer, file, coverDir string) (bool, error) {
	all, err := readResults(file)
	if err != nil {
		return false, err
	}
	ok := len(all) > 0
	fmt.Fprintln(w, "== slowest tests")
	for _, t := range slowest(all, 10) {
		fmt.Fprintf(w, "%7.1f s  %s\n", t.Seconds, t.Test)
	}
	if coverDir != "" {
		fmt.Fprintln(w, "\n== statements that unit and engine tests reach")
		enough, err := tellCoverage(w, coverDir)
		if err != nil {
			return false, err
		}
		ok = ok && enough
	}
	fmt.Fprintln(w, "\n== where the time goes")
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "wall s\tCPU s of tests\tof servers and the rest\tpassed\tfailed\tskipped\t")
	var sum result
	for _, r := range all {
		ok = ok && r.OK
		tellRow(table, r)
		sum.Wall, sum.Tests, sum.Rest = sum.Wall+r.Wall, sum.Tests+r.Tests, sum.Rest+r.Rest
		sum.Passed, sum.Failed = sum.Passed+r.Passed, sum.Failed+r.Failed
		sum.Skipped = append(sum.Skipped, r.Skipped...)
	}
	sum.Title = "all"
	tellRow(table, sum)
	if err := table.Flush(); err != nil {
		return false, err
	}
	fmt.Fprintln(w, "\n== summary")
	for _, r := range all {
		fmt.Fprint(w, r.summary())
	}
	return ok, nil
}

func tellRow(w io.Writer, r result) {
	fmt.Fprintf(w, "%.0f\t%.0f\t%.0f\t%d\t%d\t%d\t  %s\n", r.Wall, r.Tests, r.Rest, r.Passed, r.Failed, len(r.Skipped), r.Title)
}

// busySeconds is how long the machine's processors have worked since it started, in CPU seconds; 0
// where nobody tells.
func busySeconds() float64 {
	f, err := os.Open("/proc/stat")
	if err != nil {
		return 0
	}
	defer f.Close()
	line, _ := bufio.NewReader(f).ReadString('\n')
	return busyOf(line)
}

// busyOf reads the first line of /proc/stat: "cpu user nice system idle iowait irq softirq …", in
// hundredths of a second.
func busyOf(line string) float64 {
	fields := strings.Fields(line)
	sum := 0.0
	for i, f := range fields {
		if i == 0 || i == 4 || i == 5 || i > 7 {
			continue
		}
		n, err := strconv.ParseFloat(f, 64)
		if err != nil {
			return 0
		}
		sum += n
	}
	return sum / 100
}
