package server

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/kamal"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

// A Plan is what has to be done on a server so that it is as wanted. It has no
// steps where it is so already.
type Plan struct {
	Steps []sshexec.Step
	// DaemonJSON is what the steps write to daemon.json, "" for nothing. It
	// goes to the server as a variable: it may hold a proxy's password.
	DaemonJSON string
	// Script is what installs Docker, "" for nothing: a variable as well.
	Script string
	// Warnings are for the user to know.
	Warnings []string
}

// A PreflightError says that a server can't be made as wanted. Nothing was changed.
type PreflightError struct {
	// Why says what is in the way, Next what to do.
	Why, Next string
}

func (e *PreflightError) Error() string { return e.Why }

// minDocker is the oldest Docker this works with: Debian 12's.
const minDocker = "20.10"

// NewPlan compares what is wanted with what is there.
func NewPlan(want Spec, is *fleet.Snapshot) (*Plan, error) {
	if err := preflight(want, is); err != nil {
		return nil, err
	}
	if err := checkSwap(want, is); err != nil {
		return nil, err
	}
	daemon, err := ReadDaemon(is.Docker.DaemonJSON, is.Docker.Command)
	if err != nil {
		return nil, &PreflightError{Why: err.Error(), Next: "mend the file by hand, or remove it: it was left as it is."}
	}
	p := &Plan{}
	install := missing(is.Docker)
	changed := daemon.change(want.Docker, install)
	if len(changed) > 0 {
		p.DaemonJSON = daemon.text()
	}
	p.Warnings = leftOut(daemon)
	p.changeSwap(want, is)
	if install || p.DaemonJSON != "" || !is.Docker.Running || !is.Docker.Enabled || len(p.Steps) > 0 {
		p.Steps = append([]sshexec.Step{{Title: "check that we are root", Script: checkRoot}}, p.Steps...)
	}
	if install {
		p.add(waitForPackages, "packages_free")
	}
	if p.DaemonJSON != "" {
		p.add("write "+daemonFile, writeDaemonJSON(is.Docker.DaemonJSON))
	}
	switch {
	case install && want.Docker.Script != "":
		p.Script = want.Docker.Script
		p.add(runScript, installByScript)
		p.add("start Docker, now and at boot", startDocker(p.DaemonJSON != "", is.Docker.DaemonJSON))
	case install:
		p.add("install Docker from the distribution's packages", installDocker)
		p.add("start Docker, now and at boot", startDocker(p.DaemonJSON != "", is.Docker.DaemonJSON))
	case !is.Docker.Running || !is.Docker.Enabled && p.DaemonJSON == "":
		p.add("start Docker, now and at boot", startDocker(p.DaemonJSON != "", is.Docker.DaemonJSON))
	case p.DaemonJSON != "":
		p.changeDaemon(changed, want.Docker, is)
	}
	if !is.Network {
		p.add("make the network "+kamal.Network, kamal.MakeNetwork().Script)
	}
	if len(p.Steps) == 0 {
		return p, nil
	}
	return p, checkMachine(is, install)
}

// maxSkew is how wrong a clock may be: the certificates and tokens of
// registries and the lists of packages are refused before and after their time.
const maxSkew = 5 * time.Minute

// installRoom is what Docker's packages need on the disk, in bytes.
const installRoom = 1 << 30

// checkMachine finds what would make a change fail with an error that nobody understands.
func checkMachine(is *fleet.Snapshot, install bool) error {
	if skew := is.Facts.Clock.Sub(is.At); !is.At.IsZero() && is.Facts.Clock.Unix() > 0 && skew.Abs() > maxSkew {
		return &PreflightError{
			Why:  fmt.Sprintf("its clock says %s and this machine's %s: %s apart.", is.Facts.Clock.UTC().Format(time.DateTime), is.At.UTC().Format(time.DateTime), skew.Abs().Round(time.Second)),
			Next: "set the clock that is wrong, as by `timedatectl set-ntp true`. Registries and package lists can't be used with it.",
		}
	}
	need := int64(diskReserve)
	if install {
		need = installRoom
	}
	if free := is.Facts.DiskFree; free > 0 && free < need {
		return &PreflightError{
			Why:  fmt.Sprintf("the disk is nearly full: %s are free where Docker keeps its data, and %s are needed.", size(free), size(need)),
			Next: "free some space, as by `docker image prune --all` and `journalctl --vacuum-size=100M`.",
		}
	}
	return nil
}

// The titles of the steps that only wait.
const (
	waitForCloudInit = "wait for cloud-init"
	waitForPackages  = "wait for the package manager"
	runScript        = "install Docker by the script"
)

