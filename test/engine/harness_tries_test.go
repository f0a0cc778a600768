package engine

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// tries tries the cases on a server.
type tries struct {
	*scene
	docker int // its major version
	// proxied6: containers have no IPv6; what gets to them over it comes by Docker's userland proxy.
	proxied6 bool
}

// A row is a try over an IP version, with what shall come of it and what did.
type row struct {
	try
	v         int
	want, got string
}

// rows are what is tried, and what shall come of it.
func (c *tries) rows(guarded bool) (rows []*row) {
	for _, v := range []int{4, 6} {
		for _, tr := range cases {
			r := tr.reply
			if c.docker < 28 && tr.before28 != nil {
				r = *tr.before28
			}
			want := r.before
			if guarded {
				want = r.after
			}
			inside := slices.Contains([]string{"web", "db"}, tr.from) || tr.to == "db"
			switch {
			case v == 4:
			case tr.to == "127.0.0.1", c.proxied6 && inside:
				continue
			case tr.port == 7000: // published on 0.0.0.0
				want = ""
			case c.proxied6 && guarded && tr.to == "" && tr.port != 22:
				want = "" // the userland proxy is off
			}
			rows = append(rows, &row{try: tr, v: v, want: want})
		}
	}
	return rows
}

// check tries all cases over both IP versions and prints what was expected
// beside what was seen. What shall answer comes first and may take its time: a
// container has to start. What shall not is asked once, for long enough.
func (c *tries) check(when string, guarded bool) {
	c.Helper()
	rows := c.rows(guarded)
	at := c.places("web", "db")
	for end := time.Now().Add(time.Minute); ; {
		c.ask(at, rows, func(r *row) bool { return r.want != "" && r.got != r.want }, patient)
		if !slices.ContainsFunc(rows, func(r *row) bool { return r.want != "" && r.got != r.want }) || time.Now().After(end) {
			break
		}
	}
	c.ask(at, rows, func(r *row) bool { return r.want == "" }, time.Second)
	var text strings.Builder
	bad := 0
	for _, r := range rows {
		mark := ""
		if r.got != r.want {
			mark = "  <-- WRONG"
			bad++
		}
		fmt.Fprintf(&text, "  IPv%d  %-52s %-9s %s/%-5d expected %-16q observed %-16q%s\n", r.v, r.what, r.from, r.protocol, r.port, r.want, r.got, mark)
	}
	c.Logf("Docker %d, %s:\n%s", c.docker, when, text.String())
	if bad > 0 {
		c.Errorf("Docker %d, %s: %d of %d wrong", c.docker, when, bad, len(rows))
	}
}

// ask asks some of the rows at the same time.
func (c *tries) ask(at map[string]place, rows []*row, which func(*row) bool, bound time.Duration) {
	c.Helper()
	var wg sync.WaitGroup
	var inside []*row
	var questions []question
	for _, r := range rows {
		if !which(r) {
			continue
		}
		address := c.address(r, at)
		switch r.from {
		case "stranger", "friend":
			o := c.stranger
			if r.from == "friend" {
				o = c.friend
			}
			wg.Go(func() {
				if r.got = o.ask(r.protocol, address, r.port, bound); strings.HasPrefix(r.got, "SSH-") {
					r.got = "SSH"
				}
			})
		default:
			inside = append(inside, r)
			questions = append(questions, question{at[r.from].pid, address, r.port, int(bound.Seconds())})
		}
	}
	if len(questions) > 0 {
		for i, answer := range c.askInside(questions) {
			inside[i].got = answer
		}
	}
	wg.Wait()
}

// address is what a row is asked at.
func (c *tries) address(r *row, at map[string]place) string {
	pick := func(four, six string) string {
		if r.v == 6 {
			return six
		}
		return four
	}
	switch r.to {
	case "":
		return pick(c.s.Address, c.s.Address6)
	case "outside":
		return pick(c.stranger.IPv4, c.stranger.IPv6)
	case "127.0.0.1":
		return r.to
	}
	return pick(at[r.to].address, at[r.to].address6)
}

// packetFilter is the packet filter without counters and comments, and without
// empty tables, which the start of the unit before Docker may leave.
func (e *engine) packetFilter() string {
	e.Helper()
	return e.s.SSH(e, `for p in iptables ip6tables; do for t in filter nat; do $p-save -t $t | sed -e '/^#/d' -e 's/ \[.*//'; done; $p-save -t mangle | grep '^-A' || :; done`)
}
