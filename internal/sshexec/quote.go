package sshexec

import "al.essio.dev/pkg/shellescape"

// Quote returns s as one word of a POSIX shell, whatever bytes it holds (NUL
// excepted, which no shell can carry).
func Quote(s string) string { return shellescape.Quote(s) }

// Join returns argv as one command line of a POSIX shell.
func Join(argv ...string) string { return shellescape.QuoteCommand(argv) }