// changeDaemon makes a running dockerd take the new file. It takes some keys on
// a reload; the others only on a restart, which nobody wants while containers
// run: until Docker is restarted for another reason they only stand in the file.
func (p *Plan) changeDaemon(changed []string, want Docker, is *fleet.Snapshot) {
	if !is.Docker.Enabled {
		p.add("have Docker started at boot", "systemctl enable --quiet docker")
	}
	late := slices.DeleteFunc(slices.Clone(changed), func(key string) bool { return slices.Contains(reloaded, key) })
	if len(late) > 0 && !anyRunning(is) {
		p.add("restart Docker, where no container runs", restartDocker(is.Docker.DaemonJSON))
		return
	}
	if len(late) > 0 {
		p.Warnings = append(p.Warnings, strings.Join(late, ", ")+" in "+daemonFile+
			" was changed, which Docker takes only when it is restarted, and containers run. They were not disturbed: it holds from Docker's next restart on, "+
			"log options for containers made after it. Containers that this provider starts have their own log options.")
	}
	if len(late) < len(changed) {
		p.add("reload Docker's configuration", reloadDocker(is.Docker.DaemonJSON, want))
	}
}

func (p *Plan) add(title, script string) {
	p.Steps = append(p.Steps, sshexec.Step{Title: title, Script: script})
}

// preflight finds what no step can mend.
func preflight(want Spec, is *fleet.Snapshot) error {
	d := is.Docker
	if !is.Facts.Systemd {
		return &PreflightError{
			Why:  fmt.Sprintf("systemd does not run there (%s): kamal_server needs it to start Docker, now and at boot.", osName(is.Facts)),
			Next: "use a server with systemd, as Debian and Ubuntu are. kamal_proxy and the rest work with any server whose Docker runs.",
		}
	}
	if d.Unit == "masked" {
		return &PreflightError{Why: "docker.service is masked: somebody made sure that it does not start.", Next: "run 'systemctl unmask docker.service' on the server if Docker shall run there."}
	}
	if d.Running && d.Unit != "loaded" {
		return &PreflightError{
			Why:  "Docker answers, but there is no docker.service: it is a snap or a rootless one, perhaps.",
			Next: "install Docker as a package of the distribution or of docker.com, or leave kamal_server out.",
		}
	}
	if d.Running && olderThan(d.Version, minDocker) {
		return &PreflightError{Why: fmt.Sprintf("Docker %s is too old: %s is the oldest that works.", d.Version, minDocker), Next: "upgrade Docker on the server."}
	}
	if d.Swarm && want.Docker.LiveRestore {
		return &PreflightError{Why: "Docker is in swarm mode there, and refuses to start with live-restore in it.", Next: "set docker = { live_restore = false }, or leave the swarm."}
	}
	if !missing(d) {
		return nil
	}
	if want.Docker.Script != "" {
		return nil
	}
	if !want.Docker.Install {
		return &PreflightError{Why: "Docker is missing, and docker.install is false.", Next: "install Docker by hand, or let kamal_server do it."}
	}
	switch is.Facts.OS {
	case "debian", "ubuntu":
		return nil
	}
	return &PreflightError{
		Why:  fmt.Sprintf("Docker is missing, and without install_script it is installed from the packages of Debian and Ubuntu: this is %s.", osName(is.Facts)),
		Next: fmt.Sprintf("give a docker.install_script, or install Docker %s or newer by hand, then apply again.", minDocker),
	}
}

// missing says that there is no Docker to start: no daemon, or no client to ask it.
func missing(d fleet.Docker) bool { return !d.Running && (!d.Installed || d.Unit != "loaded") }

// leftOut tells which wanted keys were not written, and why.
func leftOut(d *Daemon) []string {
	if len(d.Why) == 0 {
		return nil
	}
	return []string{"Not everything could be set in " + daemonFile + ":\n- " + strings.Join(d.Why, "\n- ")}
}

func anyRunning(is *fleet.Snapshot) bool {
	for _, c := range is.Containers {
		if c.Running() {
			return true
		}
	}
	return false
}

func osName(f fleet.Facts) string {
	if f.OSName != "" {
		return f.OSName
	}
	return "an unknown system"
}

// olderThan compares MAJOR.MINOR of two versions; what is no version is not older.
func olderThan(version, than string) bool {
	a, err := majorMinor(version)
	b, err2 := majorMinor(than)
	return err == nil && err2 == nil && (a[0] < b[0] || a[0] == b[0] && a[1] < b[1])
}

func majorMinor(v string) (n [2]int, err error) {
	parts := strings.SplitN(v, ".", 3)
	if len(parts) < 2 {
		return n, errors.New("no version")
	}
	for i := range n {
		if n[i], err = strconv.Atoi(parts[i]); err != nil {
			return n, err
		}
	}
	return n, nil
}
