package approle

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/kamal"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/proxy"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/secret"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

// close ends the roll-out on every server that is still locked: a failed
// create is undone, a good deploy tidied up, and the lock given back.
func (r *rollout) close(ctx context.Context, failed error) {
	ctx, cancel := cleanup(ctx)
	defer cancel()
	undo := r.Create && failed != nil
	_ = fleet.Each(r.all(), func(s *site) error {
		if !r.isLocked(s) {
			return nil
		}
		b := fleet.NewBatch("give the deploy lock back")
		switch {
		case undo:
			r.addUndo(b, s)
			b.Add("unlock", kamal.Unlock(r.Spec.Role.App(), r.fleet.Run))
		case failed != nil:
			r.addDropAssets(b, s)
			b.Add("unlock", kamal.Unlock(r.Spec.Role.App(), r.fleet.Run))
		default:
			r.addClosing(b, s)
		}
		res, err := s.server.Change(ctx, b.Call)
		if err == nil {
			err = b.Failed(res)
		}
		if b.Done(res, "unlock") {
			r.setLocked(s, false)
		}
		if err != nil {
			s.cleanupErr = err
			r.warn("Not everything could be tidied up on "+s.name,
				fmt.Sprintf("%v\n\nThe deploy lock ~/%s may be left there. The next run of this provider takes it over after %s; for the Kamal CLI, release it with `kamal lock release`.",
					err, kamal.LockDir(r.Spec.Role.App()), kamal.Dead))
		} else {
			s.cleanupErr = nil
		}
		return nil
	})
}

// addUndo takes away what a failed create made: the new containers and the
// mark. What was there before stays.
func (r *rollout) addUndo(b *fleet.Batch, s *site) {
	if !s.started {
		r.addDropAssets(b, s)
		return
	}
	b.Add("lock", kamal.HoldsLock(r.Spec.Role.App(), r.fleet.Run))
	b.Add("rm", sshexec.Step{Title: "remove the new container " + s.plan.Name,
		Script: "ids=$(" + sshexec.Join("docker", "ps", "--all", "--quiet", "--filter", "label="+kamal.LabelRun+"="+r.fleet.Run,
			"--filter", "name=^"+s.plan.Name+"$") + `) || exit; [ -z "$ids" ] || docker rm --force $ids`})
	s.addRemoveMount(b)
	r.addRemoveAssets(b, s, s.have.assets())
	b.Add("mark", kamal.RemoveMark(MarkKind, r.Spec.Role.Prefix()))
	if s.have.Current == nil && len(s.have.SecretNames) == 0 {
		r.addRemoveFiles(b) // nobody had any before
	}
}

