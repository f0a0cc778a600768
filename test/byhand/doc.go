// Package byhand is what people do on a testbed's server by hand and see of it
// from outside: docker commands, kamal-proxy's own command line, visits. Tests
// of every tier use it; it shares no code with the provider.
package byhand
