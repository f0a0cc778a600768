// Package engine applies the provider's nouns to the testbed's servers from Go
// tests, over SSH and with the real Docker, without a CLI in between: observe,
// plan, apply, observe again, converged. What a server decides is shown here;
// what a CLI decides, in test/acceptance.
//
// engines_test.go says which test runs on which Docker. KAMAL_ENGINES chooses
// others: "all", or kinds of the testbed's servers.
package engine
