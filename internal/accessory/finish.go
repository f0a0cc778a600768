package accessory

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/kamal"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/proxy"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

// switchTries bounds how often a switch is computed anew because somebody else
// changed kamal-proxy's routes in between.
const switchTries = 5

// cleanupTime bounds what is done after a failure, beside the waits it has.
const cleanupTime = time.Minute

// port is the one at which kamal-proxy reaches the container: the spec's, else
// that of a service that somebody deployed by hand.
func (j *job) port() int {
	if j.Spec.AppPort > 0 {
		return j.Spec.AppPort
	}
	return j.have.EntryPort()
}

// target is what the accessory gives to its service at the proxy.
func (j *job) target(id string) proxy.Target {
	health := j.Spec.Health
	if j.Spec.AppPort == 0 && j.have.Entry != nil {
		health = j.have.Entry.TargetOptions.HealthCheck.Health()
	}
	return proxy.Target{Address: fmt.Sprintf("%s:%d", docker.ShortID(id), j.port()), Health: health,
		DeployTimeout: j.Spec.DeployTimeout, DrainTimeout: j.Spec.DrainTimeout}
}

// finish is the one call after the new container is ready: kamal-proxy is
// switched to it, the old container goes, the lock is given back.
func (j *job) finish(ctx context.Context) error {
	moves := j.have.Entry != nil && j.port() > 0
	if moves {
		done, err := j.server.QueueProxy(ctx)
		if err != nil {
			return err
		}
		defer done()
	}
	for try := 1; ; try++ {
		b := j.batch("finish the replacement")
		if moves && j.have.Entry != nil {
			argv, err := j.have.Entry.DeployArgv(j.target(j.newID))
			if err != nil {
				return err
			}
			b.Add("switch", proxy.ChangeSteps(j.have.Snapshot.Proxy.Sum, "switch kamal-proxy to the new container", argv)...)
		}
		j.addTidying(b)
		res, err := j.server.Change(ctx, b.Call)
		if err != nil {
			return err
		}
		if sw := b.Result(res, "switch"); sw.Ran && sw.ExitCode == fleet.RoutesChanged && try < switchTries {
			if err := j.refreshEntry(string(sw.Stdout)); err != nil {
				return err
			}
			continue
		}
		if !b.Done(res, "inspect") {
			return b.Failed(res)
		}
		// From here on the new container is the accessory, whatever else fails.
		j.note(b, res)
		j.locked = !b.Done(res, "unlock")
		if err := b.Failed(res); err != nil {
			j.warn(j.name()+" runs on "+j.Server+", but tidying up failed", err.Error()+"\n\nThe next plan shows what is left; an apply tidies up.")
		}
		if j.locked {
			j.unlock(ctx)
		}
		return nil
	}
}

// addTidying adds what follows the switch.
func (j *job) addTidying(b *fleet.Batch) {
	s := j.Spec
	b.Run("inspect", "inspect the container", "docker", "container", "inspect", j.newID)
	if c := j.plan.Old; c != nil && c.ID != j.newID {
		// Without --volumes: the new container has them.
		b.Run("rm", "remove the old container "+c.ContainerName(), "docker", "rm", "--force", c.ID)
	}
	if !j.plan.Replace { // else they went before the new container was made
		j.removeUnstarted(b)
	}
	// Kamal's own env file, so that the Kamal CLI starts with the same secrets.
	env := s.EnvSecrets()
	b.Call.Vars = append(b.Call.Vars, sshexec.Var{Name: "KAMAL_ENV_FILE", Value: env.KamalFile(), Secret: len(env) > 0})
	b.Add("env", sshexec.Step{Title: "write the env file", Script: `printf '%s' "$KAMAL_ENV_FILE" | put ` + sshexec.Quote(s.EnvFile())})
	b.Add("files", j.oldFiles())
	b.Add("mounts", j.removeOldMounts())
	b.Add("owned", j.ownedStep())
	b.Add("audit", j.audit("Booted accessory "+s.Name))
	b.Add("unlock", kamal.Unlock(s.Service, j.fleet.Run))
}

