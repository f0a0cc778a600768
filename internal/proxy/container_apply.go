package proxy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/kamal"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

// containerMark is the kind of the owner mark of kamal-proxy's container; its
// name is Container.
const containerMark = "proxy"

// Ensure makes kamal-proxy on a server as wanted and returns what is there
// then. create says that this is the first time: a kamal-proxy that is there
// already is refused, unless a run that died left it half made.
//
// It takes one remote call where nothing differs, two to start or boot it, and
// three to replace it: the image is pulled before anything is stopped. Errors
// are *fleet.Failure.
func Ensure(ctx context.Context, f *fleet.Fleet, on *fleet.Server, want ContainerSpec, create bool) (*fleet.Snapshot, error) {
	done, err := on.QueueProxy(ctx)
	if err != nil {
		return nil, &fleet.Failure{What: "boot kamal-proxy", Server: on.Name, Err: err}
	}
	defer done()
	e := ensuring{fleet: f, on: on, want: want, create: create}
	const tries = 3
	for try := 1; ; try++ {
		snap, err := e.once(ctx)
		if errors.Is(err, errRoutesChanged) && try < tries {
			continue
		}
		return snap, err
	}
}

// errRoutesChanged says that somebody changed kamal-proxy after we looked.
var errRoutesChanged = errors.New("somebody else changed kamal-proxy meanwhile")

type ensuring struct {
	fleet  *fleet.Fleet
	on     *fleet.Server
	want   ContainerSpec
	create bool
}

func (e *ensuring) once(ctx context.Context) (*fleet.Snapshot, error) {
	res, snap, err := e.on.Observe(ctx, sshexec.Call{
		Title: "look at kamal-proxy and its ports",
		Steps: []sshexec.Step{findListeners(e.want.HTTPPort, e.want.HTTPSPort)},
	})
	if err == nil && snap == nil {
		err = res.Err()
	}
	if err != nil {
		return nil, e.failure(err)
	}
	if !snap.Docker.Running {
		f := e.failure(nil)
		f.Cause = "Docker does not run there. " + snap.Docker.Failure
		f.Next = "let kamal_server set the server up, and have kamal_proxy depend on it (server = kamal_server.NAME.server)."
		return nil, f
	}
	if err := e.adoptable(snap); err != nil {
		return nil, err
	}
	action := PlanContainer(e.want, ObserveContainer(snap))
	if action != Keep {
		if taken := portsTaken(e.want, snap, parseListeners(res.Out(0))); len(taken) > 0 {
			f := e.failure(nil)
			f.Cause = strings.Join(taken, "; ") + "."
			f.Running = "what ran before: nothing was changed."
			f.Next = "stop what holds the port, or give kamal-proxy other ones: http_port, https_port, bind_addresses."
			return nil, f
		}
	}
	return e.carryOut(ctx, action, snap)
}

// adoptable refuses a kamal-proxy of somebody else's.
func (e *ensuring) adoptable(snap *fleet.Snapshot) error {
	mark := snap.Mark(containerMark, Container)
	if !e.create {
		return nil
	}
	f := e.failure(nil)
	switch {
	case mark != nil && mark.State == kamal.MarkCreating && mark.Run != e.fleet.Run && !mark.Unfinished():
		f.Cause = fmt.Sprintf("%s is booting it this moment.", mark.By)
		f.Next = "wait for that run; one that died is recognized within half a minute."
		return f
	case snap.Proxy.Container == nil || mark != nil && mark.State == kamal.MarkCreating:
		return nil
	case mark != nil:
		f.Cause = fmt.Sprintf("there is a kamal-proxy that another configuration, or a lost state, manages (%s, %s).", mark.By, mark.At.Format(time.DateOnly))
	default:
		f.Cause = "there is a kamal-proxy already, booted by Kamal or by hand."
	}
	f.Running = "that kamal-proxy, as before: nothing was changed."
	f.Next = fmt.Sprintf("import it, nothing is restarted by that: terraform import ADDRESS %s", e.on.Name)
	return f
}

