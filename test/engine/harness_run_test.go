package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

// A run is what one process of the provider is: a fleet with connections of its
// own, which know nothing of an earlier one.
type run struct {
	fleet *fleet.Fleet
	pool  *sshexec.Pool
	log   *log
}

// An option changes how runs connect, or what their provider is configured with.
type option func(*fleet.Fleet, *sshexec.Options)

// newRun begins a process of the provider. The one before stays as it is: two
// of them at a time are what two people do. With the test it ends.
func (e *engine) newRun(options ...option) *run {
	e.Helper()
	r := &run{log: &log{}}
	all := append(slices.Clone(e.options), options...)
	r.pool = sshexec.NewPool(func(string) (sshexec.Options, error) {
		o := sshexec.Options{PrivateKeyFile: e.bed.KeyFile, KnownHosts: e.bed.KnownHostsFile}
		for _, change := range all {
			change(r.fleet, &o)
		}
		r.pool.AddSecret(o.Passphrase, o.SudoPassword, o.PrivateKey)
		return o, nil
	}, r.log)
	r.fleet = fleet.New(r.pool)
	registry := e.bed.Registry
	r.fleet.Logins = docker.Logins{registry.Address: {Username: registry.Username, Password: registry.Password}}
	r.fleet.AddSecret(registry.Password)
	for _, change := range all {
		change(r.fleet, &sshexec.Options{})
	}
	e.Cleanup(func() {
		r.kill()
		r.log.mustNotHold(e, registry.Password)
	})
	e.run = r
	return r
}

// kill ends all connections for good, as the death of the process does: what
// runs on the servers is cut off, and no clean-up gets through. Calls under way
// have failed when it returns.
func (r *run) kill() { _ = r.pool.Close() } // never fails

// cutOff kills a run and waits until its calls have ended on the server too,
// which is some seconds later.
func (e *engine) cutOff(run *run) {
	e.Helper()
	run.kill()
	eventually(e, time.Minute, "the server ends the calls of the run that was killed", func() bool {
		_, err := e.s.Run(e.ctx(), "! pgrep --full '^/bin/sh -s'")
		return err == nil
	})
}

// age makes a sign of life of a run that was killed as old as that of a dead one.
func (e *engine) age(file string) {
	e.Helper()
	e.s.SSH(e, "touch -d '-1 minute' "+file)
}

// snapshot is what a run that knows nothing of earlier ones sees of a server. It
// leaves e.run as it is, and has a connection from an earlier look, as log-ins
// are a good part of what looks cost.
func (e *engine) snapshot(server string) *fleet.Snapshot {
	e.Helper()
	if applied := e.run; e.looks == nil || len(e.options) > 0 {
		e.looks = e.newRun()
		e.run = applied
	}
	s := e.looks.fleet.Server(server)
	s.Changed()
	snap, err := s.Snapshot(e.ctx())
	if err != nil {
		e.Fatal(e.told(err))
	}
	return snap
}

// log takes what the provider logs.
type log struct {
	mu    sync.Mutex
	calls []call
	text  strings.Builder
}

// A call is a log line about an SSH connection or a remote call.
type call struct {
	server, title string
	handshake     bool
}

// Debug takes a message of package sshexec.
func (l *log) Debug(_ context.Context, msg string, fields map[string]any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintln(&l.text, msg, fields)
	server, _ := fields["server"].(string)
	switch msg {
	case "ssh handshake":
		l.calls = append(l.calls, call{server: server, handshake: true})
	case "remote call":
		title, _ := fields["call"].(string)
		l.calls = append(l.calls, call{server: server, title: title})
	}
}

// mustNotHold fails the test if a value is in the log.
func (l *log) mustNotHold(e *engine, value string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if value != "" && strings.Contains(l.text.String(), value) {
		e.Errorf("a secret is in the log")
	}
}

// handshakes counts the connections that a run made to a server.
func (r *run) handshakes(server string) int {
	r.log.mu.Lock()
	defer r.log.mu.Unlock()
	n := 0
	for _, c := range r.log.calls {
		if c.handshake && c.server == server {
			n++
		}
	}
	return n
}

// remoteCalls are the titles of the calls that a run made to a server, in
// order, without signs of life: how many there are, only time tells.
func (r *run) remoteCalls(server string) []string {
	r.log.mu.Lock()
	defer r.log.mu.Unlock()
	var titles []string
	for _, c := range r.log.calls {
		if !c.handshake && c.server == server && c.title != "give a sign of life" {
			titles = append(titles, c.title)
		}
	}
	return titles
}

// under runs something in the background.
type under struct {
	done chan struct{}
	err  error
}

// start does something in the background; its end is waited for with the test.
func (e *engine) start(do func() error) *under {
	u := &under{done: make(chan struct{})}
	go func() {
		defer close(u.done)
		u.err = do()
	}()
	e.Cleanup(func() { <-u.done })
	return u
}

// wait waits for the end and returns the error.
func (u *under) wait() error {
	<-u.done
	return u.err
}

// running says that it has not ended.
func (u *under) running() bool {
	select {
	case <-u.done:
		return false
	default:
		return true
	}
}
