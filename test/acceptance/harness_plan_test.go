package acceptance

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	tfjson "github.com/hashicorp/terraform-json"
)

// Plan is a plan, read from the CLI's JSON form of it.
type Plan struct {
	Text string // what the CLI printed
	File string // a saved plan: Apply(p.File) applies it

	code int // exit code of plan -detailed-exitcode
	json func() *tfjson.Plan
}

// JSON is all of it. It is read with the first question: that starts the CLI and
// the provider once more.
func (p *Plan) JSON() *tfjson.Plan { return p.json() }

// Empty says that the CLI has nothing to do.
func (p *Plan) Empty() bool { return p.code == 0 }

// Actions is what is to be done with a resource: "no-op", "create", "update",
// "replace", "delete", "read", "forget", or "absent" if the plan doesn't know it.
func (p *Plan) Actions(address string) string {
	r := p.resource(address)
	if r == nil {
		return "absent"
	}
	if r.Change.Actions.Replace() {
		return "replace"
	}
	var words []string
	for _, a := range r.Change.Actions {
		words = append(words, string(a))
	}
	return strings.Join(words, ",")
}

// NotEmpty lists what is to be done, as "update kamal_proxy.web".
func (p *Plan) NotEmpty() []string {
	var out []string
	for _, r := range p.JSON().ResourceChanges {
		if a := p.Actions(r.Address); a != "no-op" {
			out = append(out, a+" "+r.Address)
		}
	}
	slices.Sort(out)
	return out
}

// Changed names the resource's top-level attributes that differ or are not
// known before the apply, in alphabetical order.
func (p *Plan) Changed(address string) []string {
	r := p.resource(address)
	if r == nil {
		return nil
	}
	before, after, unknown := object(r.Change.Before), object(r.Change.After), object(r.Change.AfterUnknown)
	all := map[string]bool{}
	for _, o := range []map[string]any{before, after, unknown} {
		for name := range o {
			all[name] = true
		}
	}
	maps.DeleteFunc(all, func(name string, _ bool) bool {
		return reflect.DeepEqual(before[name], after[name]) && !anyTrue(unknown[name])
	})
	return slices.Sorted(maps.Keys(all))
}

// Before is an attribute's value now, After the planned one (nil where it is
// not known); path steps into objects, maps and lists: "instances", "10.0.0.1",
// "image".
func (p *Plan) Before(address string, path ...any) any {
	return p.value(address, func(c *tfjson.Change) any { return c.Before }, path)
}

// After is the planned value: see Before.
func (p *Plan) After(address string, path ...any) any {
	return p.value(address, func(c *tfjson.Change) any { return c.After }, path)
}

// Unknown says that the value at path is known only after the apply.
func (p *Plan) Unknown(address string, path ...any) bool {
	unknown, _ := p.value(address, func(c *tfjson.Change) any { return c.AfterUnknown }, path).(bool)
	return unknown
}

func (p *Plan) value(address string, side func(*tfjson.Change) any, path []any) any {
	r := p.resource(address)
	if r == nil {
		return nil
	}
	return dig(side(r.Change), path...)
}

func (p *Plan) resource(address string) *tfjson.ResourceChange {
	for _, r := range p.JSON().ResourceChanges {
		if r.Address == address && r.DeposedKey == "" {
			return r
		}
	}
	return nil
}

func parsePlan(text []byte) (*tfjson.Plan, error) {
	var p tfjson.Plan
	if err := json.Unmarshal(text, &p); err != nil {
		return nil, fmt.Errorf("show -json of a plan: %w", err)
	}
	return &p, nil
}

// dig steps into decoded JSON; nil where there is nothing.
func dig(v any, path ...any) any {
	for _, step := range path {
		switch step := step.(type) {
		case string:
			v = object(v)[step]
		case int:
			list, _ := v.([]any)
			if step >= len(list) {
				return nil
			}
			v = list[step]
		default:
			panic(fmt.Sprintf("a path has strings and ints, not %T", step))
		}
	}
	return v
}

func object(v any) map[string]any {
	o, _ := v.(map[string]any)
	return o
}

// anyTrue says whether a form like after_unknown holds true anywhere.
func anyTrue(v any) bool {
	switch v := v.(type) {
	case bool:
		return v
	case []any:
		return slices.ContainsFunc(v, anyTrue)
	case map[string]any:
		for _, child := range v {
			if anyTrue(child) {
				return true
			}
		}
	}
	return false
}
