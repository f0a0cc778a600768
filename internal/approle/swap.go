package approle

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/kamal"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

// prepare gets the image and looks at it. Nothing that runs is touched.
func (r *rollout) prepare(ctx context.Context, s *site) error {
	if s.have.Entry != nil && r.Spec.AppPort == 0 {
		service := r.Spec.Role.Prefix()
		return r.failure(s, "", "kamal-proxy sends traffic to the service "+service+", and the role has no app_port to send it to: its visitors would be left without an app",
			"give app_port, or remove the service first: take its kamal_proxy_route out, or run docker exec kamal-proxy kamal-proxy remove "+service+".", nil)
	}
	if s.have.Entry != nil && r.Spec.AppPort > 0 {
		// Better now than when the new container waits for its traffic.
		if _, err := s.have.Entry.DeployArgv(r.target("preflight:80")); err != nil {
			return r.failure(s, "look at the role's service at kamal-proxy", err.Error(),
				"take out of the service what this version of the provider does not know, or use one that knows it.", nil)
		}
	}
	s.image = s.imageOf(r.Spec)
	if s.plan.Pull {
		image, err := r.fleet.Pull(ctx, s.server, kamal.HoldsLock(r.Spec.Role.App(), r.fleet.Run), r.Spec.Image)
		if err != nil {
			return r.failure(s, "", "", docker.PullAdvice(r.Spec.Image, s.name, r.fleet.Logins, err), err)
		}
		s.image = image
	}
	if s.image == nil {
		return r.failure(s, "find the image on the server", "the image "+r.Spec.Image+" is not there after the pull", "", nil)
	}
	if problem := s.image.Problem(r.Spec.Image, r.Spec.Command, s.have.Snapshot.Docker.Arch); problem != "" {
		return r.failure(s, "check the image before it is run", problem, "mend the image or the command, and apply again.", nil)
	}
	return nil
}

// swap puts a new container in the place of the old one on one server. Until
// the switch nothing that users see has changed; a failure before it removes
// the new container.
func (r *rollout) swap(ctx context.Context, s *site) error {
	ip, err := r.start(ctx, s)
	if err != nil && !s.started {
		return err
	}
	if err != nil {
		return r.abandon(ctx, s, err, Probe{})
	}
	if r.Spec.AppPort > 0 {
		if last, err := r.awaitHealth(ctx, s, ip); err != nil {
			return r.abandon(ctx, s, err, last)
		}
	}
	if len(r.Spec.Verify) > 0 {
		if err := r.verify(ctx, s); err != nil {
			return r.abandon(ctx, s, err, Probe{})
		}
	}
	if err := r.finish(ctx, s); err != nil {
		return r.abandon(ctx, s, err, Probe{})
	}
	return nil
}

// start runs the new container and returns its address.
func (r *rollout) start(ctx context.Context, s *site) (string, error) {
	role, spec := r.Spec.Role, r.Spec
	b := fleet.NewBatch("start the new container")
	b.Add("lock", kamal.HoldsLock(role.App(), r.fleet.Run))
	if !s.assets {
		r.addAssets(b, s)
	}
	if r.Create {
		b.Add("mark", kamal.WriteMark(r.mark(kamal.MarkCreating)))
	}
	// Kamal's own env file, so that `kamal app exec` starts with the same secrets.
	env := spec.EnvSecrets()
	b.Call.Vars = append(env.Vars(), sshexec.Var{Name: "KAMAL_ENV_FILE", Value: env.KamalFile(), Secret: len(env) > 0})
	b.Add("env", sshexec.Step{Title: "write the env file", Script: `printf '%s' "$KAMAL_ENV_FILE" | put ` + sshexec.Quote(kamal.RoleEnvFile(role))})
	b.Add("network", kamal.MakeNetwork())
	for _, c := range s.plan.Remove {
		b.Run("remove", "remove "+c.ContainerName()+", which a run that died left", "docker", "rm", "--force", c.ID)
	}
	if c := s.plan.Rename; c != nil {
		b.Run("rename", "rename "+c.ContainerName()+", which has the new one's name", "docker", "rename", c.ID, s.plan.Name+"_replaced_"+fleet.Random(16))
	}
	if spec.Boot.StopFirst {
		r.addStop(b, s.plan.Old)
	}
	if s.mount = spec.mount(); !s.mount.Empty() {
		b.Call.Vars = append(b.Call.Vars, s.mount.Vars()...)
		b.Add("files", s.mount.Step())
	}
	run := spec.run(s.server.Address(), s.have.Snapshot.Facts.Home, s.plan.Name, fleet.Random(12), r.fleet.Run, s.mount)
	b.Add("run", sshexec.Step{Title: "run the container " + s.plan.Name, Script: env.RunScript(run.Argv())})
	b.Run("inspect", "inspect the container "+s.plan.Name, "docker", "container", "inspect", s.plan.Name)
	if spec.AppPort == 0 {
		b.Add("ready", readyStep(s.plan.Name, spec))
	}
	s.started = true
	res, err := s.server.Change(ctx, b.Call)
	if err != nil {
		return "", err
	}
	if err := r.assetsFailed(b, res, s); err != nil {
		s.started = false
		return "", err
	}
	if b.Done(res, "run") {
		s.newID = b.Out(res, "run")
	}
	if err := b.Failed(res); err != nil {
		return "", err
	}
	list, err := docker.ParseContainers(b.Result(res, "inspect").Stdout)
	if err != nil {
		return "", err
	}
	if len(list) != 1 {
		return "", fmt.Errorf("docker container inspect %s gave %d containers", s.plan.Name, len(list))
	}
	return list[0].Address(kamal.Network), nil
}

