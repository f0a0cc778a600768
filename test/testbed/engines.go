package testbed

// An Engine is a Docker that the project is tested with.
type Engine struct{ Kind Kind }

// Engines lists them, the oldest first.
func Engines() []Engine { return []Engine{{Debian12}, {Debian13}} }

// Oldest and Newest are the ends of Engines.
func Oldest() Engine { return Engines()[0] }

// Newest is the last of Engines.
func Newest() Engine { all := Engines(); return all[len(all)-1] }
