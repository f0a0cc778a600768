package firewall

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

const (
	what      = "set up the firewall"
	untouched = "the rules that were there before: nothing was changed."
)

// Apply makes a server's firewall as wanted: one remote call to look and, if
// something differs, one to change it. ours is the id of the machine whose
// firewall is in the state, "" for a create: on another one, a firewall that is
// there already with another Spec is refused. Errors are *fleet.Failure; an
// *InvalidError in one names the value that can't be.
func Apply(ctx context.Context, on *fleet.Server, want Spec, ours string) (*fleet.Snapshot, error) {
	_, snap, err := on.Observe(ctx, sshexec.Call{Title: "look at the server"})
	if err != nil {
		return nil, &fleet.Failure{What: what, Server: on.Name, Err: err}
	}
	o, err := Observe(snap)
	if err != nil {
		return nil, notPossible(on.Name, err)
	}
	if err := preflight(want, o, snap); err != nil {
		return nil, notPossible(on.Name, err)
	}
	guarded := o.Guarded(want)
	if own := files(want, guarded); snap.Facts.MachineID != ours && o.Spec != nil && o.specText+"\n" != own[len(own)-1].content {
		return nil, notPossible(on.Name, &PreflightError{
			Why:  "the server has a firewall of this provider already, with other rules.",
			Next: fmt.Sprintf("import it: the import id is %s. Two configurations can't both own it.", on.Name),
		})
	}
	if len(drift(want, o, snap)) == 0 {
		return snap, nil
	}
	own := o.toWrite(files(want, guarded))
	call := sshexec.Call{Title: "set up the firewall", Steps: changes(own)}
	for i, f := range own {
		call.Vars = append(call.Vars, sshexec.Var{Name: fmt.Sprintf("FILE%d", i), Value: f.content})
	}
	res, after, err := on.Observe(ctx, call)
	if err != nil {
		return nil, &fleet.Failure{What: what, Server: on.Name, Err: err}
	}
	if after == nil {
		return nil, stepFailed(on.Name, res)
	}
	if o, err = Observe(after); err != nil {
		return nil, notPossible(on.Name, err)
	}
	if rest := drift(want, o, after); len(rest) > 0 {
		return nil, &fleet.Failure{What: what, Server: on.Name,
			Cause: "everything went through, and yet this differs:\n- " + strings.Join(rest, "\n- "),
			Next:  "look for something else that changes the packet filter, then apply again."}
	}
	return after, nil
}

const checkStep = "try the rules"

// changes are the steps that put the files in place and the rules in force. The
// rules are tried before any file is replaced; the file of the Spec comes last.
func changes(own []ownFile) []sshexec.Step {
	write := `umask 077; mkdir -p ` + fleet.FirewallDir + ` && chown 0:0 ` + fleet.FirewallDir + ` && chmod 700 ` + fleet.FirewallDir + " || exit\n"
	for i, f := range own {
		write += fmt.Sprintf("printf '%%s' \"$FILE%d\" > %s.new && chown 0:0 %s.new && chmod %s %s.new || exit\n", i, f.path, f.path, f.mode, f.path)
	}
	clean, move := "rm -f", ""
	last := len(own) - 1
	for _, f := range own {
		clean += " " + f.path + ".new"
	}
	for _, f := range own[:last] {
		move += fmt.Sprintf("mv -f %s.new %s || exit\n", f.path, f.path)
	}
	return []sshexec.Step{
		{Title: "write the files beside their places", Script: write},
		{Title: checkStep, Script: "sh " + loadFile + ".new check || { r=$?; " + clean + "; exit $r; }"},
		{Title: "put the files in their places", Script: move},
		{Title: "load the rules", Script: "sh " + loadFile + " late"},
		{Title: "have the rules loaded whenever Docker starts", Script: readUnits + `
systemctl reset-failed ` + units + ` 2>/dev/null
systemctl start ` + fleet.FirewallUnit},
		{Title: "note what was applied", Script: "mv -f " + own[last].path + ".new " + own[last].path},
	}
}

const units = fleet.FirewallUnit + " " + fleet.FirewallEarlyUnit

// readUnits has systemd read the units and enables them, unless it has them as
// they are on the disk: a reload costs more than all other steps together. What
// it has is asked too, for an apply may have ended before systemd read them.
const readUnits = `for unit in ` + units + `; do
  systemctl is-enabled --quiet $unit && [ "$(systemctl show --property LoadState,NeedDaemonReload,WantedBy $unit | sort | tr '\n' ' ')" = \
    'LoadState=loaded NeedDaemonReload=no WantedBy=docker.service ' ] && continue
  systemctl daemon-reload && systemctl enable --quiet ` + units + ` || exit
  break
done`

// Remove takes everything of ours from a server. What others have in the
// packet filter stays as it is.
func Remove(ctx context.Context, on *fleet.Server) error {
	const what = "remove the firewall"
	res, err := on.Change(ctx, sshexec.Call{
		Title: what,
		Vars:  []sshexec.Var{{Name: "LOADER", Value: loader}},
		Steps: []sshexec.Step{
			{Title: "check that we are root", Script: `[ "$(id -u)" = 0 ] || { echo "not root" >&2; exit 76; }`},
			{Title: "take the rules out", Script: `printf '%s' "$LOADER" | sh -s remove`},
			{Title: "remove the units and the files", Script: `
if [ -e ` + unitFile + ` ] || [ -e ` + earlyFile + ` ]; then
  systemctl disable --quiet --now ` + units + ` 2>/dev/null
  rm -f ` + unitFile + ` ` + earlyFile + ` && systemctl daemon-reload || exit
  systemctl reset-failed ` + units + ` 2>/dev/null
fi
rm -rf ` + fleet.FirewallDir + ` /run/kamal-firewall.lock`},
		},
	})
	if err == nil {
		err = res.Err()
	}
	if err != nil {
		return &fleet.Failure{What: what, Server: on.Name, Err: err,
			Running: "some or all of the rules; another destroy goes on where this one ended."}
	}
	return nil
}

func notPossible(server string, err error) error {
	f := &fleet.Failure{What: what, Server: server, Cause: err.Error(), Running: untouched}
	var p *PreflightError
	var v *InvalidError
	switch {
	case errors.As(err, &p):
		f.Next = p.Next
	case errors.As(err, &v):
		f.Err = v
	}
	return f
}

func stepFailed(server string, res *sshexec.Result) error {
	f := &fleet.Failure{What: what, Server: server, Err: res.Err()}
	var step *sshexec.StepError
	if !errors.As(f.Err, &step) {
		f.Err = errors.New("the server gave no answer")
		return f
	}
	f.Running = "what was loaded before or the new rules, never none: rules are replaced in one step. Another apply goes on where this one ended."
	if step.Title == checkStep {
		f.Cause, f.Running = "iptables does not take the rules.", untouched
	}
	return f
}
