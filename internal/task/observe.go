package task

import (
	"slices"
	"strings"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
)

// Observed is what earlier runs have left on the server. A job's container is
// removed only after the run that waits for it has learnt its outcome, so
// each that is there is one whose outcome nobody has been told.
type Observed struct {
	// Jobs are the task's containers, the oldest first.
	Jobs []docker.Container
	// Others are containers of other tasks of the app that still run.
	Others   []docker.Container
	Snapshot *fleet.Snapshot
}

// Observe finds in a snapshot what earlier runs have left of a task.
func Observe(snap *fleet.Snapshot, s Spec) Observed {
	o := Observed{Snapshot: snap}
	for _, c := range snap.Containers {
		switch id := c.Labels()[LabelTask]; {
		case id == s.ID():
			o.Jobs = append(o.Jobs, c)
		case strings.HasPrefix(id, s.App()+"/") && c.Running():
			o.Others = append(o.Others, c)
		}
	}
	for _, list := range [][]docker.Container{o.Jobs, o.Others} {
		slices.SortStableFunc(list, func(a, b docker.Container) int { return a.CreatedAt().Compare(b.CreatedAt()) })
	}
	return o
}
