package fleet

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/kamal"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

func parseSnapshot(server string, steps []sshexec.StepResult) (*Snapshot, error) {
	s := &Snapshot{Server: server}
	if err := failed(steps[stepFacts], server); err != nil {
		return nil, err
	}
	s.Facts = parseFacts(string(steps[stepFacts].Stdout))
	s.Docker = parseDocker(steps[stepDocker])
	s.Docker.Elsewhere = parseElsewhere(steps[stepFacts])
	if s.Docker.Installed && !s.Docker.Running && s.Docker.Elsewhere != "" {
		s.Docker.Failure += "; the SSH user's own docker goes to " + s.Docker.Elsewhere
	}
	if free, ok := parseFree(string(steps[stepDocker].Stdout)); ok {
		s.Facts.DiskFree = free
	}
	parseDockerd(string(steps[stepDockerd].Stdout), &s.Facts, &s.Docker)
	s.Docker.DaemonJSON = string(steps[stepDaemon].Stdout)
	for _, i := range []int{stepDockerd, stepDaemon, stepMarks, stepCertificates, stepEnvFiles, stepSecretFiles, stepFirewall} {
		if err := failed(steps[i], server); err != nil {
			return nil, err
		}
	}
	var err error
	if s.Marks, s.Locks, err = parseMarks(string(steps[stepMarks].Stdout)); err != nil {
		return nil, err
	}
	if s.Certificates, err = parseFiles(string(steps[stepCertificates].Stdout)); err != nil {
		return nil, err
	}
	if s.SecretFiles, err = parseFiles(string(steps[stepSecretFiles].Stdout)); err != nil {
		return nil, err
	}
	s.EnvNames = parseEnvNames(string(steps[stepEnvFiles].Stdout))
	s.Firewall = string(steps[stepFirewall].Stdout)
	if !s.Docker.Running {
		return s, nil
	}
	if err := failed(steps[stepObjects], server); err != nil {
		return nil, err
	}
	if err := parseObjects(steps[stepObjects].Stdout, s); err != nil {
		return nil, err
	}
	if s.heldElsewhere() {
		s.Docker.Running, s.Containers, s.Images, s.Network, s.Proxy = false, nil, nil, false, Proxy{}
		s.Docker.Failure = "the server's own Docker has none of what is marked as ours in " + s.Facts.Home + "/" + kamal.MarksDir +
			", and the SSH user's own docker goes to " + s.Docker.Elsewhere + ", where it may be"
	}
	return s, nil
}

// heldElsewhere says that what we made may be at another daemon of this server,
// as older builds went to the one that the SSH user's docker goes to: nothing
// of it is at this one.
func (s *Snapshot) heldElsewhere() bool {
	made := slices.ContainsFunc(s.Marks, func(m kamal.Mark) bool { return m.State == kamal.MarkOwned })
	here := s.Proxy.Container != nil || slices.ContainsFunc(s.Containers, func(c docker.Container) bool { return c.Labels()[kamal.LabelService] != "" })
	return made && !here && strings.HasPrefix(s.Docker.Elsewhere, "unix://")
}

func parseElsewhere(facts sshexec.StepResult) string {
	for line := range strings.Lines(string(facts.Stdout)) {
		if where, ok := strings.CutPrefix(line, "elsewhere\t"); ok {
			return strings.TrimSpace(where)
		}
	}
	return ""
}

func failed(step sshexec.StepResult, server string) error {
	if step.Ran && step.ExitCode == 0 {
		return nil
	}
	return &sshexec.StepError{Server: server, Call: "look at the server", StepResult: step}
}

