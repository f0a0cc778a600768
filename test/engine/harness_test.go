package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
	"github.com/kamal-terraform/terraform-provider-kamal/test/byhand"
	"github.com/kamal-terraform/terraform-provider-kamal/test/testbed"
)

// What tests of every tier share, under short names.
var (
	inspect        = byhand.Inspect
	names          = byhand.Names
	footprint      = byhand.Footprint
	images         = byhand.Images
	wantSame       = byhand.WantSame
	eventually     = byhand.Eventually
	startLoad      = byhand.StartLoad
	wantNoneFailed = byhand.WantNoneFailed
	entryOptions   = byhand.EntryOptions
	visit          = byhand.Visit
	wantVersion    = byhand.WantVersion
	wantStatus     = byhand.WantStatus
	wantPort       = byhand.WantPort
	proxyCLI       = byhand.ProxyCLI
	proxyEntry     = byhand.ProxyEntry
	proxyState     = byhand.ProxyState
	selfSigned     = byhand.SelfSigned
)

var bringUpBed = sync.OnceValues(func() (*testbed.Bed, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Minute)
	defer cancel()
	return testbed.Up(ctx, testbed.Options{Logf: func(format string, args ...any) {
		fmt.Fprintf(os.Stderr, "testbed: "+format+"\n", args...)
	}})
})

// An engine is a server of the testbed and who works on it.
type engine struct {
	*testing.T
	bed *testbed.Bed
	// s is the server, servers are s and what another has added.
	s       *testbed.Server
	servers []*testbed.Server
	kind    testbed.Kind

	// run is the latest process of the provider.
	run *run
	// looks is the run that snapshot looks with, nil before.
	looks *run
	// options change how a run connects.
	options []option
}

// onEngines runs a test on a server of each engine that the table has for it.
func onEngines(t *testing.T, test func(e *engine)) {
	t.Helper()
	t.Parallel()
	on, err := enginesOf(t.Name())
	if err != nil {
		t.Fatal(err)
	}
	onKinds(t, on, test)
}

// onKinds runs a test on a server of each kind.
func onKinds(t *testing.T, kinds []testbed.Kind, test func(e *engine)) {
	t.Helper()
	if os.Getenv("TF_ACC") == "" {
		t.Skip("starts real servers: set TF_ACC=1, as root")
	}
	b, err := bringUpBed()
	if err != nil {
		t.Fatalf("testbed: %v", err)
	}
	for _, kind := range kinds {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			e := &engine{T: t, bed: b, kind: kind}
			e.s = e.another(kind)
			test(e)
		})
	}
}

// another is one more server, which goes back with the test.
func (e *engine) another(kind testbed.Kind) *testbed.Server {
	e.Helper()
	s := e.bed.Warm(e.T, kind)
	e.servers = append(e.servers, s)
	return s
}

// in is the engine for a subtest, which fails in its place.
func (e *engine) in(name string, test func(e *engine)) {
	e.Helper()
	e.Run(name, func(t *testing.T) {
		sub := *e
		sub.T = t
		test(&sub)
		e.run = sub.run
	})
}

// ctx outlives the test's own context, so that clean-ups can use it.
func (e *engine) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(e.Context()), 10*time.Minute)
	e.Cleanup(cancel)
	return ctx
}

// image is the full reference of an image of the testbed's registry; a name
// that has a registry already, or is empty, stays as it is.
func (e *engine) image(name string) string {
	if name == "" || strings.Count(name, ":") > 1 || strings.HasPrefix(name, e.bed.Registry.Address) {
		return name
	}
	return e.bed.Image(name)
}

// told is an error as a user gets to read it: each failure's summary and detail.
func (e *engine) told(err error) string {
	var out strings.Builder
	for _, each := range flatten(err) {
		var f *fleet.Failure
		if !errors.As(each, &f) {
			f = &fleet.Failure{What: "do it", Err: each}
		}
		fmt.Fprintf(&out, "%s\n\n%s\n\n", f.Summary(), f.Detail())
	}
	text := e.run.fleet.Redact(out.String())
	e.Log(text)
	return text
}

// flatten takes the outermost errors.Join apart.
func flatten(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	if err == nil {
		return nil
	}
	return []error{err}
}

// wantFailure wants an error that tells all of the texts; it returns what it told.
func (e *engine) wantFailure(err error, texts ...string) string {
	e.Helper()
	if err == nil {
		e.Fatalf("it succeeded, want a failure that says %q", texts)
	}
	told := e.told(err)
	for _, text := range texts {
		if !says(told, text) {
			e.Errorf("it failed, but doesn't say %q:\n%s", text, told)
		}
	}
	return told
}

// must ends the test at an error.
func (e *engine) must(err error) {
	e.Helper()
	if err != nil {
		e.Fatal(e.told(err))
	}
}

// says tells whether a text holds another, whatever line breaks are in them.
func says(text, part string) bool { return strings.Contains(squash(text), squash(part)) }

// squash turns all runs of white space into one space.
func squash(s string) string { return strings.Join(strings.Fields(s), " ") }

// without are the elements of a that are not in b.
func without(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return slices.Contains(b, s) })
}
