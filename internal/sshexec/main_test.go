package sshexec_test

import (
	"context"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec/sshtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// optionsFor returns options that reach and trust srv.
func optionsFor(srv *sshtest.Server) sshexec.Options {
	return sshexec.Options{PrivateKey: srv.Key, KnownHosts: srv.KnownHosts}
}

// newPool returns a pool that gives every destination the same options.
func newPool(t testing.TB, o sshexec.Options, log sshexec.Logger) *sshexec.Pool {
	t.Helper()
	p := sshexec.NewPool(func(string) (sshexec.Options, error) { return o, nil }, log)
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// newClient returns a client of srv.
func newClient(t testing.TB, srv *sshtest.Server) *sshexec.Client {
	t.Helper()
	return newPool(t, optionsFor(srv), nil).Client(srv.Addr)
}

// timeout is a context that ends a hanging test long before go test does.
func timeout(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func steps(scripts ...string) sshexec.Call {
	call := sshexec.Call{Title: "test call"}
	for _, s := range scripts {
		call.Steps = append(call.Steps, sshexec.Step{Title: "step " + s, Script: s})
	}
	return call
}

// mustRun runs a call that the transport must bring to its end.
func mustRun(t testing.TB, c *sshexec.Client, call sshexec.Call) *sshexec.Result {
	t.Helper()
	r, err := c.Run(timeout(t), call)
	if err != nil {
		t.Fatalf("Run: %v", err)
	}
	return r
}

func contextWithCancel(t testing.TB) (context.Context, context.CancelFunc) {
	return context.WithCancel(timeout(t))
}
