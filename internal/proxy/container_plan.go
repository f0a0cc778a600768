package proxy

// An Action is what has to happen to kamal-proxy's container.
type Action int

// The actions, from the least to the most.
const (
	// Keep: it is as wanted.
	Keep Action = iota
	// Start: it is as wanted, but does not run.
	Start
	// Boot: there is none.
	Boot
	// Replace: it differs. A new one takes its place, on the same volume, so
	// that all routes stay.
	Replace
)

func (a Action) String() string {
	return [...]string{"keep", "start", "boot", "replace"}[a]
}

// PlanContainer compares what is wanted with what is there.
func PlanContainer(want ContainerSpec, have ContainerState) Action {
	switch {
	case have.ID == "":
		return Boot
	case len(have.Faults) > 0 || !want.Same(have.Spec, have.Rotatable):
		return Replace
	case !have.Running:
		return Start
	}
	return Keep
}
