package sshtest

import (
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/crypto/ssh"
)

func (s *Server) session(nc ssh.NewChannel, open *atomic.Int64) {
	f := s.broken()
	n := open.Add(1)
	free := sync.OnceFunc(func() { open.Add(-1) })
	defer free()
	if f.RefuseSessions || f.MaxSessions > 0 && int(n) > f.MaxSessions {
		_ = nc.Reject(ssh.ConnectionFailed, "open failed") // sshd's words
		return
	}
	for {
		p := s.peak.Load()
		if n <= p || s.peak.CompareAndSwap(p, n) {
			break
		}
	}
	ch, reqs, err := nc.Accept()
	if err != nil {
		return
	}
	defer ch.Close()
	for req := range reqs {
		if req.Type != "exec" || f.RefuseExec {
			_ = req.Reply(false, nil)
			continue
		}
		var msg struct{ Command string }
		if ssh.Unmarshal(req.Payload, &msg) != nil {
			_ = req.Reply(false, nil)
			return
		}
		_ = req.Reply(true, nil)
		s.mu.Lock()
		s.execs = append(s.execs, msg.Command)
		s.mu.Unlock()
		s.run(ch, reqs, msg.Command, f, free)
		return
	}
}

// run does as sshd does without a terminal: a process group of its own, the
// exit code when the command is over, the channel closed when nobody holds its
// output any more, and no signal to anybody when the client goes.
func (s *Server) run(ch ssh.Channel, reqs <-chan *ssh.Request, command string, f Faults, free func()) {
	shell := f.Shell
	if shell == "" {
		shell = "/bin/sh"
	}
	if f.Sh != "" {
		command = strings.ReplaceAll(command, "/bin/sh", f.Sh)
	}
	cmd := exec.Command(shell, "-c", command)
	cmd.Dir = s.Home
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.Home, "USER=test", "LANG=C.UTF-8"}
	// Setsid: the script's watchdog ends its whole process group, which must
	// not be the test's.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	inR, inW, err := os.Pipe()
	if err != nil {
		return
	}
	outR, outW, err := os.Pipe()
	if err != nil {
		return
	}
	errR, errW, err := os.Pipe()
	if err != nil {
		return
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = inR, outW, errW
	if f.Noise != "" {
		_, _ = io.WriteString(ch, f.Noise)
		_, _ = io.WriteString(ch.Stderr(), f.Noise)
	}
	err = cmd.Start()
	for _, file := range []*os.File{inR, outW, errW} {
		_ = file.Close()
	}
	if err != nil {
		_, _ = io.WriteString(ch.Stderr(), err.Error()+"\n")
		_, _ = ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{127}))
		for _, file := range []*os.File{inW, outR, errR} {
			_ = file.Close()
		}
		return
	}

	var all, outputs sync.WaitGroup
	all.Go(func() {
		_, _ = io.Copy(inW, ch)
		_ = inW.Close()
	})
	outputs.Go(func() { _, _ = io.Copy(ch, outR) })
	outputs.Go(func() { _, _ = io.Copy(ch.Stderr(), errR) })
	gone := make(chan struct{}) // the client closed the channel
	all.Go(func() {
		ssh.DiscardRequests(reqs)
		close(gone)
	})
	finished := make(chan struct{})
	all.Go(func() {
		outputs.Wait()
		close(finished)
	})

	exited := make(chan error, 1)
	s.track(cmd.Process.Pid, true)
	s.wg.Go(func() {
		err := cmd.Wait()
		s.track(cmd.Process.Pid, false)
		exited <- err
	})
	select {
	case err := <-exited:
		sendExit(ch, err)
		select {
		case <-finished:
		case <-gone:
		}
	case <-gone:
	}
	free()
	_ = ch.Close()
	_ = inW.Close()
	_ = outR.Close()
	_ = errR.Close()
	all.Wait()
}

func sendExit(ch ssh.Channel, err error) {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		status := exit.Sys().(syscall.WaitStatus)
		if status.Signaled() {
			names := map[syscall.Signal]string{syscall.SIGKILL: "KILL", syscall.SIGTERM: "TERM", syscall.SIGHUP: "HUP"}
			_, _ = ch.SendRequest("exit-signal", false, ssh.Marshal(struct {
				Signal     string
				CoreDumped bool
				Error      string
				Lang       string
			}{Signal: names[status.Signal()]}))
			return
		}
		_, _ = ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{uint32(status.ExitStatus())}))
		return
	}
	_, _ = ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{0}))
}

func (s *Server) forward(nc ssh.NewChannel) {
	var msg struct {
		Host       string
		Port       uint32
		OriginHost string
		OriginPort uint32
	}
	if ssh.Unmarshal(nc.ExtraData(), &msg) != nil || s.broken().NoForwarding {
		_ = nc.Reject(ssh.Prohibited, "open failed")
		return
	}
	to, err := net.Dial("tcp", net.JoinHostPort(msg.Host, strconv.Itoa(int(msg.Port))))
	if err != nil {
		_ = nc.Reject(ssh.ConnectionFailed, "Connection refused")
		return
	}
	defer to.Close()
	ch, reqs, err := nc.Accept()
	if err != nil {
		return
	}
	s.forwards.Add(1)
	go ssh.DiscardRequests(reqs)
	var wg sync.WaitGroup
	wg.Go(func() {
		_, _ = io.Copy(ch, to)
		_ = ch.CloseWrite()
	})
	_, _ = io.Copy(to, ch)
	_ = to.(*net.TCPConn).CloseWrite()
	_ = ch.Close()
	_ = to.Close()
	wg.Wait()
}
