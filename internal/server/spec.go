// Package server is one server as Kamal and this provider need it: Docker
// installed and running, the daemon's defaults, the network that all
// containers share.
package server

import (
	"fmt"

	"github.com/docker/go-units"
)

// A Spec is what a server shall be like.
type Spec struct {
	Docker Docker
}

// Docker is what Docker on the server shall be like.
type Docker struct {
	// Install says to install Docker from the distribution's packages where it is missing.
	Install bool
	// LogMaxSize and LogMaxFile are when and how often Docker rotates the log
	// of a container that has no log options of its own: "10m", 3.
	LogMaxSize string
	LogMaxFile int64
	// LiveRestore says to let containers run on while dockerd restarts.
	LiveRestore bool
}

// Default is a server as it shall be when nothing else is said.
var Default = Spec{Docker: Docker{Install: true, LogMaxSize: "10m", LogMaxFile: 3, LiveRestore: true}}

// ParseLogSize reads a log size as docker's json-file driver does: "10m" is
// ten million bytes.
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
