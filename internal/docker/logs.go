package docker

import (
	"fmt"
	"slices"

	"github.com/docker/go-units"
)

// LogsToFiles says whether a log driver writes files that it rotates, and so
// knows the options max-size and max-file. "" is docker's default, json-file.
func LogsToFiles(driver string) bool {
	return slices.Contains([]string{"", "json-file", "local"}, driver)
}

// ParseLogSize reads a log size in bytes, as docker's json-file driver does:
// "10m" is ten million.
func ParseLogSize(s string) (int64, error) {
	n, err := units.FromHumanSize(s)
	if err != nil || n <= 0 {
		return 0, fmt.Errorf("%q is no log size: write a number and k, m or g, as in 10m", s)
	}
	return n, nil
}

// SameLogSize says whether two spellings mean the same size.
func SameLogSize(a, b string) bool {
	m, err := ParseLogSize(a)
	n, err2 := ParseLogSize(b)
	return err == nil && err2 == nil && m == n
}
