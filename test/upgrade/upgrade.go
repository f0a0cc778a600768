// Package upgrade keeps what released builds of the provider left behind: a
// directory for each, with every resource of the provider. What a build left
// has to mean the same to all builds after it: they plan nothing to do.
//
// A directory holds
//
//	*.tf           the configuration; data.tf is the part that can't be planned without a server
//	before.tfvars  what it was applied with first, so that there is something replaced too
//	state.json     the state that the build left, with its private parts
//	server.sh      what it did to a fresh server: its files, and its calls of docker and systemctl
//	facts.json     what the state and the script say of that one server, and another hasn't got
//
// The server's and the registry's addresses are ones that nobody has (RFC 5737).
// Command make makes such a directory with any build.
package upgrade

import (
	"embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
)

//go:embed */facts.json */state.json */server.sh */*.tf
var files embed.FS

// Source is what the configurations call the provider: a name that is the same under every CLI.
const Source = "example.com/kamal-terraform/kamal"

// DataFile is the part of a configuration that can't be planned without a server.
const DataFile = "data.tf"

// A Fixture is what one build left.
type Fixture struct {
	// Name is the build's: a release, or a commit.
	Name string
	// Facts are those of the server that the build was run against.
	Facts Facts
}

// All are the fixtures that there are.
func All() ([]Fixture, error) {
	found, err := fs.Glob(files, "*/facts.json")
	if err != nil {
		return nil, err
	}
	var all []Fixture
	for _, name := range found {
		f := Fixture{Name: path.Dir(name)}
		text, err := files.ReadFile(name)
		if err == nil {
			err = json.Unmarshal(text, &f.Facts)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, f)
	}
	return all, nil
}

// Config is the configuration: the contents of files by name.
func (f Fixture) Config() (map[string]string, error) {
	found, err := fs.Glob(files, f.Name+"/*.tf")
	if err != nil {
		return nil, err
	}
	config := map[string]string{}
	for _, name := range found {
		if config[path.Base(name)], err = f.read(path.Base(name)); err != nil {
			return nil, err
		}
	}
	return config, nil
}

// State is the state as the build would have left it for a server with other facts.
func (f Fixture) State(of Facts) (string, error) {
	text, err := f.read("state.json")
	if err != nil {
		return "", err
	}
	return f.Facts.InState(text, of)
}

// Script is the script that makes a fresh server look as the build left it,
// one at another address and with another registry, as of says. It is for
// root's bash, on a server whose Docker is logged in there.
func (f Fixture) Script(of Facts) (string, error) {
	text, err := f.read("server.sh")
	return strings.NewReplacer(f.Facts.Registry, of.Registry, f.Facts.Server, of.Server).Replace(text), err
}

func (f Fixture) read(name string) (string, error) {
	text, err := files.ReadFile(f.Name + "/" + name)
	return string(text), err
}

// Facts are what is another on each server. What a state says of a machine's
// size and of Docker's version is not among them: it may change under a
// resource without anything to do.
type Facts struct {
	Server    string `json:"server"`
	Registry  string `json:"registry"`
	MachineID string `json:"machine_id"`
	HostKey   string `json:"host_key"`
	// Containers are ids by name.
	Containers map[string]string `json:"containers"`
	// Images are digests by name without the registry.
	Images map[string]string `json:"images"`
}

// Look is a script that prints what Learn takes.
const Look = `echo "machine $(cat /etc/machine-id)"
docker ps --all --no-trunc --format 'container {{.Names}} {{.ID}}'
docker image inspect --format '{{$digest := index .RepoDigests 0}}{{range .RepoTags}}{{println "image" . $digest}}{{end}}' $(docker image ls --quiet | sort -u)`

// Learn takes what Look printed on a server.
func (f *Facts) Learn(looked string) error {
	f.Containers, f.Images = map[string]string{}, map[string]string{}
	for line := range strings.Lines(looked) {
		words := strings.Fields(line)
		switch {
		case len(words) == 0:
		case len(words) == 2 && words[0] == "machine":
			f.MachineID = words[1]
		case len(words) == 3 && words[0] == "container":
			f.Containers[words[1]] = words[2]
		case len(words) == 3 && words[0] == "image":
			_, digest, _ := strings.Cut(words[2], "@")
			f.Images[strings.TrimPrefix(words[1], f.Registry+"/")] = digest
		default:
			return fmt.Errorf("what the server says of itself makes no sense: %q", line)
		}
	}
	return nil
}

var private = regexp.MustCompile(`"private": "([^"]+)"`)

// InState makes of a state of the server with these facts one of another server.
func (f Facts) InState(state string, of Facts) (string, error) {
	facts, err := f.replacer(of)
	if err != nil {
		return "", err
	}
	state = private.ReplaceAllStringFunc(state, func(field string) string {
		replaced, bad := inPrivate(private.FindStringSubmatch(field)[1], facts)
		if bad != nil {
			err = bad
		}
		return fmt.Sprintf(`"private": %q`, replaced)
	})
	return facts.Replace(state), err
}

// inPrivate replaces in private state, which is base64 of an object of base64.
func inPrivate(text string, facts *strings.Replacer) (string, error) {
	plain, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return "", fmt.Errorf("private state: %w", err)
	}
	var keys map[string][]byte
	if err := json.Unmarshal(plain, &keys); err != nil {
		return "", fmt.Errorf("private state: %w", err)
	}
	for key, value := range keys {
		keys[key] = []byte(facts.Replace(string(value)))
	}
	plain, err = json.Marshal(keys)
	return base64.StdEncoding.EncodeToString(plain), err
}

// replacer refuses facts that can't be told apart here and differ there.
func (f Facts) replacer(of Facts) (*strings.Replacer, error) {
	pairs := []string{f.Registry, of.Registry, f.Server, of.Server, f.MachineID, of.MachineID, f.HostKey, of.HostKey}
	var short []string
	for name, id := range f.Containers {
		other := of.Containers[name]
		if len(id) < 12 || len(other) < 12 {
			return nil, fmt.Errorf("no container %s on %s", name, of.Server)
		}
		pairs, short = append(pairs, id, other), append(short, id[:12], other[:12])
	}
	for name, digest := range f.Images {
		if of.Images[name] == "" {
			return nil, fmt.Errorf("no image %s on %s", name, of.Server)
		}
		pairs = append(pairs, digest, of.Images[name])
	}
	if i := slices.Index(pairs, ""); i >= 0 {
		return nil, fmt.Errorf("facts of %s or %s are missing: %q", f.Server, of.Server, pairs[:8])
	}
	pairs = append(pairs, short...)
	seen := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		if other, twice := seen[pairs[i]]; twice && other != pairs[i+1] {
			return nil, fmt.Errorf("%s is two things on %s: %s and %s", pairs[i], of.Server, other, pairs[i+1])
		}
		seen[pairs[i]] = pairs[i+1]
	}
	return strings.NewReplacer(pairs...), nil
}
