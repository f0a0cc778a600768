// Package server is one server as Kamal and this provider need it: Docker
// installed and running, the daemon's defaults, the network that all
// containers share.
package server

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
