package testbed

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// process is one of the server's, or of its containers'.
type process struct {
	pid     int // as this machine counts
	key     string
	started uint64
	stopped bool
}

// processes are all that run in the server's cgroups, the oldest first. Who
// entered the server by its namespaces isn't among them.
func (in *inside) processes() ([]process, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var all []process
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		p, err := in.process(pid)
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ESRCH): // ended meanwhile
		case err != nil:
			return nil, err
		case p != nil:
			all = append(all, *p)
		}
	}
	slices.SortFunc(all, func(a, b process) int {
		return cmp.Or(cmp.Compare(a.started, b.started), cmp.Compare(a.pid, b.pid))
	})
	return all, nil
}

// process is nil if the process isn't the server's.
func (in *inside) process(pid int) (*process, error) {
	dir := "/proc/" + strconv.Itoa(pid) + "/"
	groups, err := os.ReadFile(dir + "cgroup")
	if err != nil || !bytes.Contains(groups, []byte(in.container)) {
		return nil, err
	}
	command, err := os.ReadFile(dir + "cmdline")
	if err != nil {
		return nil, err
	}
	if len(command) == 0 {
		return nil, nil // it has ended, and its parent will see to it
	}
	stat, err := os.ReadFile(dir + "stat")
	if err != nil {
		return nil, err
	}
	// The second field, the name, is in parentheses and may have any character.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 20 {
		return nil, fmt.Errorf("%sstat: %q", dir, stat)
	}
	if fields[0] == "Z" {
		return nil, nil
	}
	p := &process{pid: pid, stopped: fields[0] == "T"}
	if p.started, err = strconv.ParseUint(fields[19], 10, 64); err != nil {
		return nil, err
	}
	// sshd writes there how many are logging in.
	line, _, _ := strings.Cut(strings.TrimRight(string(bytes.ReplaceAll(command, []byte{0}, []byte{' '})), " "), " [listener]")
	p.key = in.unit(string(groups)) + " " + line
	return p, nil
}

// unit is where systemd keeps a process: "system.slice/ssh.service".
func (in *inside) unit(groups string) string {
	for _, line := range lines(groups) {
		if fields := strings.SplitN(line, ":", 3); len(fields) == 3 && (fields[1] == "name=systemd" || fields[0] == "0" && fields[1] == "" && strings.Contains(fields[2], in.container)) {
			_, below, _ := strings.Cut(fields[2], in.container)
			return strings.TrimPrefix(strings.TrimPrefix(below, ".scope"), "/")
		}
	}
	return ""
}

func (in *inside) lookAtProcesses(f *footprint) error {
	all, err := in.processes()
	count := map[string]int{}
	for _, p := range all {
		count[p.key]++
	}
	for key, n := range count {
		f.values["process "+key] = strconv.Itoa(n)
	}
	return err
}

// extraProcesses are those that a fresh server hasn't, the youngest of equal ones.
func (in *inside) extraProcesses(fresh *footprint) ([]process, error) {
	all, err := in.processes()
	seen := map[string]int{}
	return slices.DeleteFunc(all, func(p process) bool {
		seen[p.key]++
		allowed, _ := strconv.Atoi(fresh.values["process "+p.key])
		return seen[p.key] <= allowed
	}), err
}

// signal signals this process, and no other that has got its number meanwhile.
func (in *inside) signal(p process, signal syscall.Signal) error {
	handle, err := os.FindProcess(p.pid)
	if err != nil {
		return err
	}
	defer func() { _ = handle.Release() }()
	now, err := in.process(p.pid)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ESRCH), err == nil && (now == nil || now.started != p.started):
		return nil
	case err != nil:
		return err
	}
	if err := handle.Signal(signal); !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}
