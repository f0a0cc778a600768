// Package server is one server as Kamal and this provider need it: Docker
// installed and running, the daemon's defaults, the network that all
// containers share.
package server

import "encoding/json"

// A Spec is what a server shall be like.
type Spec struct {
	Docker Docker
	// Swap is the swap file that there shall be, nil for none of ours. NoSwap
	// is one that was made before and shall go, "" for none.
	Swap   *Swap
	NoSwap string
}

// Docker is what Docker on the server shall be like.
type Docker struct {
	// Install says to install Docker from the distribution's packages where it is missing.
	Install bool
	// Script is a shell script that installs Docker in place of the
	// distribution's packages, "" for those.
	Script string
	// Mirrors and Insecure are the registry mirrors and the registries without
	// TLS; nil: what is there stays.
	Mirrors, Insecure []string
	// Keys are other keys of daemon.json, NoKeys those to take out of it.
	Keys   map[string]json.RawMessage
	NoKeys []string
	// LogMaxSize and LogMaxFile are when and how often Docker rotates the log
	// of a container that has no log options of its own: "10m", 3.
	LogMaxSize string
	LogMaxFile int64
	// LiveRestore says to let containers run on while dockerd restarts.
	LiveRestore bool
}

// Default is a server as it shall be when nothing else is said.
var Default = Spec{Docker: Docker{Install: true, LogMaxSize: "10m", LogMaxFile: 3, LiveRestore: true}}
