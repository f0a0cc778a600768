package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// nouns are the packages of whose statements unit and engine tests together must reach the part
// that enough says.
var nouns = []string{"accessory", "approle", "firewall", "fleet", "proxy", "server", "task"}

const enough = 70 // percent

// A block is a piece of code in a coverage profile: "file.go:1.2,3.4".
type block struct {
	statements int
	reached    bool
}

// tellCoverage merges the profiles (*.out) of a directory and tells of each package under internal.
func tellCoverage(w io.Writer, dir string) (bool, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.out"))
	if err != nil {
		return false, err
	}
	if len(files) == 0 {
		return false, fmt.Errorf("no coverage profile in %s", dir)
	}
	blocks := map[string]block{}
	for _, file := range files {
		if err := readProfile(file, blocks); err != nil {
			return false, fmt.Errorf("%s: %w", file, err)
		}
	}
	ok := true
	parts := percentages(blocks)
	for _, pkg := range slices.Sorted(maps.Keys(parts)) {
		note := ""
		if slices.Contains(nouns, pkg) && parts[pkg] < enough {
			ok, note = false, fmt.Sprintf("  too little: want %d %%", enough)
		}
		fmt.Fprintf(w, "%6.1f %%  %s%s\n", parts[pkg], pkg, note)
	}
	for _, noun := range nouns {
		if _, found := parts[noun]; !found {
			return false, fmt.Errorf("no coverage of %s", noun)
		}
	}
	return ok, nil
}

// percentages are by package, named below internal.
func percentages(blocks map[string]block) map[string]float64 {
	all, reached := map[string]int{}, map[string]int{}
	for where, b := range blocks {
		file, _, _ := strings.Cut(where, ":")
		_, pkg, ok := strings.Cut(path.Dir(file), "/internal/")
		if !ok {
			continue
		}
		all[pkg] += b.statements
		if b.reached {
			reached[pkg] += b.statements
		}
	}
	out := map[string]float64{}
	for pkg, n := range all {
		if n > 0 {
			out[pkg] = 100 * float64(reached[pkg]) / float64(n)
		}
	}
	return out
}

// readProfile adds a profile's blocks. Its lines are "file.go:1.2,3.4 STATEMENTS COUNT", after one
// that names the mode.
func readProfile(file string, blocks map[string]block) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		line := lines.Text()
		if strings.HasPrefix(line, "mode:") {
			continue
		}
		fields := strings.Fields(line)
		if len(fields) != 3 {
			return fmt.Errorf("no line of a coverage profile: %q", line)
		}
		statements, err := strconv.Atoi(fields[1])
		count, err2 := strconv.ParseUint(fields[2], 10, 64)
		if err := errors.Join(err, err2); err != nil {
			return err
		}
		b := blocks[fields[0]]
		blocks[fields[0]] = block{statements, b.reached || count > 0}
	}
	return lines.Err()
}
