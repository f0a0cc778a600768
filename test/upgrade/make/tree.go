package main

import (
	"encoding/base64"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

// listTree prints what was written on a server since the recorder was put
// there: type, mode, owner and path, and of files the content. What every
// server writes by itself, Docker's own data, and the links that systemctl
// makes (the calls make them again) are left out.
const listTree = `find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /var -o -path /etc/machine-id \
  -o -path /usr/local/bin -o -path /etc/docker/key.json -o -path '/etc/systemd/system/*.wants' \) -prune -o -newer /var/lib/recorded/begin \( -type f -o -type d \) -print | sort |
while IFS= read -r path; do
  case $path in / | /root | /etc | /srv | /etc/systemd/system) continue ;; esac
  printf '%s %s ' "$(stat -c '%f %a %u:%g' "$path")" "$(printf '%s' "$path" | base64 --wrap 0)"
  if [ -f "$path" ]; then base64 --wrap 0 <"$path"; fi
  echo
done`

// The functions of a script that tree's lines call.
const treeFunctions = `dir() { mkdir -p "$3" && chmod "$1" "$3" && chown "$2" "$3"; }             # MODE OWNER PATH
file() { install -D -m "$1" /dev/null "$3" && cat >"$3" && chown "$2" "$3"; } # the same, content on its input
whole() { printf '%s' "$(cat)" | file "$@"; }                               # the same, without a newline at its end
`

// tree turns what listTree printed into lines of a shell script.
func tree(listed string) (string, error) {
	var out strings.Builder
	for line := range strings.Lines(listed) {
		fields := strings.Fields(line)
		if len(fields) < 4 {
			return "", fmt.Errorf("a file was listed as %q", line)
		}
		path, err := base64.StdEncoding.DecodeString(fields[3])
		if err != nil {
			return "", err
		}
		where := fields[1] + " " + fields[2] + " " + sshexec.Quote(string(path))
		if strings.HasPrefix(fields[0], "4") { // as in 41ed, a directory
			out.WriteString("dir " + where + "\n")
			continue
		}
		var content []byte
		if len(fields) > 4 {
			if content, err = base64.StdEncoding.DecodeString(fields[4]); err != nil {
				return "", err
			}
		}
		text := string(content)
		if !utf8.ValidString(text) || strings.ContainsRune(text, 0) || strings.Contains("\n"+text+"\n", "\nEND\n") {
			return "", fmt.Errorf("%s is not a text, or has a line END", path)
		}
		call := "file"
		if !strings.HasSuffix(text, "\n") {
			call, text = "whole", text+"\n"
		}
		out.WriteString(call + " " + where + " <<'END'\n" + text + "END\n")
	}
	return out.String(), nil
}
