package fleet

import (
	"strings"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/kamal"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

// A Batch is a remote call in the making, with names for its steps. The shell
// functions of kamal.RunPrelude and StatePrelude are there for them.
type Batch struct {
	Call sshexec.Call
	at   map[string]int
}

// NewBatch begins a call; title says what it is for.
func NewBatch(title string) *Batch {
	return &Batch{Call: sshexec.Call{Title: title, Prelude: kamal.RunPrelude + StatePrelude}, at: map[string]int{}}
}

// Add adds steps; key names the last of them.
func (b *Batch) Add(key string, steps ...sshexec.Step) {
	b.Call.Steps = append(b.Call.Steps, steps...)
	b.at[key] = len(b.Call.Steps) - 1
}

// Run adds a step that is one command.
func (b *Batch) Run(key, title string, argv ...string) {
	b.Add(key, sshexec.Step{Title: title, Script: sshexec.Join(argv...)})
}

// Has says that there is a step with this key.
func (b *Batch) Has(key string) bool { _, ok := b.at[key]; return ok }

// Result is the result of the step with this key; not ran if there is none.
func (b *Batch) Result(res *sshexec.Result, key string) sshexec.StepResult {
	i, ok := b.at[key]
	if !ok || res == nil || i >= len(res.Steps) {
		return sshexec.StepResult{}
	}
	return res.Steps[i]
}

// Out is a step's output without the newline at its end.
func (b *Batch) Out(res *sshexec.Result, key string) string {
	return strings.TrimRight(string(b.Result(res, key).Stdout), "\n")
}

// Done says that the step with this key ran and succeeded.
func (b *Batch) Done(res *sshexec.Result, key string) bool {
	s := b.Result(res, key)
	return s.Ran && s.ExitCode == 0
}

// Failed is the error of the step that ended the batch, nil where none did.
func (b *Batch) Failed(res *sshexec.Result) error {
	for i := range res.Steps {
		if b.Call.Steps[i].KeepGoing {
			continue
		}
		if err := res.StepErr(i); err != nil {
			return err
		}
	}
	return nil
}
