package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

// A call is one of docker or systemctl, as record.sh noted it.
type call struct {
	argv []string
	code string
	// made is the id of the container that it made, "".
	made string
}

// parseCalls reads what record.sh noted: a line of base64 for each call.
func parseCalls(text string) ([]call, error) {
	var calls []call
	for _, line := range strings.Fields(text) {
		note, err := base64.StdEncoding.DecodeString(line)
		if err != nil {
			return nil, err
		}
		words := strings.Split(string(bytes.TrimSuffix(note, []byte{0})), "\x00")
		if len(words) < 4 {
			return nil, fmt.Errorf("a call was noted as %q", words)
		}
		n := len(words) - 2
		calls = append(calls, call{argv: words[:n], code: words[n], made: words[n+1]})
	}
	return calls, nil
}

// What a call does to the server, by its first words. The longest that fits decides.
var effects = map[string]bool{
	"docker pull": true, "docker create": true, "docker run": true, "docker start": true, "docker stop": true, "docker rm": true,
	"docker rename": true, "docker update": true, "docker tag": true, "docker network create": true, "docker volume create": true,
	"docker image tag": true, "docker exec kamal-proxy kamal-proxy": true, "docker unpause": true, "docker volume rm": true, "docker image rm": true, "docker rmi": true,

	"docker ps": false, "docker inspect": false, "docker image": false, "docker container": false, "docker network": false, "docker volume": false,
	"docker info": false, "docker version": false, "docker logs": false, "docker wait": false, "docker top": false, "docker exec": false, "docker cp": false, "docker events": false,
	"docker exec kamal-proxy kamal-proxy list": false, "docker system": false,

	"systemctl start": true, "systemctl restart": true, "systemctl reload": true, "systemctl enable": true, "systemctl daemon-reload": true, "systemctl reset-failed": true,
	"systemctl show": false, "systemctl is-enabled": false, "systemctl is-active": false, "systemctl is-failed": false, "systemctl is-system-running": false,
}

func (c call) hasEffect() (bool, error) {
	for n := min(len(c.argv), 5); n > 1; n-- {
		if effect, known := effects[strings.Join(c.argv[:n], " ")]; known {
			return effect, nil
		}
	}
	return false, fmt.Errorf("is it a change, or does it only look? Add it to effects: %q", c.argv)
}

// script turns calls into lines of a shell script that have the same outcome:
// without those that failed or only looked, and without what was done to
// containers that are no longer there. alive are names by id.
func script(calls []call, alive map[string]string) (string, error) {
	var out strings.Builder
	var gone []string
	ids := map[string]string{} // by name, as they are called at the time
	variables := map[string]string{}
	for _, c := range calls {
		if c.code != "0" {
			continue
		}
		effect, err := c.hasEffect()
		if err != nil {
			return "", err
		}
		if !effect {
			continue
		}
		line := ""
		if c.made != "" {
			ids[c.name()] = c.made
			name, lives := alive[c.made]
			if !lives {
				gone = append(gone, c.made)
				continue
			}
			variables[c.made] = notInNames.ReplaceAllString(name, "_")
			line = variables[c.made] + "="
		}
		about := c.about(ids)
		if c.argv[1] == "rename" {
			ids[c.argv[3]] = about
			delete(ids, c.argv[2])
		}
		if slices.ContainsFunc(gone, func(id string) bool { return id == about || c.mentions(id[:12]) }) {
			continue
		}
		words := make([]string, len(c.argv))
		for i, word := range c.argv {
			words[i] = quote(word, variables)
		}
		command := strings.Join(words, " ")
		switch {
		case line != "":
			line += "$(" + command + ")"
		case c.argv[0] == "docker":
			line = command + " >/dev/null"
		default:
			line = command
		}
		out.WriteString(line + "\n")
	}
	return out.String(), nil
}

var notInNames = regexp.MustCompile(`[^A-Za-z0-9_]`)

// name is the one that a new container is given.
func (c call) name() string {
	if i := slices.Index(c.argv, "--name"); i >= 0 && i+1 < len(c.argv) {
		return c.argv[i+1]
	}
	return ""
}

// about is the id of the container that a call names, "" if it names none.
func (c call) about(ids map[string]string) string {
	for _, word := range c.argv[1:] {
		if id := ids[word]; id != "" {
			return id
		}
		for _, id := range ids {
			if word == id {
				return id
			}
		}
	}
	return ""
}

func (c call) mentions(text string) bool {
	return slices.ContainsFunc(c.argv, func(word string) bool { return strings.Contains(word, text) })
}

// quote is a word for the shell, with variables in the place of containers' ids.
func quote(word string, variables map[string]string) string {
	for id, variable := range variables {
		for _, v := range []struct{ id, as string }{{id, `"$` + variable + `"`}, {id[:12], `"${` + variable + `:0:12}"`}} {
			if before, after, found := strings.Cut(word, v.id); found {
				return quotePart(before) + v.as + quotePart(after)
			}
		}
	}
	return sshexec.Quote(word)
}

func quotePart(s string) string {
	if s == "" {
		return ""
	}
	return sshexec.Quote(s)
}
