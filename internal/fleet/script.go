package fleet

import "github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"

// ToTheEnd is a script that runs another one to its end, whatever becomes of
// the client: in a session of its own, out of reach of what ends the call. It
// is for the few things that must not stop half-way. The caller waits for it;
// its output, standard error included, comes at the end as standard error,
// and its exit code is the script's.
//
// The script sees exported variables only, and no functions.
func ToTheEnd(script string) string {
	return `out=$(mktemp) || exit; trap 'rm -f "$out"; exit 143' TERM HUP INT
setsid --wait /bin/sh -c ` + sshexec.Quote(script) + ` >"$out" 2>&1 </dev/null & wait $!
r=$?; cat "$out" >&2; rm -f "$out"; exit $r`
}
