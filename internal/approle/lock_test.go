package approle

import (
	"testing"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
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

func TestWhatSomebodyElseDeployedOnAServerThatJoinsIsRefused(t *testing.T) {
	t.Parallel()
	byKamal := func(c *docker.Container) { delete(c.Config.Labels, kamal.LabelRun) }
	owned := kamal.Mark{Kind: MarkKind, Name: wanted().Role.Prefix(), State: kamal.MarkOwned, Run: "another", By: "you"}
	for name, tt := range map[string]struct {
		change  func(*docker.Container)
		marks   []kamal.Mark
		stays   bool // the server was in the list before
		known   bool // the state has the container, on a server of another name
		refused bool
	}{
		"Kamal's":                                {change: byKamal, refused: true},
		"another configuration's":                {marks: []kamal.Mark{owned}, refused: true},
		"what a run left that died":              {},
		"its own, under another name":            {marks: []kamal.Mark{owned}, known: true},
		"Kamal deployed where the role is known": {change: byKamal, stays: true},
	} {
		w := newWorld()
		var changes []func(*docker.Container)
		if tt.change != nil {
			changes = append(changes, tt.change)
		}
		c := w.run(wanted(), changes...)
		w.marks = tt.marks
		r := &rollout{Deployment: Deployment{Spec: wanted(), Joining: []string{"10.0.0.1"}, Recorded: map[string]string{}}, fleet: &fleet.Fleet{Run: thisRun}}
		if tt.stays {
			r.Joining = nil
		}
		if tt.known {
			r.Recorded["web-1"] = c.ID
		}
		err := r.check(&site{name: "10.0.0.1", have: w.look(t, wanted().Role, "")})
		if (err != nil) != tt.refused {
			t.Errorf("%s: %v", name, err)
		}
	}
}
