package approle

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/kamal"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/proxy"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

// cleanupTime bounds what is done after a failure or an interruption.
const cleanupTime = time.Minute

// cleanup is a context for cleaning up, which the interruption that may have
// caused the failure does not reach.
func cleanup(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), cleanupTime)
}

// abandon gives up a swap before the switch: it looks why the new container
// failed, removes it, and leaves the old one serving. It returns the failure
// of the server.
//
// After a lost connection the switch may have happened all the same
// (kamal-proxy goes on after its client is gone), so it looks first.
func (r *rollout) abandon(ctx context.Context, s *site, cause error, last Probe) error {
	ctx, cancel := cleanup(ctx)
	defer cancel()
	f := r.failure(s, "", "", "", cause)
	if s.newID == "" && !s.started {
		return f
	}
	evidence, err := r.lookAt(ctx, s, isInterrupted(cause))
	if err != nil {
		f.Running = "not known: " + err.Error()
		return f
	}
	if evidence.serves {
		s.switched, s.failure = true, f
		f.Running = s.runningNow(r.Spec)
		f.Next = "apply again: it finishes what is left to do."
		if r.Create {
			f.Running, f.Next = "", "apply again: what was made was taken away."
		}
		return f
	}
	if !isInterrupted(cause) {
		f.Cause, f.Next = diagnose(r.Spec, s, last, evidence)
		f.Next = cmp.Or(f.Next, "mend what the error output tells of, and apply again.")
	}
	if errors.Is(cause, errNotHealthy) {
		f.Step = fmt.Sprintf("wait up to %s for the new container to get healthy", r.Spec.DeployTimeout)
		f.Err = nil
	}

	b := fleet.NewBatch("remove the new container")
	b.Add("lock", kamal.HoldsLock(r.Spec.Role.App(), r.fleet.Run))
	if evidence.container != nil {
		b.Run("rm", "remove the new container "+s.plan.Name, "docker", "rm", "--force", evidence.container.ID)
	}
	r.addRestore(b, s)
	s.addRemoveMount(b)
	r.addRemoveAssets(b, s, s.have.assets())
	res, err := s.server.Change(ctx, b.Call)
	if err == nil {
		err = b.Failed(res)
	}
	if err != nil {
		f.Running = "not certain, because the new container could not be taken away: " + err.Error()
		s.cleanupErr = err
		return f
	}
	s.newID = ""
	return f
}

// addRestore gives the old container its name back, and starts it where boot.order stopped it.
func (r *rollout) addRestore(b *fleet.Batch, s *site) {
	if c := s.plan.Rename; c != nil {
		b.Add("rename", sshexec.Step{Title: "give " + c.ContainerName() + " its name back", KeepGoing: true,
			Script: sshexec.Join("docker", "rename", c.ID, c.ContainerName())})
	}
	if old := s.old(); r.Spec.Boot.StopFirst && old != nil {
		b.Run("restart", "start the old container "+old.ContainerName()+" again", "docker", "start", old.ID)
	}
}

// evidence is what there is to see after a swap failed.
type evidence struct {
	// container is the new one, nil where it is gone or never was.
	container *docker.Container
	// serves: kamal-proxy sends the traffic to the new container.
	serves   bool
	logs     string
	proxyLog string
}

// lookAt asks for the new container, its last log lines and the proxy's, in
// one call. cut says that a switch may be under way.
func (r *rollout) lookAt(ctx context.Context, s *site, cut bool) (evidence, error) {
	name := s.plan.Name
	b := fleet.NewBatch("look why the new container failed")
	b.Add("settle", docker.Settle(name))
	b.Add("inspect", sshexec.Step{Title: "inspect " + name, Script: sshexec.Join("docker", "container", "inspect", name), KeepGoing: true})
	b.Add("logs", sshexec.Step{Title: "read its log", Script: sshexec.Join("docker", "logs", "--tail", "30", name) + " 2>&1", KeepGoing: true})
	if s.have.Entry != nil {
		if cut && s.newID != "" {
			b.Add("switching", sshexec.Step{Title: "let kamal-proxy end a deploy that was cut off", KeepGoing: true,
				Script: awaitSwitch(r.Spec.Role.Prefix(), docker.ShortID(s.newID))})
		}
		b.Add("state", sshexec.Step{Title: "read kamal-proxy's routes", Script: "proxystate", KeepGoing: true})
		// A line for each request is there too: on a site with visitors the last lines tell of them only.
		b.Add("proxy", sshexec.Step{Title: "read kamal-proxy's log", Script: sshexec.Join("docker", "logs", "--since", "2m", proxy.Container) + " 2>&1 | grep -i healthcheck | tail -n 50", KeepGoing: true})
	}
	res, err := s.server.Read(ctx, b.Call)
	if err != nil {
		return evidence{}, err
	}
	e := evidence{logs: b.Out(res, "logs")}
	if list, err := docker.ParseContainers(b.Result(res, "inspect").Stdout); err == nil && len(list) == 1 && list[0].Labels()[kamal.LabelRun] == r.fleet.Run {
		e.container = &list[0]
		id := e.container.ShortID()
		for line := range strings.Lines(b.Out(res, "proxy")) {
			if strings.Contains(line, id) && strings.Contains(line, "ealthcheck") {
				e.proxyLog = strings.TrimSpace(line)
			}
		}
		if entries, err := proxy.ParseState(b.Out(res, "state")); err == nil {
			entry := proxy.Find(entries, r.Spec.Role.Prefix())
			e.serves = entry != nil && targets(entry, id)
		}
	} else {
		e.logs = ""
	}
	return e, nil
}

