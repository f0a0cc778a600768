// Package proxy is kamal-proxy on one server and the services it routes to:
// booting its container, and one deploy call for every change of a route.
package proxy

import "time"

// Health is how kamal-proxy checks a new target before it gets traffic.
type Health struct {
	Path string
	// Port is the port to check; 0 is the target's own.
	Port int
	// Host is the Host header to send; "" is the target's "ID:PORT".
	Host              string
	Interval, Timeout time.Duration
}

// A Target is what a service's entry takes from the container and its role:
// the rest of the entry is the route's.
type Target struct {
	// Address is "ID:PORT", with the container's 12 hex digits.
	Address string
	Health  Health
	// DeployTimeout and DrainTimeout are not stored by kamal-proxy: they must
	// be sent with each deploy, or its defaults cut running requests.
	DeployTimeout, DrainTimeout time.Duration
}
