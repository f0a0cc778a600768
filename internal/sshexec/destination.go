package sshexec

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"unicode"
)

// A Destination names a server as a user writes it: `[user@]address[:port]`,
// an IPv6 address in brackets, or an alias of the SSH configuration. Zero
// fields were not given.
type Destination struct {
	User, Address string
	Port          int
}

// ParseDestination reads `[user@]address[:port]`. Its errors say what to write
// instead.
func ParseDestination(s string) (Destination, error) {
	var d Destination
	fail := func(format string, a ...any) (Destination, error) {
		return Destination{}, fmt.Errorf("%q is no SSH destination: %w", s, fmt.Errorf(format, a...))
	}
	if s == "" {
		return Destination{}, errors.New("the SSH destination is empty: write [user@]address[:port]")
	}
	if strings.ContainsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }) {
		return fail("it contains spaces or control characters")
	}
	if scheme, _, ok := strings.Cut(s, "://"); ok {
		return fail("write [user@]address[:port], without %s://", scheme)
	}

	rest := s
	// The last @ counts: an address cannot contain one, a user name can.
	if i := strings.LastIndexByte(s, '@'); i >= 0 {
		d.User, rest = s[:i], s[i+1:]
		if d.User == "" {
			return fail("there is no user before @")
		}
		if strings.Contains(d.User, ":") {
			// The text is not repeated: it would show the password.
			return Destination{}, errors.New("the SSH destination has a password (or a colon) before @: write [user@]address[:port], log-in is by key")
		}
	}

	port, hasPort := "", false
	switch {
	case strings.HasPrefix(rest, "["):
		end := strings.IndexByte(rest, ']')
		if end < 0 {
			return fail("the bracket is not closed")
		}
		d.Address = rest[1:end]
		if a, err := netip.ParseAddr(d.Address); err != nil || !a.Is6() {
			return fail("%q in brackets is no IPv6 address", d.Address)
		}
		if tail := rest[end+1:]; tail != "" {
			if port, hasPort = strings.CutPrefix(tail, ":"); !hasPort {
				return fail("%q after the bracket is no port", tail)
			}
		}
	case strings.Count(rest, ":") > 1:
		return fail("write an IPv6 address in brackets, as in [%s]", rest)
	default:
		d.Address, port, hasPort = strings.Cut(rest, ":")
	}
	if d.Address == "" {
		return fail("there is no address")
	}
	if strings.HasPrefix(d.Address, "-") || strings.ContainsAny(d.Address, `/\[]'"`+"`$;&|<>()*?,") {
		return fail("%q is no address", d.Address)
	}
	if hasPort {
		// Digits only: Atoi would take "+22".
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return fail("%q is no port (1 to 65535)", port)
		}
		d.Port = int(n)
	}
	return d, nil
}

// String returns the destination in the form that ParseDestination reads.
func (d Destination) String() string {
	s := d.Address
	if strings.Contains(s, ":") {
		s = "[" + s + "]"
	}
	if d.Port != 0 {
		s = net.JoinHostPort(d.Address, strconv.Itoa(d.Port))
	}
	if d.User != "" {
		s = d.User + "@" + s
	}
	return s
}