// awaitSwitch waits, with a bound, until kamal-proxy works at no deploy of a
// service any more, or sends its traffic to the container: to remove that in
// the moment of the switch would leave the service without a target. A deploy
// goes on after its client is gone, and shows as a process of kamal-proxy's.
func awaitSwitch(service, shortID string) string {
	return fmt.Sprintf(`n=0
while [ $n -lt 80 ] && docker top %s 2>/dev/null | grep -qF -e %s; do
  case $(proxystate) in *%s:*) break;; esac
  n=$((n + 1)); sleep 0.5
done`, proxy.Container, sshexec.Quote("kamal-proxy deploy "+service+" "), shortID)
}

func isInterrupted(err error) bool {
	var i *sshexec.InterruptedError
	return errors.As(err, &i) || errors.Is(err, context.Canceled) || fleet.IsUnreachable(err)
}

// putBack puts the servers that were already switched back to their old
// containers, which are kept for this.
func (r *rollout) putBack(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*r.Spec.DeployTimeout+r.Spec.DrainTimeout+cleanupTime)
	defer cancel()
	var back []*site
	for _, s := range r.sites {
		if s.switched && s.plan.Swap && s.newID != "" && s.old() != nil {
			back = append(back, s)
		}
	}
	return fleet.Each(back, func(s *site) error {
		err := r.putBackOne(ctx, s)
		if err != nil {
			return &fleet.Failure{What: "put " + r.Spec.Role.Prefix() + " back to " + r.Spec.Role.Version(s.have.Current.ContainerName()), Server: s.name,
				Err: err, Running: s.runningNow(r.Spec), Next: "apply again, with the version that should run."}
		}
		if s.failure != nil { // it was written while the new one served
			s.failure.Running, s.failure.Next = s.runningNow(r.Spec), "apply again."
		}
		r.warn(fmt.Sprintf("%s was put back on %s", r.Spec.Role.Prefix(), s.name),
			fmt.Sprintf("%s failed on another server, so that %s was switched back to %s (boot.on_failure = \"rollback\").", r.Spec.Version(), s.name, s.have.Current.ContainerName()))
		return nil
	})
}

func (r *rollout) putBackOne(ctx context.Context, s *site) error {
	old := *s.have.Current
	b := fleet.NewBatch("start the old container again")
	b.Add("lock", kamal.HoldsLock(r.Spec.Role.App(), r.fleet.Run))
	if r.Spec.Boot.StopFirst {
		b.Run("stop first", "stop the failed version's container", "docker", "stop", s.newID)
	}
	b.Run("start", "start "+old.ContainerName(), "docker", "start", old.ID)
	b.Run("inspect", "inspect it", "docker", "container", "inspect", old.ID)
	b.Add("state", sshexec.Step{Title: "read kamal-proxy's routes", Script: "proxystate || [ $? = 70 ]"})
	res, err := s.server.Change(ctx, b.Call)
	if err != nil {
		return err
	}
	if err := b.Failed(res); err != nil {
		return err
	}
	list, err := docker.ParseContainers(b.Result(res, "inspect").Stdout)
	if err != nil || len(list) != 1 {
		return fmt.Errorf("docker container inspect gave %d containers: %w", len(list), err)
	}
	if err := s.refreshEntry(r.Spec.Role, b.Out(res, "state")); err != nil {
		return err
	}
	failed := s.newID
	s.newID = old.ID
	if r.Spec.AppPort > 0 {
		// The health check that the old version was deployed with, where the proxy knows it.
		health := r.Spec.Health
		if s.have.Entry != nil {
			health = s.have.Entry.TargetOptions.HealthCheck.Health()
		}
		wait, cancel := context.WithTimeoutCause(ctx, r.Spec.DeployTimeout, errNotHealthy)
		defer cancel()
		if _, err := probe(wait, s.server, list[0].Address(kamal.Network), s.oldTarget(r.Spec), health); err != nil && !errors.Is(err, errNoForwarding) {
			s.newID = failed
			return fmt.Errorf("the old container did not get healthy again: %w", err)
		}
	}
	err = r.change(ctx, s, "switch back to the old container", s.oldTarget(r.Spec), func(b *fleet.Batch) {
		b.Run("stop", "remove the failed version's container", "docker", "rm", "--force", failed)
		s.addRemoveMount(b)
		r.addRemoveAssets(b, s, s.have.assets())
		if c := s.plan.Rename; c != nil {
			b.Run("rename", "give "+c.ContainerName()+" its name back", "docker", "rename", c.ID, c.ContainerName())
		}
		b.Run("latest", "tag the old image as the latest one", "docker", "tag", old.InspectResponse.Image, r.repository()+":"+r.Spec.Role.LatestTag())
		b.Add("audit", r.audit("Put back app version "+r.Spec.Role.Version(old.ContainerName())))
		b.Run("inspect", "inspect the old container", "docker", "container", "inspect", old.ID)
	})
	if err != nil {
		s.newID = failed
		return err
	}
	s.switched, s.newID = false, ""
	return nil
}

// oldTarget is the old container as the proxy had it, with its own port.
func (s *site) oldTarget(spec Spec) string {
	if s.before != "" {
		return s.before
	}
	return s.target(spec)
}
