// Package load sends steady HTTP traffic to servers of the testbed and counts
// what fails, so that tests and the demo can show that a change cost nobody a
// request. It refuses addresses that are neither loopback nor on a Docker
// bridge of this machine.
package load

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxBody bounds what is read of an answer.
	maxBody = 1 << 20
	// maxFailures bounds how many failures are kept with their text.
	maxFailures = 10
)

// A Target is what requests go to.
type Target struct {
	// URL is what a client asks for; its host becomes the Host header.
	URL string
	// Addr is where the connection goes, IP:PORT, whatever the URL's host is.
	Addr string
}

func (t Target) String() string { return t.URL + " at " + t.Addr }

// A Check looks at an answer and returns what is wrong with it. It is called
// from many goroutines.
type Check func(target Target, status int, body []byte) error

// Options say what to send. Zero values take the defaults.
type Options struct {
	Targets []Target
	// Rate is how many requests are sent in a second, over all targets.
	// Default: 200.
	Rate float64
	// Check decides whether an answer is right. Default: status 200.
	Check Check
	// Timeout bounds a request. Default: 10s.
	Timeout time.Duration
	// TLS is used for https URLs; the server name is the URL's host.
	TLS *tls.Config
}

// A Result is what happened between two moments.
type Result struct {
	// Requests counts those that are over, Failed those of them that got no
	// answer or a wrong one.
	Requests, Failed int
	// Failures tells of the first failed ones.
	Failures []string
	// Slowest is the longest that a request took.
	Slowest time.Duration
}

// A Load is traffic under way.
type Load struct {
	options Options
	senders []*sender
	stop    context.CancelFunc
	done    chan struct{}
	check   atomic.Pointer[Check]

	mu     sync.Mutex
	result Result
}

// A sender is one client of one target: one that keeps its connections or one
// that makes a new one for each request.
type sender struct {
	target    Target
	transport *http.Transport
}

// Start begins to send; every other request uses a new connection. The traffic
// ends with Stop or with ctx.
func Start(ctx context.Context, options Options) (*Load, error) {
	if options.Rate == 0 {
		options.Rate = 200
	}
	if options.Timeout == 0 {
		options.Timeout = 10 * time.Second
	}
	if options.Check == nil {
		options.Check = Status(http.StatusOK)
	}
	if len(options.Targets) == 0 || options.Rate < 0 {
		return nil, errors.New("load: no targets, or a negative rate")
	}
	l := &Load{options: options, done: make(chan struct{})}
	l.check.Store(&options.Check)
	for _, keepAlive := range []bool{true, false} {
		for _, target := range options.Targets {
			if err := allowed(target.Addr); err != nil {
				return nil, err
			}
			if _, err := http.NewRequestWithContext(ctx, http.MethodGet, target.URL, nil); err != nil {
				return nil, fmt.Errorf("load: %w", err)
			}
			l.senders = append(l.senders, newSender(target, keepAlive, options.TLS))
		}
	}
	ctx, l.stop = context.WithCancel(ctx)
	go l.run(ctx)
	return l, nil
}

// Status returns a Check that wants a status and takes any body.
func Status(want int) Check {
	return func(_ Target, status int, _ []byte) error {
		if status != want {
			return fmt.Errorf("status %d, want %d", status, want)
		}
		return nil
	}
}

// SetCheck changes what is right for requests sent from now on. An answer to one
// that is under way is right if the old check or the new one says so.
func (l *Load) SetCheck(check Check) { l.check.Store(&check) }

// Take returns what happened since the last Take (or the start) and begins to
// count anew.
func (l *Load) Take() Result {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.result
	l.result = Result{}
	return r
}

// Stop sends nothing more, waits for the requests under way and returns what
// happened since the last Take.
func (l *Load) Stop() Result {
	l.stop()
	<-l.done
	return l.Take()
}

// run keeps to a schedule made at the start, so that slow answers do not lower
// the rate. Requests that are overdue (the machine was busy) are sent at once.
func (l *Load) run(ctx context.Context) {
	defer close(l.done)
	var requests sync.WaitGroup
	defer requests.Wait()
	// Twice what a server that answers nothing could hold up.
	slots := make(chan struct{}, int(2*l.options.Rate*l.options.Timeout.Seconds())+1)
	start := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for n := 0; ; n++ {
		due := start.Add(time.Duration(float64(n) / l.options.Rate * float64(time.Second)))
		timer.Reset(time.Until(due))
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		s := l.senders[n%len(l.senders)]
		select {
		case slots <- struct{}{}:
		default:
			l.count(s.target, 0, fmt.Errorf("not sent: %d requests are waiting for an answer", cap(slots)))
			continue
		}
		requests.Go(func() {
			defer func() { <-slots }()
			begin := time.Now()
			// Not ended by ctx: stopping the load must not fail a request.
			err := l.send(context.WithoutCancel(ctx), s)
			l.count(s.target, time.Since(begin), err)
		})
	}
}

func (l *Load) count(target Target, took time.Duration, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.result.Requests++
	l.result.Slowest = max(l.result.Slowest, took)
	if err == nil {
		return
	}
	l.result.Failed++
	if len(l.result.Failures) < maxFailures {
		l.result.Failures = append(l.result.Failures, fmt.Sprintf("%s %s (%d ms): %v",
			time.Now().Format("15:04:05.000"), target, took.Milliseconds(), err))
	}
}

func (l *Load) send(ctx context.Context, s *sender) error {
	ctx, cancel := context.WithTimeout(ctx, l.options.Timeout)
	defer cancel()
	// net/http silently sends a request again when a kept connection turns out
	// dead. Not every client does: here it counts as a failure.
	connections := 0
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connections++ }})
	before := l.check.Load()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.target.URL, nil)
	if err != nil {
		return err
	}
	// RoundTrip, unlike a Client, follows no redirects.
	response, err := s.transport.RoundTrip(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxBody))
	if err != nil {
		return fmt.Errorf("status %d, then: %w", response.StatusCode, err)
	}
	if connections > 1 {
		return errors.New("the kept connection was closed under the request; it was sent again")
	}
	err = (*before)(s.target, response.StatusCode, body)
	if now := l.check.Load(); err != nil && now != before {
		return (*now)(s.target, response.StatusCode, body)
	}
	return err
}