func (e *ensuring) carryOut(ctx context.Context, action Action, snap *fleet.Snapshot) (*fleet.Snapshot, error) {
	entries, err := entriesOf(snap)
	if err != nil {
		return nil, e.failure(err)
	}
	login, err := e.fleet.Logins.ConfigJSON(e.want.Ref())
	if err != nil {
		return nil, e.failure(err)
	}
	call := sshexec.Call{
		Title:   action.String() + " kamal-proxy",
		Prelude: kamal.RunPrelude + docker.PullPrelude,
		Vars:    []sshexec.Var{{Name: "LOGIN", Value: login, Secret: login != ""}, {Name: "SERVICES", Value: lines(entries), Export: true}},
	}
	run := e.want.run(Container, snap.Facts.Home, docker.LogsToFiles(snap.Docker.LoggingDriver))
	title := map[Action]string{
		Start:   "start kamal-proxy",
		Boot:    "boot kamal-proxy " + e.want.Version,
		Replace: "put kamal-proxy " + e.want.Version + " in the place of the one that runs",
	}[action]
	switch action {
	case Keep:
	case Start:
		call.Steps = []sshexec.Step{{Title: title, Script: startContainer()}}
	case Boot:
		call.Steps = append(call.Steps, pullImage(e.want.Ref()))
		if e.create {
			call.Steps = append(call.Steps, e.mark(kamal.MarkCreating))
		}
		call.Steps = append(call.Steps, sshexec.Step{Title: title, Script: swapContainer(run, "")})
	case Replace:
		if err := e.pull(ctx, call, snap); err != nil {
			return nil, err
		}
		call.Steps = []sshexec.Step{{Title: title, Script: swapContainer(run, snap.Proxy.Sum)}}
	}
	if mark := snap.Mark(containerMark, Container); len(call.Steps) == 0 && mark != nil && mark.State == kamal.MarkOwned {
		return snap, nil
	}
	call.Steps = append(call.Steps, e.mark(kamal.MarkOwned))
	res, after, err := e.on.Observe(ctx, call)
	if err != nil {
		return nil, e.failure(err)
	}
	if after == nil {
		return nil, e.notUp(ctx, res, action, snap)
	}
	if now := PlanContainer(e.want, ObserveContainer(after)); now != Keep {
		f := e.failure(nil)
		f.Cause = fmt.Sprintf("everything went through, and yet there is still something to do: %s it.", now)
		f.Next = "look for something else that changes kamal-proxy on the server, then apply again."
		return nil, f
	}
	return after, nil
}

// pull fetches the image in a call of its own, before anything is stopped.
func (e *ensuring) pull(ctx context.Context, call sshexec.Call, snap *fleet.Snapshot) error {
	for _, i := range snap.Images {
		for _, tag := range i.RepoTags {
			if tag == e.want.Ref() {
				return nil
			}
		}
	}
	call.Title, call.Steps = "pull kamal-proxy's image", []sshexec.Step{pullImage(e.want.Ref())}
	res, err := e.on.Change(ctx, call)
	if err == nil {
		err = res.Err()
	}
	if err != nil {
		f := e.failure(err)
		f.Running = "the kamal-proxy that ran before: it was not touched."
		return f
	}
	return nil
}

func (e *ensuring) mark(state string) sshexec.Step {
	return kamal.WriteMark(kamal.Mark{Kind: containerMark, Name: Container, State: state, Run: e.fleet.Run, By: e.fleet.By, At: time.Now().UTC()})
}

func (e *ensuring) failure(err error) *fleet.Failure {
	what := "boot kamal-proxy"
	if !e.create {
		what = "update kamal-proxy"
	}
	return &fleet.Failure{What: what, Server: e.on.Name, Err: err}
}

// notUp tells why the call that was to bring kamal-proxy up ended early, and
// takes back the mark of a first boot that did not come about.
func (e *ensuring) notUp(ctx context.Context, res *sshexec.Result, action Action, before *fleet.Snapshot) error {
	err := res.Err()
	f := e.failure(err)
	var step *sshexec.StepError
	if !errors.As(err, &step) {
		return f
	}
	if action == Boot && e.create {
		// On a context of its own: the mark would keep others waiting.
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		if _, err := e.on.Change(clean, sshexec.Call{Title: "take the mark back", Steps: []sshexec.Step{kamal.RemoveMark(containerMark, Container)}}); err != nil {
			f.Cause = "The mark of the attempt could not be removed either: " + err.Error() + ". "
		}
	}
	said := strings.TrimSpace(string(step.Stderr))
	told := func(cause, running, next string) {
		f.Err, f.Step = nil, step.Title
		f.Cause, f.Running, f.Next = cause+"\n"+said, running, next
	}
	old := "the kamal-proxy that ran before"
	if c := before.Proxy.Container; c != nil && c.Config != nil {
		old += " (" + c.Config.Image + ")"
	}
	const look = "the lines above are docker's and kamal-proxy's own. Mend what they name, then apply again."
	if action == Boot {
		f.Running = "no kamal-proxy, as before."
	}
	switch step.ExitCode {
	case fleet.RoutesChanged:
		f.Err, f.Next = errRoutesChanged, "apply again."
	case exitNoCreate:
		running := old + ", untouched."
		if action == Boot {
			running = f.Running
		}
		told("docker refused to make the container:", running, look)
	case exitNotUp:
		told("it did not come up:", "no kamal-proxy: the one that failed was removed.", look)
		if action == Start {
			f.Running = "no kamal-proxy: its container is there, but does not serve."
		}
	case exitPutBack:
		told("the new kamal-proxy did not come up:", old+", put back, with all its routes.", look)
	case exitNoneUp:
		told("the new kamal-proxy did not come up, and the old one did not come back:", "no kamal-proxy: the server's apps can't be reached.",
			"look at `docker logs kamal-proxy` on the server, start it with `docker start kamal-proxy`, then apply again.")
	}
	return f
}

// entriesOf are the services that kamal-proxy knows; none where there is no container.
func entriesOf(snap *fleet.Snapshot) ([]Entry, error) {
	if snap.Proxy.Container == nil {
		return nil, nil
	}
	return ParseState(snap.Proxy.State)
}
