package testbed

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// inside is a way into a server from this machine's kernel: its namespaces, its
// files below /proc and its Docker's socket. It needs neither sshd nor network nor
// `docker exec`, works while the server has broken programs, and costs a tenth of them.
//
// It holds on to the process, not to its number: when the server dies, and another
// process gets the number, nothing of this machine may be taken for the server.
type inside struct {
	*Server
	init   *os.File // directory of the server's PID 1 in this machine's /proc
	proc   string   // the same by a name that other processes can use
	root   string   // the server's /, for reading; writers go through os.Root
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
	in, err := s.inside(pid)
	if err != nil {
		return nil, err
	}
	// What was stopped would answer nobody.
	all, err := in.processes()
	for _, p := range all {
		if p.stopped {
			err = errors.Join(err, in.signal(p, syscall.SIGCONT))
		}
	}
	if err == nil {
		_, err = in.run(ctx, "", "systemctl is-system-running --wait >/dev/null || true")
	}
	if err != nil {
		in.leave()
		return nil, err
	}
	return in, nil
}

// inside opens the way in by the number of the server's PID 1.
func (s *Server) inside(pid int) (*inside, error) {
	if s.container == "" || pid <= 1 {
		return nil, fmt.Errorf("server %s does not run", s.Name)
	}
	init, err := os.Open("/proc/" + strconv.Itoa(pid))
	if err != nil {
		return nil, err
	}
	proc := fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), init.Fd())
	in := &inside{Server: s, init: init, proc: proc, root: proc + "/root"}
	groups, err := os.ReadFile(proc + "/cgroup")
	if err == nil && !strings.Contains(string(groups), s.container) {
		err = fmt.Errorf("process %d isn't of server %s", pid, s.Name)
	}
	if err != nil {
		in.leave()
		return nil, err
	}
	in.engine.Transport = &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			// A link there would lead to this machine's own Docker.
			socket := in.root + "/run/docker.sock"
			if info, err := os.Lstat(socket); err != nil || info.Mode().Type() != fs.ModeSocket {
				return nil, fmt.Errorf("server %s has no Docker: %w", in.Name, errors.Join(err, fs.ErrNotExist))
			}
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}
	return in, nil
}

func (in *inside) leave() {
	in.engine.CloseIdleConnections()
	in.init.Close()
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
	all := []string{"env", "--ignore-environment", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "bash", "-c", script, "testbed"}
	return in.nsenter(ctx, stdin, []string{"mnt", "uts", "ipc", "net", "pid"}, append(all, args...)...)
}

// nsenter runs a program in some of the server's namespaces.
func (in *inside) nsenter(ctx context.Context, stdin string, namespaces []string, command ...string) (string, error) {
	options := map[string]string{"mnt": "--mount", "uts": "--uts", "ipc": "--ipc", "net": "--net", "pid": "--pid"}
	var args []string
	for _, namespace := range namespaces {
		args = append(args, options[namespace]+"="+in.proc+"/ns/"+namespace)
	}
	return run(ctx, strings.NewReader(stdin), "nsenter", append(args, command...)...)
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
