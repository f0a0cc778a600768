package approle

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strconv"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/kamal"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/proxy"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/secret"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

// switchTries bounds how often a switch is computed anew because somebody else
// changed kamal-proxy's routes in between.
const switchTries = 5

// finish moves the traffic to the new container, stops the old one and tidies
// up, in one remote call.
func (r *rollout) finish(ctx context.Context, s *site) error {
	spec := r.Spec
	if e := s.have.Entry; e != nil && len(e.Targets()) > 0 {
		s.before = e.Targets()[0]
	}
	return r.change(ctx, s, "switch to the new container", s.target(spec), func(b *fleet.Batch) {
		// First, so that the new container is known whatever the tidying up comes to.
		b.Run("inspect", "inspect the new container", "docker", "container", "inspect", s.newID)
		if !spec.Boot.StopFirst {
			r.addStop(b, s.plan.Old)
		}
		b.Run("latest", "tag the image as the latest one", "docker", "tag", spec.Image, r.repository()+":"+spec.Role.LatestTag())
		b.Add("audit", r.audit("Booted app version "+spec.Version()))
	})
}

// settle mends a server whose container fits: what a run that died left undone.
func (r *rollout) settle(ctx context.Context, s *site) error {
	target := ""
	if s.plan.Target != nil {
		target = s.plan.Target.ShortID() + ":" + strconv.Itoa(r.Spec.AppPort)
	}
	err := r.change(ctx, s, "finish what an earlier run began", target, func(b *fleet.Batch) {
		b.Run("inspect", "inspect the container", "docker", "container", "inspect", s.have.Current.ID)
		r.addStop(b, s.plan.Old)
		b.Add("audit", r.audit("Finished booting app version "+r.Spec.Version()))
	})
	if err != nil {
		return r.failure(s, "", "", "", err)
	}
	return nil
}

// change is one call that switches the role's service to a target, if it has
// one, and then does the rest. It is repeated, computed anew, while somebody
// else changes the routes between our look and our switch.
func (r *rollout) change(ctx context.Context, s *site, title, target string, rest func(*fleet.Batch)) error {
	// Without an entry there is nothing to move, unless a route makes one meanwhile.
	moves := s.have.Snapshot.Proxy.Container != nil && target != "" && r.Spec.AppPort > 0
	if moves {
		done, err := s.server.QueueProxy(ctx)
		if err != nil {
			return err
		}
		defer done()
	}
	for try := 1; ; try++ {
		b := fleet.NewBatch(title)
		b.Add("lock", kamal.HoldsLock(r.Spec.Role.App(), r.fleet.Run))
		switch {
		case !moves:
		case s.have.Entry == nil:
			b.Add("switch", fleet.RoutesAre(s.have.Snapshot.Proxy.Sum))
		default:
			argv, err := s.have.Entry.DeployArgv(r.target(target))
			if err != nil {
				return err
			}
			b.Add("switch", proxy.ChangeSteps(s.have.Snapshot.Proxy.Sum, "switch kamal-proxy to the new container", argv)...)
		}
		rest(b)
		if r.alone() {
			r.addClosing(b, s)
		}
		res, err := s.server.Change(ctx, b.Call)
		if err != nil {
			return err
		}
		if sw := b.Result(res, "switch"); sw.Ran && sw.ExitCode == fleet.RoutesChanged && try < switchTries {
			if err := s.refreshEntry(r.Spec.Role, string(sw.Stdout)); err != nil {
				return err
			}
			continue
		}
		if !b.Done(res, "lock") || b.Has("switch") && !b.Done(res, "switch") {
			return b.Failed(res)
		}
		// From here on the new container serves, whatever else fails.
		s.switched = true
		r.note(s, b, res)
		if b.Done(res, "unlock") {
			r.setLocked(s, false)
		}
		if err := b.Failed(res); err != nil {
			r.warn(fmt.Sprintf("%s %s serves on %s, but tidying up failed", r.Spec.Role.Prefix(), r.Spec.Version(), s.name), err.Error())
		}
		return nil
	}
}

// target is what the role gives to its service at the proxy.
func (r *rollout) target(address string) proxy.Target {
	return proxy.Target{Address: address, Health: r.Spec.Health, DeployTimeout: r.Spec.DeployTimeout, DrainTimeout: r.Spec.DrainTimeout}
}

// refreshEntry takes the service's options from a state file that somebody
// changed meanwhile; "" where there is no kamal-proxy.
func (s *site) refreshEntry(role kamal.Role, state string) error {
	if state == "" {
		s.have.Entry = nil
		return nil
	}
	entries, err := proxy.ParseState(state)
	if err != nil {
		return err
	}
	snap := *s.have.Snapshot
	snap.Proxy = snap.Proxy.NewProxyState(state)
	s.have.Snapshot = &snap
	s.have.Entry = proxy.Find(entries, role.Prefix())
	return nil
}

