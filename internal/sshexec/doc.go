// Package sshexec runs scripts on servers over SSH: one connection per server
// and process, host keys checked, several commands per round trip with an exit
// code each, secrets redacted. It knows nothing of Docker or Kamal.
package sshexec