func parseFacts(out string) Facts {
	m := map[string]string{}
	for line := range strings.Lines(out) {
		k, v, _ := strings.Cut(strings.TrimRight(line, "\n"), "\t")
		m[k] = v
	}
	number := func(k string) int64 { n, _ := strconv.ParseInt(strings.TrimSpace(m[k]), 10, 64); return n }
	var swaps []Swap
	for k, v := range m {
		if file, ok := strings.CutPrefix(k, "swap "); ok {
			// The kernel leaves out the page that mkswap writes.
			kib, _ := strconv.ParseInt(v, 10, 64)
			swaps = append(swaps, Swap{File: file, Size: (kib + 4) << 10, AtBoot: m["fstab "+file] != ""})
		}
	}
	slices.SortFunc(swaps, func(a, b Swap) int { return strings.Compare(a.File, b.File) })
	return Facts{
		Clock: time.Unix(number("clock"), 0), Swaps: swaps,
		MachineID: m["machine_id"], OS: m["id"], OSVersion: m["version"], OSName: m["name"],
		Kernel: m["kernel"], Machine: m["machine"], Arch: goArch(m["machine"]), CPUs: number("cpus"),
		Memory: number("MemTotal:") << 10, Available: number("MemAvailable:") << 10,
		Swap: number("SwapTotal:") << 10, SwapFree: number("SwapFree:") << 10,
		DiskFree: number("disk_free") << 10, BootID: m["boot_id"], Home: m["home"], User: m["user"],
	}
}

func parseDocker(step sshexec.StepResult) Docker {
	lines := strings.SplitN(string(step.Stdout), "\n", 3)
	d := Docker{Installed: lines[0] == "installed" || lines[0] == "enabled", Enabled: lines[0] == "enabled"}
	if step.ExitCode != 0 || len(lines) < 2 {
		d.Failure = strings.TrimSpace(string(step.Stderr))
		return d
	}
	f := strings.Split(lines[1], "\t")
	if len(f) >= 4 && f[0] != "" {
		d.Running, d.Version, d.LoggingDriver, d.Arch = true, f[0], f[1], goArch(f[2])
		d.Swarm = f[3] != "inactive" && f[3] != ""
	} else {
		d.Failure = strings.TrimSpace(string(step.Stderr))
	}
	return d
}

// parseFree is the least that is free of the disks that dockerScript looked at;
// false where it looked at none, as where docker doesn't run.
func parseFree(out string) (bytes int64, ok bool) {
	for line := range strings.Lines(out) {
		text, isFree := strings.CutPrefix(strings.TrimRight(line, "\n"), "free\t")
		// df's heading is no number.
		if kib, err := strconv.ParseInt(text, 10, 64); isFree && err == nil && (!ok || kib<<10 < bytes) {
			bytes, ok = kib<<10, true
		}
	}
	return bytes, ok
}

// goArch turns uname's word for an architecture into the one of image platforms.
func goArch(machine string) string {
	switch machine {
	case "x86_64":
		return "amd64"
	case "aarch64":
		return "arm64"
	case "armv7l", "armv6l":
		return "arm"
	case "i386", "i686":
		return "386"
	}
	return machine
}

func parseMarks(out string) ([]kamal.Mark, []kamal.LockHolder, error) {
	var marks []kamal.Mark
	var locks []kamal.LockHolder
	for line := range strings.Lines(out) {
		f := strings.SplitN(strings.TrimRight(line, "\n"), "\t", 4)
		// A file that is just being written is empty.
		if len(f) < 2 || f[len(f)-1] == "" {
			continue
		}
		n, _ := strconv.Atoi(f[0])
		age := time.Duration(n) * time.Second
		if f[1] == "lock" && len(f) == 4 {
			locks = append(locks, kamal.LockHolder{App: f[2], Run: f[3], Age: age})
			continue
		}
		var m kamal.Mark
		if err := json.Unmarshal([]byte(f[1]), &m); err != nil {
			return nil, nil, fmt.Errorf("a mark under %s: %w", kamal.MarksDir, err)
		}
		m.Age = age
		marks = append(marks, m)
	}
	return marks, locks, nil
}

func parseEnvNames(out string) map[string][]string {
	m := map[string][]string{}
	for line := range strings.Lines(out) {
		if path, name, ok := strings.Cut(strings.TrimRight(line, "\n"), "\t"); ok {
			m[path] = append(m[path], name)
		}
	}
	return m
}

// parseFiles reads lines of a path, a tab and the file's content in base64.
func parseFiles(out string) (map[string]string, error) {
	m := map[string]string{}
	for line := range strings.Lines(out) {
		path, text, _ := strings.Cut(strings.TrimSpace(line), "\t")
		b, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		m[path] = string(b)
	}
	return m, nil
}
