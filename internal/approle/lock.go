package approle

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/kamal"
)

// lockAll takes the deploy lock on every server, in sorted order so that two
// runs can't wait for each other, and observes in the same calls.
func (r *rollout) lockAll(ctx context.Context) error {
	sites := r.all()
	slices.SortFunc(sites, func(a, b *site) int { return strings.Compare(a.name, b.name) })
	for _, s := range sites {
		err := r.lock(ctx, s)
		switch {
		case err == nil:
		case slices.Contains(r.leaving, s) && fleet.IsGone(err):
			s.gone = true
			var f *fleet.Failure
			if errors.As(err, &f) {
				err = f.Err
			}
			r.warn(fmt.Sprintf("%s is no longer there", s.name),
				fmt.Sprintf("%v\n\nThe role %s left it without a clean-up. If the machine still exists somewhere, these may be left on it: containers named %s-*, %s, and the service %s at its kamal-proxy.",
					err, r.Spec.Role.Prefix(), r.Spec.Role.Prefix(), kamal.AppDir(r.Spec.Role.App()), r.Spec.Role.Prefix()))
		default:
			return err
		}
	}
	return nil
}

func (r *rollout) lock(ctx context.Context, s *site) error {
	_, snap, locked, err := r.fleet.LockApp(ctx, s.server, r.Spec.Role.App(), r.Spec.Version())
	if locked {
		r.setLocked(s, true)
	}
	if err == nil {
		s.have, err = Observe(snap, r.Spec.Role, r.Recorded[s.name])
		s.have.DeadLock = false // the lock that was dead is ours now
	}
	if err == nil {
		return nil
	}
	var f *fleet.Failure
	if !errors.As(err, &f) {
		f = &fleet.Failure{Server: s.name, Err: err}
	}
	f.What, f.Running = r.what(), s.runningNow(r.Spec)
	return f
}

// checkAll refuses what must not begin, before anything is changed.
func (r *rollout) checkAll() error {
	var errs []error
	machines := map[string]string{}
	for _, s := range r.sites {
		id := s.have.Snapshot.Facts.MachineID
		if other := machines[id]; other != "" && id != "" {
			errs = append(errs, &fleet.Failure{What: r.what(), Server: s.name,
				Cause:   fmt.Sprintf("%s and %s are the same machine (machine-id %s), so the role would replace itself", other, s.name, id),
				Running: s.runningNow(r.Spec), Next: "name each machine once in servers. Servers that were cloned from one image can share an id by mistake: rm /etc/machine-id && systemd-machine-id-setup on one of them gives it a new one."})
		}
		machines[id] = s.name
		if err := r.check(s); err != nil {
			errs = append(errs, err)
		}
	}
	r.dropRenamed()
	return errors.Join(errs...)
}

// dropRenamed takes servers off the leaving ones that left under one name and
// stay under another. A machine without a machine-id is known by its name alone.
func (r *rollout) dropRenamed() {
	r.leaving = slices.DeleteFunc(r.leaving, func(s *site) bool {
		if s.gone || s.have.Snapshot.Facts.MachineID == "" {
			return false
		}
		stays := slices.ContainsFunc(r.sites, func(o *site) bool {
			return o.have.Snapshot.Facts.MachineID == s.have.Snapshot.Facts.MachineID
		})
		if stays {
			r.setLocked(s, false) // it is the staying one's lock
		}
		return stays
	})
}

// hidden is the failure of a server whose docker does not answer, nil where it does.
func (r *rollout) hidden(s *site, what string) error {
	why := s.have.Hidden()
	if why == "" {
		return nil
	}
	return &fleet.Failure{What: what, Server: s.name, Cause: why, Running: s.runningNow(r.Spec),
		Next: "start docker (systemctl start docker), or add a kamal_server for the server, and apply again."}
}

func (r *rollout) check(s *site) error {
	if hidden := r.hidden(s, r.what()); hidden != nil {
		return hidden
	}
	f := &fleet.Failure{What: r.what(), Server: s.name, Running: s.runningNow(r.Spec)}
	if !s.have.Snapshot.Docker.Installed {
		f.Cause, f.Next = "docker is not installed on the server", "add a kamal_server for it, and take `servers` from its `server` attribute, so that it comes first."
		return f
	}
	mark := s.have.Mark
	if !r.Create && (!slices.Contains(r.Joining, s.name) || r.knows(s) || mark == nil && s.have.leftover()) {
		return nil
	}
	if mark != nil && mark.State == kamal.MarkCreating {
		return nil // its run is dead, or it would hold the lock that is ours now
	}
	if s.have.Current == nil || (mark == nil && !s.have.Running()) {
		return nil
	}
	owner := "by hand or by Kamal"
	if mark != nil {
		owner = "by " + mark.By + " with this provider, from another configuration or state"
	}
	f.Cause = fmt.Sprintf("the role is there already: container %s (%s), deployed %s. Two configurations can't own one role",
		s.have.Current.ContainerName(), s.have.Current.Status(), owner)
	again := "import it"
	if !r.Create {
		again = "remove the resource from the state (tofu state rm ADDRESS) and import it with all servers"
	}
	f.Next = "to take it over without a restart, " + again + ": tofu import ADDRESS '" + r.ImportID +
		"' (or terraform import). To deploy beside it, use another service, role or destination."
	return f
}

// knows says that the state has a container of the server, under another of the server's names.
func (r *rollout) knows(s *site) bool {
	return slices.ContainsFunc(s.have.all(), func(c docker.Container) bool {
		return slices.Contains(slices.Collect(maps.Values(r.Recorded)), c.ID)
	})
}
