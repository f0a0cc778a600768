package firewall

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// The chains. gate is what DOCKER-USER jumps to: it lets replies through and
// sends what comes in from outside to allow, which ends with the DROP. Where a
// chain lets something through it returns, so that the rules of others and
// Docker's own still decide.
const (
	gate  = "KAMAL-FW"
	allow = "KAMAL-FW-ALLOW"
)

// A rule is one rule of iptables as far as ours go, in a form that can be
// compared: iptables prints rules in an order and spelling of its own.
type rule struct {
	chain, in, source, protocol    string
	states, dir, origDst, origPort string
	target                         string
	// other is what else there is: ours have nothing.
	other string
}

// wanted is our rules for IP version v.
//
// A rule names the port that the host published, which after DNAT only
// conntrack knows. A packet of a connection that a container opened carries a
// port of the same number now and then, so only connections that were
// DNATed on their way in count, and only packets in their first direction.
func wanted(v int, s Spec, guarded []string) []rule {
	out := []rule{{chain: gate, states: "ESTABLISHED,RELATED", target: "RETURN"}}
	for _, name := range guarded {
		out = append(out, rule{chain: gate, in: name, states: "DNAT", dir: "ORIGINAL", target: allow})
	}
	if v == 4 {
		// A neighbour can send a packet for 127.0.0.1 to the server, and
		// Docker before version 28 takes it.
		out = append(out, rule{chain: allow, origDst: "127.0.0.0/8", target: "DROP"})
	}
	for _, r := range s.Allow {
		ports, err := ParsePorts(r.Port)
		if err != nil {
			continue // Validate tells
		}
		one := rule{chain: allow, protocol: r.protocol(), origPort: ports.String(), target: "RETURN"}
		sources, everybody := r.family(v)
		if everybody {
			out = append(out, one)
		}
		for _, p := range sources {
			one.source = source(p)
			out = append(out, one)
		}
	}
	return append(out, rule{chain: allow, target: "DROP"})
}

// source is a network as we compare it: "" for all.
func source(p netip.Prefix) string {
	if p.Bits() == 0 {
		return ""
	}
	return p.Masked().String()
}

// String is the rule as iptables-restore reads it.
func (r rule) String() string {
	var b strings.Builder
	b.WriteString("-A " + r.chain)
	flag := func(name, value string) {
		if value != "" {
			b.WriteString(" " + name + " " + value)
		}
	}
	flag("-s", r.source)
	flag("-i", r.in)
	flag("-p", r.protocol)
	if r.states+r.dir+r.origDst+r.origPort != "" {
		b.WriteString(" -m conntrack")
	}
	flag("--ctstate", r.states)
	flag("--ctorigdst", r.origDst)
	flag("--ctorigdstport", r.origPort)
	flag("--ctdir", r.dir)
	flag("-j", r.target)
	return b.String()
}

// render is a file of rules: the chains and what is in them.
func render(rules []rule) string {
	var b strings.Builder
	fmt.Fprintf(&b, ":%s - [0:0]\n:%s - [0:0]\n", gate, allow)
	for _, r := range rules {
		b.WriteString(r.String() + "\n")
	}
	return b.String()
}

// parseRule reads a line of iptables-save.
func parseRule(line string) rule {
	var r rule
	words := split(line)
	for i := 0; i < len(words); i++ {
		value := func() string {
			if i++; i < len(words) {
				return words[i]
			}
			return ""
		}
		switch words[i] {
		case "-A":
			r.chain = value()
		case "-i":
			r.in = value()
		case "-s":
			r.source = value()
			if p, err := netip.ParsePrefix(r.source); err == nil {
				r.source = source(p)
			}
		case "-p":
			r.protocol = value()
		case "--ctstate":
			states := strings.Split(value(), ",")
			slices.Sort(states)
			r.states = strings.Join(states, ",")
		case "--ctdir":
			r.dir = value()
		case "--ctorigdst":
			r.origDst = value()
		case "--ctorigdstport":
			r.origPort = value()
		case "-j":
			r.target = value()
		case "--comment":
			value()
		case "-m":
			if m := value(); m != "conntrack" && m != "comment" {
				r.other += " -m " + m
			}
		default:
			r.other += " " + words[i]
		}
	}
	return r
}

// split cuts a line of iptables-save into words: a word with blanks is quoted.
func split(line string) []string {
	var words []string
	var word strings.Builder
	quoted, escaped, begun := false, false, false
	end := func() {
		if begun {
			words = append(words, word.String())
		}
		word.Reset()
		begun = false
	}
	for _, c := range line {
		switch {
		case escaped:
			word.WriteRune(c)
			escaped = false
		case quoted && c == '\\':
			escaped = true
		case c == '"':
			quoted, begun = !quoted, true
		case c == ' ' && !quoted:
			end()
		default:
			word.WriteRune(c)
			begun = true
		}
	}
	end()
	return words
}

// compare says in what chains differ from what is wanted, "" where they mean
// the same. The order among the rules that let something through has no meaning.
func compare(want, is []rule) string {
	if slices.Equal(meaning(want), meaning(is)) {
		return ""
	}
	missing, added := subtract(want, is), subtract(is, want)
	var said []string
	if len(missing) > 0 {
		said = append(said, listed("missing", missing))
	}
	if len(added) > 0 {
		said = append(said, listed("not ours", added))
	}
	if said == nil {
		return "its rules are in another order"
	}
	return strings.Join(said, "; ")
}

func listed(what string, rules []rule) string {
	const show = 3
	var texts []string
	for _, r := range rules[:min(show, len(rules))] {
		texts = append(texts, strings.TrimPrefix(r.String()+r.other, "-A "))
	}
	if n := len(rules) - show; n > 0 {
		texts = append(texts, fmt.Sprintf("and %d more", n))
	}
	return what + ": " + strings.Join(texts, ", ")
}

// meaning is the rules of both chains, sorted where the order means nothing:
// within a run of rules of one chain with one target.
func meaning(rules []rule) []rule {
	out := slices.Clone(rules)
	slices.SortStableFunc(out, func(a, b rule) int { return strings.Compare(a.chain, b.chain) })
	for i := 0; i < len(out); {
		j := i
		for j < len(out) && out[j].chain == out[i].chain && out[j].target == out[i].target {
			j++
		}
		slices.SortFunc(out[i:j], func(a, b rule) int { return strings.Compare(a.String()+a.other, b.String()+b.other) })
		i = j
	}
	return slices.Compact(out)
}

func subtract(a, b []rule) []rule {
	in := make(map[rule]bool, len(b))
	for _, r := range b {
		in[r] = true
	}
	var out []rule
	for _, r := range a {
		if !in[r] {
			out = append(out, r)
		}
	}
	return out
}
