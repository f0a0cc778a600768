package testbed

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// inside is a way into a server from this machine's kernel: its namespaces, its
// files below /proc and its Docker's socket. It needs neither sshd nor network nor
// `docker exec`, works while the server has broken programs, and costs a tenth of them.
type inside struct {
	*Server
	pid    int    // of the server's PID 1, as this machine counts
	root   string // the server's /, for reading; writers go through os.Root
	engine http.Client
}

// enter starts what a test left stopped or frozen, and waits for the end of a boot.
func (s *Server) enter(ctx context.Context) (*inside, error) {
	status, pid, err := s.running(ctx)
	if err != nil {
		return nil, err
	}
	switch status {
	case "running":
	case "paused":
		_, err = docker(ctx, "unpause", s.container)
	case "created", "exited":
		if _, err = docker(ctx, "start", s.container); err == nil {
			err = s.waitReady(ctx)
		}
	default:
		err = fmt.Errorf("server %s is %s", s.Name, status)
	}
	if err == nil && pid == 0 {
		_, pid, err = s.running(ctx)
	}
	if err != nil {
		return nil, err
	}
	in := &inside{Server: s, pid: pid, root: "/proc/" + strconv.Itoa(pid) + "/root"}
	socket := in.root + "/run/docker.sock"
	in.engine.Transport = &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
		IdleConnTimeout: time.Second,
	}
	_, err = in.run(ctx, "", "systemctl is-system-running --wait >/dev/null || true")
	return in, err
}

func (s *Server) running(ctx context.Context) (status string, pid int, err error) {
	out, err := docker(ctx, "inspect", "--type", "container", "--format", "{{.State.Status}} {{.State.Pid}}", s.container)
	if err != nil {
		return "", 0, err
	}
	status, number, _ := strings.Cut(out, " ")
	pid, err = strconv.Atoi(number)
	return status, pid, err
}

// run runs a script among the server's files, processes and network, but not in
// its cgroup. It finds the system's own programs only: not a test's in /usr/local.
func (in *inside) run(ctx context.Context, stdin, script string, args ...string) (string, error) {
	all := append([]string{"--target", strconv.Itoa(in.pid), "--mount", "--uts", "--ipc", "--net", "--pid", "env", "--ignore-environment",
		"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "bash", "-c", script, "testbed"}, args...)
	return run(ctx, strings.NewReader(stdin), "nsenter", all...)
}

// engineError is a refusal by the server's Docker.
type engineError struct {
	status  int
	message string
}

func (e *engineError) Error() string {
	return fmt.Sprintf("Docker answers %d: %s", e.status, e.message)
}

// ask calls the server's Docker. It waits for the end of what is asked for, and
// decodes the answer into what answer points to, unless that is nil.
func (in *inside) ask(ctx context.Context, method, path string, header http.Header, answer any) error {
	request, err := http.NewRequestWithContext(ctx, method, "http://docker"+path, nil)
	if err != nil {
		return err
	}
	request.Header = header
	response, err := in.engine.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode >= http.StatusBadRequest {
		var refusal struct{ Message string }
		_ = json.Unmarshal(body, &refusal)
		return &engineError{response.StatusCode, refusal.Message}
	}
	switch answer := answer.(type) {
	case nil:
		return nil
	case *string:
		*answer = string(body)
		return nil
	}
	return json.NewDecoder(bytes.NewReader(body)).Decode(answer)
}
