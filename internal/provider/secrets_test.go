package provider

import (
	"slices"
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/secret"
)

func TestPlanDigests(t *testing.T) {
	t.Parallel()
	salt := secret.NewSalt()
	state := digestsOf(salt, secret.Set{"A": "a", "B": "b"})
	none, null, one := types.MapNull(types.StringType), types.StringNull(), types.StringValue("1")
	for name, c := range map[string]struct {
		set             secret.Set
		unknown         bool // a value of set is, as while an ephemeral resource waits for another one
		state           types.Map
		noSalt          bool
		version, before types.String
		changes         bool
		wantUnknown     []string // digests that aren't known before the apply
		wantDiffer      bool
	}{
		"create":                         {set: secret.Set{"A": "a", "B": "b"}, state: none, noSalt: true, changes: true, wantUnknown: []string{"A", "B"}, wantDiffer: true},
		"the same":                       {set: secret.Set{"A": "a", "B": "b"}, state: state},
		"another value":                  {set: secret.Set{"A": "x", "B": "b"}, state: state, wantUnknown: []string{"A"}, wantDiffer: true},
		"one more":                       {set: secret.Set{"A": "a", "B": "b", "C": "c"}, state: state, wantUnknown: []string{"C"}, wantDiffer: true},
		"one less":                       {set: secret.Set{"A": "a"}, state: state, wantDiffer: true},
		"servers disagree":               {set: secret.Set{"A": "a", "B": "b"}, state: nullElements(state), wantUnknown: []string{"A", "B"}, wantDiffer: true},
		"no salt":                        {set: secret.Set{"A": "a", "B": "b"}, state: state, noSalt: true, wantUnknown: []string{"A", "B"}, wantDiffer: true},
		"a value is not known":           {set: secret.Set{"A": "", "B": "b"}, unknown: true, state: state, wantUnknown: []string{"A", "B"}, wantDiffer: true},
		"something else changes":         {set: secret.Set{"A": "a", "B": "b"}, state: state, changes: true},
		"something and one value change": {set: secret.Set{"A": "x", "B": "b"}, state: state, changes: true, wantUnknown: []string{"A"}, wantDiffer: true},
		"version, another value":         {set: secret.Set{"A": "x", "B": "b"}, state: state, version: one, before: one},
		"version, a value not known":     {set: secret.Set{"A": "", "B": "b"}, unknown: true, state: state, version: one, before: one},
		"version, something else":        {set: secret.Set{"A": "x", "B": "b"}, state: state, version: one, before: one, changes: true, wantUnknown: []string{"A", "B"}},
		"version, one more":              {set: secret.Set{"A": "x", "B": "b", "C": "c"}, state: state, version: one, before: one, wantUnknown: []string{"A", "B", "C"}, wantDiffer: true},
		"version, servers disagree":      {set: secret.Set{"A": "a", "B": "b"}, state: nullElements(state), version: one, before: one, wantUnknown: []string{"A", "B"}, wantDiffer: true},
		"version, no salt":               {set: secret.Set{"A": "a", "B": "b"}, state: state, noSalt: true, version: one, before: one, wantUnknown: []string{"A", "B"}, wantDiffer: true},
		"another version":                {set: secret.Set{"A": "a", "B": "b"}, state: state, version: types.StringValue("2"), before: one, wantUnknown: []string{"A", "B"}, wantDiffer: true},
		"a version that isn't known yet": {set: secret.Set{"A": "a", "B": "b"}, state: state, version: types.StringUnknown(), before: one, wantUnknown: []string{"A", "B"}, wantDiffer: true},
		"the version goes":               {set: secret.Set{"A": "a", "B": "b"}, state: state, version: null, before: one, wantUnknown: []string{"A", "B"}, wantDiffer: true},
	} {
		used := salt
		if c.noSalt {
			used = nil
		}
		got := planDigests(c.set, !c.unknown, c.state, used, c.version, c.before, c.changes)
		var unknown []string
		for _, n := range c.set.Names() {
			switch e := got.digests.Elements()[n]; {
			case e.IsUnknown():
				unknown = append(unknown, n)
			case !e.Equal(c.state.Elements()[n]):
				t.Errorf("%s: %s is promised to be %s", name, n, e)
			}
		}
		if !slices.Equal(unknown, c.wantUnknown) || got.differ != c.wantDiffer || len(got.digests.Elements()) != len(c.set) {
			t.Errorf("%s: unknown %q, want %q; differ %t, want %t; %s", name, unknown, c.wantUnknown, got.differ, c.wantDiffer, got.digests)
		}
	}
	if got := planDigests(nil, true, state, salt, null, null, false); !got.digests.IsNull() || !got.differ {
		t.Errorf("all secrets go: %+v", got)
	}
	if got := planDigests(nil, true, none, nil, null, null, true); !got.digests.IsNull() || got.differ {
		t.Errorf("no secrets: %+v", got)
	}
	if got := planDigests(nil, false, state, salt, null, null, false); !got.digests.IsUnknown() || !got.differ {
		t.Errorf("not known whether there are secrets: %+v", got)
	}
}
