package kamal

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

// A Mark says on the server that the provider made a thing there and keeps it
// in a state. It tells what a run that died left behind from what is complete,
// and both from what Kamal or another configuration owns.
type Mark struct {
	// Kind and Name say what is marked: "role" "shop-web-staging".
	Kind string `json:"kind"`
	Name string `json:"name"`
	// State is MarkCreating until the create is through, then MarkOwned.
	State string `json:"state"`
	// Run is the run that wrote the mark, By who ran it, At when.
	Run string    `json:"run"`
	By  string    `json:"by"`
	At  time.Time `json:"at"`
	// Created names the data that was made for the thing, so that nothing else
	// is ever deleted with it; its kind says how.
	Created []string `json:"created,omitempty"`
	// Age is how long ago the mark was written or its run gave a sign of life,
	// by the server's own clock. Filled by observing.
	Age time.Duration `json:"-"`
}

// The states of a Mark.
const (
	MarkCreating = "creating"
	MarkOwned    = "owned"
	// MarkGivenUp: its owner gave the thing up while it could not be removed,
	// so whoever creates it again may take it.
	MarkGivenUp = "given up"
)

// Dead is the age from which on a run that gives no sign of life counts as
// dead. Runs give one every Beat.
const (
	Beat = 8 * time.Second
	Dead = 30 * time.Second
)

// Unfinished says that a create began and was not finished, by a run that is
// no longer alive.
func (m Mark) Unfinished() bool { return m.State == MarkCreating && m.Age > Dead }

// MarkPath is the file of a mark, relative to the SSH user's home.
func MarkPath(kind, name string) string { return MarksDir + "/" + kind + "." + name + ".json" }

// WriteMark is the step that writes a mark.
func WriteMark(m Mark) sshexec.Step {
	b, err := json.Marshal(m)
	if err != nil {
		panic(fmt.Sprintf("a mark always marshals: %v", err))
	}
	return sshexec.Step{
		Title:  "mark " + m.Kind + " " + m.Name + " as " + m.State,
		Script: "printf '%s\\n' " + sshexec.Quote(string(b)) + " | put " + sshexec.Quote(MarkPath(m.Kind, m.Name)),
	}
}

// RemoveMark is the step that removes a mark; it is fine if there is none.
func RemoveMark(kind, name string) sshexec.Step {
	return sshexec.Step{
		Title:  "remove the mark of " + kind + " " + name,
		Script: "rm -f " + sshexec.Quote(MarkPath(kind, name)) + "; rmdir " + MarksDir + " 2>/dev/null || :",
	}
}

// ListMarks prints each mark as a line: age in seconds, tab, JSON; and each
// lock of a run as a line: age in seconds, tab, "lock", tab, app, tab, run.
const ListMarks = `
now=$(date +%s)
for f in ` + MarksDir + `/*.json; do
  [ -f "$f" ] || continue
  printf '%s\t%s\n' "$((now - $(stat -c %Y "$f")))" "$(cat "$f")"
done
for f in ` + Dir + `/lock-*/run; do
  [ -f "$f" ] || continue
  d=${f%/run}
  printf '%s\tlock\t%s\t%s\n' "$((now - $(stat -c %Y "$f")))" "${d#` + Dir + `/lock-}" "$(cat "$f")"
done`