func (r *rollout) addStop(b *fleet.Batch, list []docker.Container) {
	for _, c := range list {
		argv := []string{"docker", "stop"}
		if g := r.Spec.stopGrace(); g > 0 {
			argv = append(argv, "-t", strconv.Itoa(g)) // its long name changed with docker 28
		}
		b.Run("stop", "stop the old container "+c.ContainerName(), append(argv, c.ID)...)
	}
}

// readyStep waits for a container without a port: for Docker's health check if
// the image has one, else until it has run for the readiness delay without a
// restart. Its exit code is 1 where it does not get ready.
func readyStep(name string, spec Spec) sshexec.Step {
	delay := int(spec.ReadinessDelay.Round(time.Second).Seconds())
	bound := max(int(spec.DeployTimeout.Round(time.Second).Seconds()), delay+1)
	return sshexec.Step{
		Title: "wait until the container is ready",
		Script: fmt.Sprintf(`c=%s; until=$(( $(date +%%s) + %d )); since=
while :; do
  s=$(docker container inspect -f '{{.State.Status}}/{{if .State.Health}}{{.State.Health.Status}}{{end}}/{{.RestartCount}}/{{.State.ExitCode}}' "$c") || exit 1
  now=$(date +%%s)
  case $s in
    running/healthy/*) exit 0;;
    running//0/*) [ -n "$since" ] || since=$now; [ $((now - since)) -lt %d ] || exit 0;;
    *) since=;;
  esac
  [ "$now" -lt "$until" ] || { echo "not ready in %d seconds; state, health, restarts and exit code: $s" >&2; exit 1; }
  sleep 0.5
done`, sshexec.Quote(name), bound, delay, bound),
	}
}

// errNotHealthy says that a container did not answer as it should in time.
var errNotHealthy = errors.New("the container did not get healthy in time")

// awaitHealth asks the new container for its health through the SSH
// connection. Where sshd forbids that, kamal-proxy's own check has to do.
func (r *rollout) awaitHealth(ctx context.Context, s *site, ip string) (Probe, error) {
	if ip == "" {
		return Probe{Err: errors.New("it has no address in the network " + kamal.Network + ": it ended at once")}, errNotHealthy
	}
	ctx, cancel := context.WithTimeoutCause(ctx, r.Spec.DeployTimeout, errNotHealthy)
	defer cancel()
	last, err := probe(ctx, s.server, ip, s.target(r.Spec), r.Spec.Health)
	if errors.Is(err, errNoForwarding) {
		s.unprobed = true
		if s.have.Entry == nil {
			r.warn("The health of "+s.plan.Name+" on "+s.name+" was not checked",
				"sshd on the server forwards no connections (AllowTcpForwarding), and kamal-proxy, which would check instead, has no service for the role yet. A route will check it.")
		}
		return last, nil
	}
	return last, err
}

// target is the new container as kamal-proxy gets it.
func (s *site) target(spec Spec) string {
	return docker.ShortID(s.newID) + ":" + strconv.Itoa(spec.AppPort)
}

func (r *rollout) verify(ctx context.Context, s *site) error {
	b := fleet.NewBatch("verify the new container")
	b.Add("lock", kamal.HoldsLock(r.Spec.Role.App(), r.fleet.Run))
	// Its output is all error output: many programs tell what is wrong on the other stream.
	b.Add("verify", sshexec.Step{Title: "run the verify command in the new container",
		Script: sshexec.Join(append([]string{"docker", "exec", s.newID}, r.Spec.Verify...)...) + " >&2"})
	res, err := s.server.Read(ctx, b.Call)
	if err != nil {
		return err
	}
	return b.Failed(res)
}

func (r *rollout) mark(state string) kamal.Mark {
	return kamal.Mark{Kind: MarkKind, Name: r.Spec.Role.Prefix(), State: state, Run: r.fleet.Run, By: r.fleet.By, At: time.Now().UTC()}
}

// failure is the error of one server.
func (r *rollout) failure(s *site, step, cause, next string, err error) *fleet.Failure {
	return &fleet.Failure{What: r.what(), Server: s.name, Step: step, Cause: cause, Running: s.runningNow(r.Spec), Next: next, Err: err}
}
