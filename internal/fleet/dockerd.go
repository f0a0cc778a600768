package fleet

import "strings"

// dockerdScript asks systemd about docker.service, and how dockerd was or will
// be called: an option on its command line that is in daemon.json too keeps it
// from starting. /proc knows best; the unit's text is for a daemon that is down.
const dockerdScript = `
[ -d /run/systemd/system ] || exit 0
echo systemd
p=$(systemctl show docker.service --property=LoadState,MainPID,ExecStart); printf '%s\n' "$p"
pid=$(printf '%s\n' "$p" | sed -n 's/^MainPID=//p')
if [ "${pid:-0}" != 0 ] && [ -r "/proc/$pid/cmdline" ]; then
  tr '\0' '\n' < "/proc/$pid/cmdline" | sed 's/^/argument=/'
else
  sed -n 's/^ *DOCKER_OPTS=/DOCKER_OPTS=/p' /etc/default/docker 2>/dev/null
fi
exit 0`

// parseDockerd reads what dockerdScript printed into f and d.
func parseDockerd(out string, f *Facts, d *Docker) {
	var unit []string
	for line := range strings.Lines(out) {
		line = strings.TrimRight(line, "\n")
		key, value, _ := strings.Cut(line, "=")
		switch key {
		case "systemd":
			f.Systemd = true
		case "LoadState":
			d.Unit = value
		case "argument":
			d.Command = append(d.Command, value)
		case "ExecStart":
			// { path=/usr/sbin/dockerd ; argv[]=/usr/sbin/dockerd -H fd:// $DOCKER_OPTS ; ignore_errors=no ; … }
			if _, argv, ok := strings.Cut(value, "argv[]="); ok {
				argv, _, _ = strings.Cut(argv, " ; ")
				unit = append(unit, strings.Fields(argv)...)
			}
		case "DOCKER_OPTS":
			unit = append(unit, strings.Fields(strings.Trim(value, `"'`))...)
		}
	}
	if d.Command == nil {
		d.Command = unit
	}
}
