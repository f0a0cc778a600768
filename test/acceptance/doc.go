// Package acceptance drives the real tofu or terraform with the built provider
// against the testbed's real servers, each command in a process of its own as a
// user runs it: a test server in the test's own process would hide what a new
// process forgets. The harness_*_test.go files are the driver.
//
// The tests run with TF_ACC=1 and take from the environment:
//
//	KAMAL_TEST_CLI       program; default: tofu, else terraform, on the PATH
//	KAMAL_TEST_CLI_NAME  tofu or terraform; default: what the program says
//	KAMAL_TEST_SET       full (default); small: only those that call small;
//	                     cli: without those and those that call aboutServers
//	KAMAL_TEST_PROVIDER  the built provider; default: it is built once
//	KAMAL_TEST_SEED      seed of the values that the fuzz test makes; default: another each time
//	KAMAL_TEST_KEEP      not empty: keep the directories of failed tests
package acceptance
