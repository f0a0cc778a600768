package approle

import (
	"testing"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/kamal"
)

func siteOn(name, machine string) *site {
	return &site{name: name, locked: true, have: Observed{Snapshot: &fleet.Snapshot{Facts: fleet.Facts{MachineID: machine}}}}
}

func TestAServerThatStaysUnderAnotherNameDoesNotLeave(t *testing.T) {
	t.Parallel()
	r := &rollout{
		sites:   []*site{siteOn("10.0.0.1", "machine-1"), siteOn("10.0.0.2", "")},
		leaving: []*site{siteOn("web-1", "machine-1"), siteOn("10.0.0.3", "machine-3"), siteOn("10.0.0.4", ""), {name: "10.0.0.5", gone: true}},
	}
	renamed := r.leaving[0]
	r.dropRenamed()
	var names []string
	for _, s := range r.leaving {
		names = append(names, s.name)
		if !s.gone && !s.locked {
			t.Errorf("the lock on %s was forgotten", s.name)
		}
	}
	// Two machines without a machine-id are two machines.
	if len(names) != 3 || names[0] != "10.0.0.3" || names[1] != "10.0.0.4" || names[2] != "10.0.0.5" {
		t.Errorf("leaving: %v", names)
	}
	if renamed.locked {
		t.Error("the lock of the machine that stays would be given back twice")
	}
}

func TestAMarkOfADeadCreateIsTakenOverUnderTheLock(t *testing.T) {
	t.Parallel()
	w := newWorld()
	old := w.run(wanted())
	w.marks = []kamal.Mark{{Kind: MarkKind, Name: wanted().Role.Prefix(), State: kamal.MarkCreating, Run: old.Labels()[kamal.LabelRun]}}
	r := &rollout{Deployment: Deployment{Spec: wanted(), Create: true}, fleet: &fleet.Fleet{Run: thisRun}}
	s := &site{name: "10.0.0.1", have: w.look(t, wanted().Role, "")}
	if err := r.check(s); err != nil {
		t.Errorf("its run can't live, or it would hold the lock: %v", err)
	}
}