// oldFiles removes the files of earlier containers.
func (j *job) oldFiles() sshexec.Step {
	var keep []string
	for _, f := range j.Spec.Files {
		if !f.Secret {
			keep = append(keep, f.sum())
		}
	}
	return sshexec.Step{Title: "remove old files", KeepGoing: true, Script: fmt.Sprintf(
		`for d in %s/*; do case " %s " in *" ${d##*/} "*) ;; *) rm -rf "$d";; esac; done; rmdir %[1]s 2>/dev/null || :`,
		sshexec.Quote(j.Spec.filesDir()), strings.Join(keep, " "))}
}

// ownedStep writes the mark of what is complete. The anonymous volumes that
// docker made for the container count as created, those that an earlier
// container brought along do not.
func (j *job) ownedStep() sshexec.Step {
	return kamal.WriteMark(j.mark(kamal.MarkOwned, append(j.fresh, j.newAnonymous()...)))
}

// newAnonymous are the anonymous volumes of the image, by its declaration;
// their names are known to docker alone, so they are marked by their place.
func (j *job) newAnonymous() []string {
	if !j.plan.Replace || j.image == nil || j.image.Config == nil {
		return nil
	}
	var carried []string
	for _, b := range j.plan.Carried {
		_, to, _ := strings.Cut(b, ":")
		carried = append(carried, path.Clean(to))
	}
	var out []string
	for to := range j.image.Config.Volumes {
		if !j.Spec.isPlace(to) && !slices.Contains(carried, path.Clean(to)) {
			out = append(out, "anonymous "+path.Clean(to))
		}
	}
	slices.Sort(out)
	return out
}

// note keeps what the call saw of the new container.
func (j *job) note(b *fleet.Batch, res *sshexec.Result) {
	list, err := docker.ParseContainers(b.Result(res, "inspect").Stdout)
	if err != nil || len(list) != 1 {
		return
	}
	st, _ := Observed{Current: &list[0], Image: j.image, Snapshot: j.have.Snapshot}.State()
	j.state = &st
}

// refreshEntry takes the service's options from a state file that somebody
// changed meanwhile; "" where there is no kamal-proxy.
func (j *job) refreshEntry(state string) error {
	j.have.Entry = nil
	if state == "" {
		return nil
	}
	entries, err := proxy.ParseState(state)
	if err != nil {
		return err
	}
	snap := *j.have.Snapshot
	snap.Proxy = snap.Proxy.NewProxyState(state)
	j.have.Snapshot, j.have.Entry = &snap, proxy.Find(entries, j.name())
	return nil
}

// unlock gives the deploy lock back where it is ours.
func (j *job) unlock(ctx context.Context) {
	if !j.locked {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTime)
	defer cancel()
	b := fleet.NewBatch("give the deploy lock back")
	b.Add("unlock", kamal.Unlock(j.Spec.Service, j.fleet.Run))
	if _, err := j.change(ctx, b); err != nil {
		j.warn("The deploy lock was not given back on "+j.Server, fmt.Sprintf("%v\n\nThe next run of this provider takes ~/%s over after %s; for the Kamal CLI, release it with `kamal lock release`.",
			err, kamal.LockDir(j.Spec.Service), kamal.Dead))
		return
	}
	j.locked = false
}

// look says what is there after a failure; nil where that can't be seen.
func (j *job) look(ctx context.Context) *State {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTime)
	defer cancel()
	_, snap, err := j.server.Observe(ctx, sshexec.Call{Title: "look at the server after the failure"})
	if err != nil {
		return nil
	}
	if o, err := Observe(snap, j.Spec.Service, j.Spec.Name); err == nil {
		if st, ok := o.State(); ok {
			return &st
		}
	}
	return nil
}
