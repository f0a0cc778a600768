package fleet

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/kamal"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

// lockWait bounds the wait for a deploy of somebody else; Kamal's own is 15 minutes.
const lockWait = 5 * time.Minute

// LockApp takes an app's deploy lock on a server and looks at the server, after
// the steps in extra, in the same remote call; it waits for a deploy that holds
// the lock. The Result holds the lock's step and those of extra.
//
// locked says that the lock is ours, which it may be although there is an
// error. An error that is a *Failure lacks What and Running.
func (f *Fleet) LockApp(ctx context.Context, s *Server, app, version string, extra ...sshexec.Step) (res *sshexec.Result, snap *Snapshot, locked bool, err error) {
	until := time.Now().Add(lockWait)
	var held *Failure
	for {
		call := sshexec.Call{Title: "take the deploy lock and look at the server"}
		call.Steps = append([]sshexec.Step{kamal.Lock(app, f.Run, f.By, version, time.Now())}, extra...)
		res, snap, err = s.Observe(ctx, call)
		var cut *sshexec.InterruptedError
		// Where the outcome is not known it is to be given back, which does nothing if it is another's.
		locked = locked || errors.As(err, &cut) || res != nil && res.Steps[0].Ran && res.Steps[0].ExitCode == 0
		switch {
		case err != nil && held != nil && ctx.Err() != nil:
			// Time ran out during a try: what it waited for says more than where it was cut.
			held.Err = err
			return res, nil, locked, held
		case err != nil || snap != nil:
			return res, snap, locked, err
		case res.Steps[0].ExitCode != kamal.LockTaken:
			return res, nil, locked, res.Err()
		}
		holder := kamal.ParseLock(app, res.Out(0))
		held = &Failure{
			Server: s.Name, Step: "take the deploy lock of " + app, Cause: "the lock is held:\n" + holder.Details,
			Next: "wait for that deploy. If nobody is deploying (a `kamal deploy` that was interrupted leaves its lock), release it with `kamal lock release`, or remove ~/" +
				kamal.LockDir(app) + " on " + s.Name + ", and apply again.",
		}
		if holder.Run == "" && holder.Details != "" && !holder.Automatic() || time.Now().After(until) {
			return res, nil, false, held
		}
		if err := Pause(ctx, 2*time.Second); err != nil {
			held.Err = err
			return res, nil, false, held
		}
	}
}

// SignOfLife is the call by which a run tells that it lives, in the files that
// still are the run's.
func SignOfLife(run string, files ...string) sshexec.Call {
	return sshexec.Call{Title: "give a sign of life", Steps: []sshexec.Step{kamal.SignOfLife(run, files...)}}
}

// KeepAlive gives signs of life in an app's lock and in files on a server, so
// that nobody takes this run for dead, until stop is called: also while an
// interrupted run tidies up.
func (f *Fleet) KeepAlive(ctx context.Context, s *Server, app string, files ...string) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	call := SignOfLife(f.Run, append(files, kamal.LockDir(app)+"/run")...)
	var wg sync.WaitGroup
	wg.Go(func() {
		for Pause(ctx, kamal.Beat) == nil {
			// A beat that fails is followed by the next; the steps check the lock before each effect.
			_, _ = s.Read(ctx, call)
		}
	})
	return func() { cancel(); wg.Wait() }
}
