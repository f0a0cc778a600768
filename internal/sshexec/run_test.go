package sshexec_test

import (
	"testing"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec/sshtest"
)

func TestRunGivesEachStepItsOwnAnswer(t *testing.T) {
	t.Parallel()
	srv := sshtest.Start(t)
	r := mustRun(t, newClient(t, srv), steps("echo one", "echo two >&2; printf three", "exit 5", "echo never"))
	if got := r.Out(0); got != "one" {
		t.Errorf("step 0: %q", got)
	}
	if got := string(r.Steps[1].Stdout) + "/" + string(r.Steps[1].Stderr); got != "three/two\n" {
		t.Errorf("step 1: %q", got)
	}
	if s := r.Steps[2]; !s.Ran || s.ExitCode != 5 {
		t.Errorf("step 2: %+v", s)
	}
	if r.Steps[3].Ran {
		t.Error("the step behind the failed one ran")
	}
}
