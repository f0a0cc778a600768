package testbed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"
)

// dockerObjects is what the server's Docker has.
type dockerObjects struct {
	Containers []struct {
		ID    string `json:"Id"`
		Names []string
		State string
	}
	Images []struct {
		ID       string `json:"Id"`
		RepoTags []string
	}
	Networks []struct {
		ID     string `json:"Id"`
		Name   string
		Driver string
		IPAM   struct{ Config []struct{ Subnet string } } // Docker 20.10 tells the gateway only once it was started anew
	}
	Volumes struct{ Volumes []struct{ Name string } }
}

// engineTimeout is how long Docker may take to say what it has.
const engineTimeout = 20 * time.Second

// hasEngine says whether a Docker listens, or systemd in its place.
func (in *inside) hasEngine() bool {
	_, err := os.Stat(in.root + "/run/docker.sock")
	return !errors.Is(err, fs.ErrNotExist)
}

func (in *inside) objects(ctx context.Context) (*dockerObjects, error) {
	o := &dockerObjects{}
	for path, answer := range map[string]any{
		"/containers/json?all=1": &o.Containers, "/images/json": &o.Images, "/networks": &o.Networks, "/volumes": &o.Volumes,
	} {
		if err := in.ask(ctx, "GET", path, nil, answer); err != nil {
			return nil, err
		}
	}
	return o, nil
}

func (in *inside) lookAtEngine(ctx context.Context, f *footprint) error {
	if !in.hasEngine() {
		return nil
	}
	asking, cancel := context.WithTimeout(ctx, engineTimeout)
	defer cancel()
	o, err := in.objects(asking)
	if err != nil {
		// A Docker that is down, or doesn't answer, is what a test may leave.
		f.values["docker"] = err.Error()
		return ctx.Err()
	}
	for _, c := range o.Containers {
		f.values["container "+c.ID] = strings.Join(c.Names, " ") + " " + c.State
	}
	for _, i := range o.Images {
		slices.Sort(i.RepoTags)
		f.values["image "+i.ID] = strings.Join(i.RepoTags, " ")
	}
	for _, n := range o.Networks {
		f.values["network "+n.Name] = fmt.Sprint(n.Driver, " ", n.IPAM.Config)
	}
	for _, v := range o.Volumes.Volumes {
		f.values["volume "+v.Name] = "is there"
	}
	// Whatever way dockerd was told how to behave, here it says how it does.
	var info map[string]json.RawMessage
	if err := in.ask(ctx, "GET", "/info", nil, &info); err != nil {
		return err
	}
	for key, value := range info {
		switch key {
		case "SystemTime", "NFd", "NGoroutines", "NEventsListener", "Images":
		default:
			f.values["docker-info "+key] = string(value)
		}
	}
	return nil
}
