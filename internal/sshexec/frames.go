package sshexec

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// frames cuts one output stream at the markers of a call.
type frames struct {
	mark []byte // what every marker of the call starts with

	mu     sync.Mutex
	buf    []byte // output since the last marker
	from   int    // no marker starts in buf before it
	noise  []byte // what came before the begin marker
	begun  bool
	ended  bool
	noSudo bool
	steps  []frame
}

// A frame is what one step wrote to the stream.
type frame struct {
	ran  bool
	code int
	out  []byte
}

func newFrames(nonce string, steps int) *frames {
	return &frames{mark: []byte(string(rune(markSeparator)) + nonce + " "), steps: make([]frame, steps)}
}

// write takes output and says whether it held the end of the call.
func (f *frames) write(p []byte) (ended bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended {
		return false
	}
	f.buf = append(f.buf, p...)
	for !f.ended {
		i := bytes.Index(f.buf[f.from:], f.mark)
		if i < 0 {
			f.from = max(0, len(f.buf)-len(f.mark)+1)
			return false
		}
		start := f.from + i
		body := f.buf[start+len(f.mark):]
		end := bytes.IndexByte(body, markSeparator)
		if end < 0 {
			f.from = start
			return false
		}
		kind, code, _ := strings.Cut(string(body[:end]), " ")
		out := f.buf[:start:start]
		f.buf, f.from = body[end+1:], 0
		f.take(kind, code, out)
	}
	return true
}

func (f *frames) take(kind, code string, out []byte) {
	switch kind {
	case markSudo:
		// What came before is the login shell's noise, not sudo's.
		f.noise = nil
	case markNoSudo:
		f.noise = append(f.noise, out...)
		f.noSudo, f.ended = true, true
	case markBegin:
		f.noise, f.begun = append(f.noise, out...), true
	case markEnd:
		f.ended = true
	default:
		i, err := strconv.Atoi(kind)
		if err != nil || i < 0 || i >= len(f.steps) {
			return
		}
		n, err := strconv.Atoi(code)
		if err != nil {
			n = -1
		}
		f.steps[i] = frame{ran: true, code: n, out: out}
	}
}

// A cut is what frames had read at one moment.
type cut struct {
	begun, ended, noSudo bool
	noise                []byte
	steps                []frame
}

func (f *frames) snapshot() cut {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := cut{begun: f.begun, ended: f.ended, noSudo: f.noSudo, noise: bytes.Clone(f.noise), steps: slices.Clone(f.steps)}
	if !f.begun && !f.ended {
		c.noise = append(c.noise, f.buf...)
	}
	return c
}
