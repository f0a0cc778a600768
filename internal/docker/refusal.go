package docker

// A Refusal says what docker would refuse in a container that is wanted, and
// which attribute of the configuration says so.
type Refusal struct {
	Attribute string
	// Index is the element of a list, -1 for the whole attribute. The CLIs find
	// no line for what is within an object, as in options.
	Index int
	Why   string
}

func (r *Refusal) Error() string { return r.Why }
