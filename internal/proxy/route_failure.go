package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

// failure turns an error on a server into a *fleet.Failure; nil stays nil.
func (a *routeApply) failure(s *routeSite, err error) error {
	if err == nil {
		return nil
	}
	var f *fleet.Failure
	if errors.As(err, &f) {
		return err
	}
	f = &fleet.Failure{What: a.what(), Server: s.name, Running: a.runningNow(s.snap)}
	var r *refusal
	if !errors.As(err, &r) {
		f.Err = err
		return f
	}
	f.Cause, f.Next = r.cause, r.next
	if r.missing {
		f.Cause += fmt.Sprintf(".\nThe route's servers: %s.\nServers where a container of %s runs: %s",
			strings.Join(a.Servers, ", "), a.Route.Service, a.serving())
	}
	return f
}

// serving lists the servers on which a container of the service runs.
func (a *routeApply) serving() string {
	var names []string
	for _, s := range a.sites {
		if s.snap != nil && newest(s.snap, a.Route.Service) != nil {
			names = append(names, s.name)
		}
	}
	if len(names) == 0 {
		return "none of these"
	}
	return strings.Join(names, ", ")
}

// runningNow says where kamal-proxy sends the route's visitors.
func (a *routeApply) runningNow(snap *fleet.Snapshot) string {
	if snap == nil {
		return ""
	}
	i, err := a.observe(snap)
	switch {
	case err != nil:
		return "not known: " + err.Error()
	case i == nil:
		return "kamal-proxy has no service " + a.Route.Service
	}
	return fmt.Sprintf("kamal-proxy routes %s to %s, target %s, %s", i.Route.where(), i.Route.Service, i.Target, i.State)
}

// explain looks why a step failed: what kamal-proxy logged of the container's
// health checks, and what is there now.
func (a *routeApply) explain(ctx context.Context, s *routeSite, step *routeStep, cause error) error {
	f := &fleet.Failure{What: a.what(), Server: s.name, Err: cause}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTime)
	defer cancel()
	res, snap, err := s.server.Observe(ctx, sshexec.Call{Title: "look why it failed", Steps: []sshexec.Step{{
		Title: "read kamal-proxy's log", KeepGoing: true,
		Script: sshexec.Join("docker", "logs", "--since", "2m", "--tail", "500", Container) + " 2>&1",
	}}})
	if err != nil {
		f.Running = "not known: " + err.Error()
		return f
	}
	s.snap = snap
	f.Running = a.runningNow(snap)
	if step == nil || step.container == nil {
		return f
	}
	f.Next = fmt.Sprintf("see what the container and kamal-proxy log (docker logs %s, docker logs %s), then apply again.", step.container.ContainerName(), Container)
	if last := lastHealthCheck(res.Out(0), step.container.ShortID()); last != "" {
		f.Cause = fmt.Sprintf("kamal-proxy asked the container %s for its health, and the last answer was no good: %s", step.container.ContainerName(), last)
		f.Next = fmt.Sprintf("see what the container logs (docker logs %s), and check healthcheck.path, healthcheck.host and app_port of the target.", step.container.ContainerName())
	}
	return f
}

// lastHealthCheck finds the last failed health check of a container in
// kamal-proxy's log, which has a JSON object on each line.
func lastHealthCheck(log, id string) string {
	last := ""
	for line := range strings.Lines(log) {
		var l struct{ Msg, URL, Error string }
		if json.Unmarshal([]byte(line), &l) == nil && l.Msg == "Healthcheck failed" && strings.Contains(l.URL, id) {
			last = l.URL + ": " + l.Error
		}
	}
	return last
}
