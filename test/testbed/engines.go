package testbed

// Engine is a Docker that the provider is tested with. What README.md and the
// documentation say of them is made from Engines, by tools/generate.sh.
type Engine struct {
	Kind   Kind   // of the servers that have it
	Docker string // MAJOR.MINOR of daemon and client
	Store  string // where images lie, as `docker info` calls it: overlay2, or containerd's overlayfs
	From   string // where it comes from
}

// Containerd says that images lie in containerd's store, as with every fresh
// install of Docker 29, and not in Docker's own.
func (e Engine) Containerd() bool { return e.Store == "overlayfs" }

var engines = []Engine{
	{Debian12, "20.10", "overlay2", "Debian 12's packages"},
	{Debian13, "26.1", "overlay2", "Debian 13's packages"},
	{DebianSid, "28.5", "overlay2", "the packages of Debian's unstable branch"},
	{Docker29Classic, "29.8", "overlay2", "Docker's sources"},
	{Docker29, "29.8", "overlayfs", "Docker's sources"},
}

// Engines are all of them, from the oldest to the newest.
func Engines() []Engine { return append([]Engine(nil), engines...) }

// Oldest is the oldest engine.
func Oldest() Engine { return engines[0] }

// Newest is the newest engine, as a fresh install sets it up.
func Newest() Engine { return engines[len(engines)-1] }

// EngineOf is the engine of a kind of servers; false if they have no Docker.
func EngineOf(kind Kind) (Engine, bool) {
	for _, e := range engines {
		if e.Kind == kind {
			return e, true
		}
	}
	return Engine{}, false
}