// note keeps what the call saw of the container that serves now.
func (r *rollout) note(s *site, b *fleet.Batch, res *sshexec.Result) {
	list, err := docker.ParseContainers(b.Result(res, "inspect").Stdout)
	if err != nil || len(list) != 1 {
		return
	}
	have := Observed{Server: s.name, Role: r.Spec.Role, Current: &list[0], Image: s.imageOf(r.Spec), Snapshot: s.have.Snapshot}
	in, ok := have.Instance(r.Spec, nil)
	if !ok {
		return
	}
	if !in.Running {
		// The plan promised one that runs, and it did a moment ago. The next look says what has become of it.
		r.warn(fmt.Sprintf("%s ended on %s right after the switch", list[0].ContainerName(), s.name), "Its state is "+list[0].Status()+". The next plan shows it. Look at its log: docker logs "+list[0].ContainerName())
		in.Running = true
	}
	s.instance = &in
}

// alone says that one server is all there is: then its last call closes it too.
func (r *rollout) alone() bool { return len(r.sites)+len(r.leaving) == 1 }

// addClosing adds what ends the work on a server: old containers and images
// go, the mark says that the role is complete, the lock is given back.
func (r *rollout) addClosing(b *fleet.Batch, s *site) {
	r.addPrune(b, s)
	// A create has marked the role as unfinished, whatever was there before.
	if mark := s.have.Mark; r.Create || mark == nil || mark.State != kamal.MarkOwned {
		b.Add("owned", kamal.WriteMark(r.mark(kamal.MarkOwned)))
	}
	b.Add("unlock", kamal.Unlock(r.Spec.Role.App(), r.fleet.Run))
}

// addPrune removes what is beyond retain_containers, counted for this role
// alone, and the images that only those containers used. It never fails a
// good deploy.
func (r *rollout) addPrune(b *fleet.Batch, s *site) {
	ids, refs := prunable(r.Spec, s.have, s.plan)
	assets := s.have.assets()
	if s.plan.Swap {
		assets = r.Spec.assetsName()
	}
	r.addRemoveAssets(b, s, assets)
	r.addRemoveMounts(b, s, slices.DeleteFunc(s.have.all(), func(c docker.Container) bool {
		return slices.Contains(ids, c.ID) || s.plan.removes(c.ID)
	}))
	if len(ids) == 0 {
		return
	}
	b.Add("prune", sshexec.Step{Title: "remove containers beyond retain_containers", KeepGoing: true,
		Script: sshexec.Join(append([]string{"docker", "rm"}, ids...)...)})
	if len(refs) > 0 {
		b.Add("prune images", sshexec.Step{Title: "remove the images that only they used", KeepGoing: true,
			Script: sshexec.Join(append([]string{"docker", "image", "rm"}, refs...)...)})
	}
}

// addRemoveMounts removes the secret files that neither the new container nor
// those in keep have.
func (r *rollout) addRemoveMounts(b *fleet.Batch, s *site, keep []docker.Container) {
	dirs := []string{path.Base(s.mount.Dir)}
	for _, c := range keep {
		for _, m := range s.have.Snapshot.SecretMounts(c) {
			dirs = append(dirs, m.Base)
		}
	}
	stale := slices.ContainsFunc(s.have.Snapshot.SecretDirs(r.Spec.Role.App(), r.Spec.mountOwner()),
		func(dir string) bool { return !slices.Contains(dirs, dir) })
	if stale || !s.mount.Empty() {
		b.Add("mounts", secret.RemoveMounts(r.Spec.Role.App(), r.Spec.mountOwner(), dirs))
	}
}

// addRemoveMount removes the secret files of a new container that was given up.
func (s *site) addRemoveMount(b *fleet.Batch) {
	if !s.mount.Empty() {
		b.Add("mount", s.mount.Remove())
	}
}

// prunable are the containers that are beyond spec.Retain once plan is done,
// and the images that no container uses without them.
func prunable(spec Spec, have Observed, plan Plan) (ids, refs []string) {
	used := map[string]bool{spec.Image: true}
	pruned := map[string]bool{}
	kept := 0
	for _, c := range have.all() {
		serves := !plan.Swap && c.ID == have.Current.ID
		gone := slices.ContainsFunc(plan.Remove, func(x docker.Container) bool { return x.ID == c.ID })
		switch {
		case serves || gone:
		case kept < spec.Retain:
			kept++
		default:
			pruned[c.ID] = true
			ids = append(ids, c.ID)
		}
	}
	for _, c := range have.Snapshot.Containers {
		if c.Config != nil && !pruned[c.ID] {
			used[c.Config.Image] = true
		}
	}
	for _, c := range have.all() {
		if ref := c.Config.Image; pruned[c.ID] && !used[ref] {
			used[ref] = true
			refs = append(refs, ref)
		}
	}
	return ids, refs
}

func (r *rollout) repository() string {
	ref, _ := docker.ParseRef(r.Spec.Image) // checked at plan
	return ref.Repository
}

func (r *rollout) audit(message string) sshexec.Step {
	role := r.Spec.Role
	return kamal.Audit(role.App(), time.Now(), []string{r.fleet.By, role.Destination, role.Role}, message)
}

// imageOf is the image that the new container runs, nil if the server hasn't got it.
func (s *site) imageOf(spec Spec) *docker.Image {
	if s.image != nil {
		return s.image
	}
	return docker.FindImage(spec.Image, s.have.Snapshot.Images)
}
