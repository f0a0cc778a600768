package fleet

import (
	"context"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

// NoDocker is the failure of a server where docker is not there or does not
// answer, nil where it does. It lacks What and Running.
func (s *Snapshot) NoDocker() *Failure {
	f := &Failure{Server: s.Server}
	switch d := s.Docker; {
	case !d.Installed:
		f.Cause, f.Next = "docker is not installed on the server", "add a kamal_server for it, and take `server` from its `server` attribute, so that it comes first."
	case !d.Running:
		f.Cause, f.Next = "docker does not answer: "+d.Failure, "start it (systemctl start docker), or add a kamal_server for the server, and apply again."
		if d.Elsewhere != "" {
			f.Next = "let the server's own Docker run it all, at /var/run/docker.sock: this provider works with no other daemon, such as a rootless one." +
				" Install and start that one; where it runs already, unset the SSH user's DOCKER_HOST and DOCKER_CONTEXT on it (docker context use default), and apply again."
		}
	default:
		return nil
	}
	return f
}

// Pull gets an image onto a server in one call, which ends at once where the
// lock's step fails. Nil: it is not there after the pull. Where the error is a
// step's, docker.PullAdvice says what to do.
func (f *Fleet) Pull(ctx context.Context, s *Server, lock sshexec.Step, ref string) (*docker.Image, error) {
	config, err := f.Logins.ConfigJSON(ref)
	if err != nil {
		return nil, err
	}
	b := NewBatch("pull the image")
	b.Call.Prelude += docker.PullPrelude
	b.Call.Vars = []sshexec.Var{{Name: "REGISTRY_LOGIN", Value: config, Secret: config != ""}}
	b.Add("lock", lock)
	b.Add("pull", sshexec.Step{Title: "pull " + ref, Script: "pull " + sshexec.Quote(ref) + ` "$REGISTRY_LOGIN"`})
	b.Run("inspect", "inspect the image", "docker", "image", "inspect", ref)
	res, err := s.Change(ctx, b.Call)
	if err == nil {
		err = b.Failed(res)
	}
	if err != nil {
		return nil, err
	}
	images, err := docker.ParseImages(b.Result(res, "inspect").Stdout)
	if err != nil || len(images) != 1 {
		return nil, err
	}
	return &images[0], nil
}
