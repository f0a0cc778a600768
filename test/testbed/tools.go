package testbed

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync"
)

var tools struct {
	sync.Mutex
	built map[string]string // name -> path
}

// buildTools builds programs of directory tools, unless they are there, and says so.
func buildTools(ctx context.Context, logf func(string, ...any), names ...string) error {
	for _, name := range names {
		if _, err := tool(ctx, name, progress(logf)); err != nil {
			return err
		}
	}
	return nil
}

// progress passes on the line by which tools/build.sh says that it builds.
type progress func(string, ...any)

// Write takes what tools/build.sh prints.
func (logf progress) Write(text []byte) (int, error) {
	if line, _, _ := strings.Cut(string(text), "\n"); strings.HasPrefix(line, "building ") {
		logf("%s", line)
	}
	return len(text), nil
}

// tool builds a program of directory tools, unless it is there, and returns its
// path, which carries a hash of what it is made from.
func tool(ctx context.Context, name string, hears io.Writer) (string, error) {
	tools.Lock()
	defer tools.Unlock()
	if path := tools.built[name]; path != "" {
		return path, nil
	}
	root, err := moduleRoot(ctx)
	if err != nil {
		return "", err
	}
	path, err := runHeard(ctx, nil, hears, filepath.Join(root, "tools", "build.sh"), name)
	if err != nil {
		return "", err
	}
	if tools.built == nil {
		tools.built = map[string]string{}
	}
	tools.built[name] = path
	return path, nil
}

// copyPrograms copies a machine's tools and units into the container that its
// image is made of.
func copyPrograms(ctx context.Context, m machine, container string) error {
	for _, name := range m.tools {
		program, err := tool(ctx, name, io.Discard)
		if err != nil {
			return err
		}
		if _, err := docker(ctx, "cp", program, container+":/usr/bin/"+name); err != nil {
			return err
		}
	}
	if len(m.units) == 0 {
		return nil
	}
	sources, err := dockerSources(ctx)
	if err != nil {
		return err
	}
	for _, unit := range m.units {
		file := filepath.Join(sources, "contrib", "init", "systemd", unit)
		if _, err := docker(ctx, "cp", file, container+":/usr/lib/systemd/system/"+unit); err != nil {
			return err
		}
	}
	return nil
}

// dockerSources is the directory of the module that dockerd is built from.
func dockerSources(ctx context.Context) (string, error) {
	root, err := moduleRoot(ctx)
	if err != nil {
		return "", err
	}
	text, err := run(ctx, nil, "env", "GOWORK=off", "GOFLAGS=-mod=readonly",
		"go", "-C", filepath.Join(root, "tools", "dockerd"), "mod", "download", "-json", "github.com/moby/moby/v2")
	if err != nil {
		return "", err
	}
	var module struct{ Dir string }
	if err := json.Unmarshal([]byte(text), &module); err != nil {
		return "", fmt.Errorf("go mod download: %w", err)
	}
	return module.Dir, nil
}
