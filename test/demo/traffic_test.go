package main

import (
	"testing"

	"github.com/kamal-terraform/terraform-provider-kamal/test/load"
)

func TestServesWantsStatusBodyAndVersion(t *testing.T) {
	t.Parallel()
	check := serves("v1", "v2")
	for _, c := range []struct {
		status int
		body   string
		right  bool
	}{
		{200, `{"version":"v1","hostname":"a"}`, true},
		{200, `{"version":"v2","hostname":"a"}`, true},
		{200, `{"version":"v3","hostname":"a"}`, false},
		{503, `{"version":"v1","hostname":"a"}`, false},
		{200, `{"version":"v1"`, false},
		{200, ``, false},
	} {
		if err := check(load.Target{}, c.status, []byte(c.body)); (err == nil) != c.right {
			t.Errorf("%d %s: %v", c.status, c.body, err)
		}
	}
}
