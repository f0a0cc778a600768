package approle

import (
	"strings"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/kamal"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

// A batch is a remote call in the making, with names for its steps.
type batch struct {
	call sshexec.Call
	at   map[string]int
}

func newBatch(title string) *batch {
	return &batch{call: sshexec.Call{Title: title, Prelude: kamal.RunPrelude + fleet.StatePrelude}, at: map[string]int{}}
}

// add adds steps; key names the last of them.
func (b *batch) add(key string, steps ...sshexec.Step) {
	b.call.Steps = append(b.call.Steps, steps...)
	b.at[key] = len(b.call.Steps) - 1
}

// run adds a step that is one command.
func (b *batch) run(key, title string, argv ...string) {
	b.add(key, sshexec.Step{Title: title, Script: sshexec.Join(argv...)})
}

// has says that there is a step with this key.
func (b *batch) has(key string) bool { _, ok := b.at[key]; return ok }

// result is the result of the step with this key; not ran if there is none.
func (b *batch) result(res *sshexec.Result, key string) sshexec.StepResult {
	i, ok := b.at[key]
	if !ok || res == nil || i >= len(res.Steps) {
		return sshexec.StepResult{}
	}
	return res.Steps[i]
}

// out is a step's output without the newline at its end.
func (b *batch) out(res *sshexec.Result, key string) string {
	return strings.TrimRight(string(b.result(res, key).Stdout), "\n")
}

// done says that the step with this key ran and succeeded.
func (b *batch) done(res *sshexec.Result, key string) bool {
	s := b.result(res, key)
	return s.Ran && s.ExitCode == 0
}

// failed is the error of the step that ended the batch, nil where none did.
func (b *batch) failed(res *sshexec.Result) error {
	for i := range res.Steps {
		if b.call.Steps[i].KeepGoing {
			continue
		}
		if err := res.StepErr(i); err != nil {
			return err
		}
	}
	return nil
}