// report says what is there after the roll-out.
func (r *rollout) report(ctx context.Context, failed error) Report {
	rep := Report{Instances: map[string]Instance{}, Warnings: r.warnings}
	if failed == nil {
		for _, s := range r.sites {
			switch {
			case s.instance != nil:
			case s.plan.Swap:
				// The look at it failed after the switch; what is known must do.
				s.instance = r.swapped(s)
			default:
				r.keep(s)
			}
			if s.instance != nil {
				rep.Instances[s.name] = *s.instance
			}
		}
		return rep
	}
	for _, s := range r.sites {
		if s.newID != "" {
			rep.Began = append(rep.Began, s.name)
		}
	}
	// After a failure only a new look tells the truth.
	ctx, cancel := cleanup(ctx)
	defer cancel()
	_ = fleet.Each(r.all(), func(s *site) error {
		if s.gone {
			return nil
		}
		_, snap, err := s.server.Observe(ctx, sshexec.Call{Title: "look at the server after the failure"})
		var have Observed
		if err == nil {
			have, err = Observe(snap, r.Spec.Role, r.Recorded[s.name])
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		if err != nil {
			rep.Unseen = append(rep.Unseen, s.name)
			return nil
		}
		if r.Create && s.newID == "" && s.cleanupErr == nil {
			return nil // what is there is not this run's
		}
		if in, ok := have.Instance(r.Spec, nil); ok {
			rep.Instances[s.name] = in
		}
		return nil
	})
	if r.Create {
		r.onlyLeftovers(&rep)
	}
	return rep
}

// onlyLeftovers drops from the report of a failed create what the create
// didn't make, and everything where it was undone.
func (r *rollout) onlyLeftovers(rep *Report) {
	for _, s := range r.sites {
		if s.cleanupErr == nil {
			delete(rep.Instances, s.name)
		}
	}
	rep.Unseen = nil
}

// swapped is the instance of a new container as far as it is known without a look at it.
func (r *rollout) swapped(s *site) *Instance {
	in := &Instance{Container: s.newID, Image: r.Spec.Image, Running: true, MachineID: s.have.Snapshot.Facts.MachineID}
	if image := s.imageOf(r.Spec); image != nil {
		in.Digest = image.DigestOf(in.Image)
	}
	return in
}

// keep fills the instance of a server on which nothing had to be done.
func (r *rollout) keep(s *site) {
	if in, ok := s.have.Instance(r.Spec, nil); ok {
		s.instance = &in
	}
}

// Remove takes a role off its servers: the containers in its state and the
// older ones that it kept. Never the service at the proxy, which is the
// route's, and nothing while a newer container of the role runs.
func Remove(ctx context.Context, f *fleet.Fleet, d Deployment) ([]Warning, error) {
	done, err := f.QueueApp(ctx, d.Spec.Role.App())
	if err != nil {
		return nil, err
	}
	defer done()
	r := newRollout(f, d)
	stop := r.keepAlive(ctx)
	err = r.remove(ctx)
	r.release(ctx)
	stop()
	return r.warnings, err
}

func (r *rollout) remove(ctx context.Context) error {
	var errs []error
	for _, s := range r.sites {
		err := r.lock(ctx, s)
		if err != nil && r.fleet.KeepUnreachable && fleet.IsUnreachable(err) {
			s.gone = true
			r.warn(s.name+" does not answer", fmt.Sprintf("%v\n\nThe role %s was forgotten there, because on_unreachable is \"keep\". If the server comes back, its containers run again.", err, r.Spec.Role.Prefix()))
			continue
		}
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return fleet.Each(r.sites, func(s *site) error { return r.removeFrom(ctx, s) })
}

func (r *rollout) removeFrom(ctx context.Context, s *site) error {
	if s.gone || !s.have.Snapshot.Docker.Installed {
		return nil
	}
	service := r.Spec.Role.Prefix()
	if err := r.hidden(s, "remove "+service); err != nil {
		return err
	}
	list, others := mine(s.have, r.Recorded[s.name])
	if len(others) > 0 {
		r.warn("Another container of "+service+" was left on "+s.name,
			"The state does not know it, so somebody else deployed it: "+others[0].ContainerName()+".")
	}
	if e := s.have.Entry; e != nil && len(others) == 0 {
		r.warn("kamal-proxy on "+s.name+" still has the service "+service,
			"Its target is gone now ("+strings.Join(e.Targets(), ", ")+"), so that its visitors get errors until the role is created again. The service is the route's to remove (kamal_proxy_route).")
	}
	b := fleet.NewBatch("remove the role")
	b.Add("lock", kamal.HoldsLock(r.Spec.Role.App(), r.fleet.Run))
	r.addRemove(b, s, list, len(others) == 0)
	b.Add("unlock", kamal.Unlock(r.Spec.Role.App(), r.fleet.Run))
	res, err := s.server.Change(ctx, b.Call)
	if err == nil {
		err = b.Failed(res)
	}
	if b.Done(res, "unlock") {
		r.setLocked(s, false)
	}
	if err != nil {
		return &fleet.Failure{What: "remove " + service, Server: s.name, Err: err, Next: "run destroy again: it goes on where this one ended."}
	}
	return nil
}

// mine are the containers that the state's role may remove: the recorded one
// and the stopped ones that it kept for going back. Where another container of
// the role runs, that one's owner needs the stopped ones.
func mine(have Observed, recorded string) (list, others []docker.Container) {
	for _, c := range have.all() {
		if c.ID != recorded && c.Running() {
			others = append(others, c)
		}
	}
	for _, c := range have.all() {
		if c.ID == recorded || !c.Running() && len(others) == 0 {
			list = append(list, c)
		}
	}
	return list, others
}

// release gives back the locks that a removal still holds.
func (r *rollout) release(ctx context.Context) {
	ctx, cancel := cleanup(ctx)
	defer cancel()
	_ = fleet.Each(r.all(), func(s *site) error {
		if r.isLocked(s) {
			_, err := s.server.Change(ctx, sshexec.Call{Title: "give the deploy lock back", Steps: []sshexec.Step{kamal.Unlock(r.Spec.Role.App(), r.fleet.Run)}})
			return err
		}
		return nil
	})
}

// leave takes the role off a server that left its list: the service is
// drained and removed, the containers are removed.
func (r *rollout) leave(ctx context.Context, s *site) error {
	if s.gone {
		return nil
	}
	if err := r.hidden(s, "take "+r.Spec.Role.Prefix()+" off"); err != nil {
		return err
	}
	service := r.Spec.Role.Prefix()
	fail := func(err error) error {
		return &fleet.Failure{What: "take " + service + " off", Server: s.name, Err: err, Next: "apply again: it goes on where this run ended."}
	}
	if s.have.Entry != nil {
		done, err := s.server.QueueProxy(ctx)
		if err != nil {
			return fail(err)
		}
		defer done()
	}
	// As with a switch, others may change the routes between our look and our step.
	for try := 1; ; try++ {
		b := fleet.NewBatch("take the role off the server")
		b.Add("lock", kamal.HoldsLock(r.Spec.Role.App(), r.fleet.Run))
		if s.have.Entry != nil {
			b.Add("drain", proxy.ChangeSteps(s.have.Snapshot.Proxy.Sum, "drain and remove the service "+service+" at kamal-proxy",
				proxy.StopArgv(service, r.Spec.DrainTimeout, ""), proxy.RemoveArgv(service))...)
		}
		r.addRemove(b, s, s.have.all(), true)
		b.Add("unlock", kamal.Unlock(r.Spec.Role.App(), r.fleet.Run))
		res, err := s.server.Change(ctx, b.Call)
		if err != nil {
			return fail(err)
		}
		if drain := b.Result(res, "drain"); drain.Ran && drain.ExitCode == fleet.RoutesChanged && try < switchTries {
			if err := s.refreshEntry(r.Spec.Role, string(drain.Stdout)); err != nil {
				return fail(err)
			}
			continue
		}
		if b.Done(res, "unlock") {
			r.setLocked(s, false)
		}
		if err := b.Failed(res); err != nil {
			return fail(err)
		}
		return nil
	}
}

// addRemove stops and removes containers, and with them the role's files and mark where nobody else needs them.
func (r *rollout) addRemove(b *fleet.Batch, s *site, list []docker.Container, files bool) {
	var ids []string
	for _, c := range list {
		if c.Running() {
			r.addStop(b, []docker.Container{c})
		}
		ids = append(ids, c.ID)
	}
	if len(ids) > 0 {
		b.Add("rm", sshexec.Step{Title: "remove the containers of the role",
			Script: "for c in " + strings.Join(ids, " ") + `; do ! docker container inspect "$c" >/dev/null 2>&1 || docker rm --force "$c" || exit; done`})
	}
	if !files {
		return
	}
	r.addRemoveAssets(b, s, "")
	r.addRemoveFiles(b)
	b.Add("mark", kamal.RemoveMark(MarkKind, r.Spec.Role.Prefix()))
	b.Add("audit", r.audit("Removed app"))
}

// addRemoveFiles removes the role's env file, and the directories that are empty without it.
func (r *rollout) addRemoveFiles(b *fleet.Batch) {
	role := r.Spec.Role
	dir := sshexec.Quote(kamal.AppDir(role.App()))
	b.Add("mounts", secret.RemoveMounts(role.App(), r.Spec.mountOwner(), nil))
	b.Add("files", sshexec.Step{Title: "remove the role's files",
		Script: "rm -f " + sshexec.Quote(kamal.RoleEnvFile(role)) + "; rmdir " + dir + "/env/roles " + dir + "/env " + dir + " 2>/dev/null; :"})
}
