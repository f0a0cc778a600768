package kamal

// Paths on a server are relative to the SSH user's home, as Kamal's are:
// another user means another lock and other files.
const (
	// Dir is Kamal's directory.
	Dir = ".kamal"
	// MarksDir holds the provider's own marks, away from what Kamal counts.
	MarksDir = ".kamal/terraform"
)

// AppDir holds an app's files: .kamal/apps/APP.
func AppDir(app string) string { return ".kamal/apps/" + app }

// RoleEnvFile is where Kamal keeps a role's secrets; it must exist or `kamal
// app exec` fails.
func RoleEnvFile(r Role) string { return AppDir(r.App()) + "/env/roles/" + r.Role + ".env" }

// AssetsDir holds the assets of an app's roles: for each version of a role
// extracted/ROLE-VERSION, its own ones, and volumes/ROLE-VERSION, which its
// containers mount and which has those of the version before and after too.
func AssetsDir(app string) string { return AppDir(app) + "/assets" }

// AssetsName is the name of a version's directories in those of AssetsDir.
func AssetsName(r Role, version string) string { return r.Role + "-" + version }

// LockDir is the directory that is the lock: .kamal/lock-APP.
func LockDir(app string) string { return ".kamal/lock-" + app }

// AuditLog is the app's audit log.
func AuditLog(app string) string { return ".kamal/" + app + "-audit.log" }

// ProxyAppsConfigDir is mounted into kamal-proxy at ProxyAppsConfigMount.
const (
	ProxyAppsConfigDir   = ".kamal/proxy/apps-config"
	ProxyAppsConfigMount = "/home/kamal-proxy/.apps-config"
)

// RunPrelude defines shell functions that the other scripts of this package use.
//
//	mine FILE…   gives files made under .kamal to the SSH user when the script
//	             runs as root through sudo: else the Kamal CLI can't read them.
//	put FILE     writes its standard input to FILE, in one step, readable by
//	             the owner only.
const RunPrelude = `
mine() { if [ -n "${KAMAL_UID:-}" ] && [ "$KAMAL_UID" != 0 ]; then chown "$KAMAL_UID:$KAMAL_GID" "$@"; fi; }
minedirs() { _d=$1; while [ "$_d" != . ] && [ "$_d" != / ]; do mine "$_d" || return; _d=$(dirname "$_d"); done; }
putdir() { [ -d "$1" ] || { mkdir -p "$1" && minedirs "$1"; }; }
put() { putdir "$(dirname "$1")" && (umask 077; cat > "$1.new.$$") && mine "$1.new.$$" && mv -f "$1.new.$$" "$1"; }
`
