// Package task runs a command once, in a fresh container on one server, and
// waits for its end. A job that was cut off (its connection was lost, the
// provider was killed) goes on on the server: it is found again and waited for,
// and never started a second time.
package task

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/kamal"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/secret"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/workload"
)

// The labels of a job's container. It has none of Kamal's: Kamal's prune and
// the app's roles must not take it for theirs.
const (
	// LabelTask is the task's ID.
	LabelTask = "kamal-terraform.task"
	// LabelKey is the spec's Key.
	LabelKey = "kamal-terraform.task.key"
)

// A Spec is what a task should run, as plain values. Nothing changes it.
type Spec struct {
	// Service is the app, Destination its destination or "".
	Service, Destination string
	Name                 string
	// The container. It is not started again, whatever its Options say, and
	// logs to a file that docker rotates.
	workload.Spec
	// PullAlways asks the registry also where the image is there.
	PullAlways bool
	// Timeout is how long the command may take.
	Timeout time.Duration
	// Triggers are what the user wants the command to run again for.
	Triggers map[string]string
	// SecretTriggers are the names of Secrets that are triggers as well. With a
	// SecretsVersion, that counts for them, and not their values.
	SecretTriggers []string
	SecretsVersion string
}

// App is Kamal's name for the app and its destination, SVC[-DEST].
func (s Spec) App() string {
	return kamal.Role{Service: s.Service, Destination: s.Destination}.App()
}

// ID names the task on a server: APP/NAME.
func (s Spec) ID() string { return s.App() + "/" + s.Name }

// containerName is the name of a new job's container. No two jobs ever have
// the same, so that docker itself keeps one from being started twice.
func (s Spec) containerName(random12 string) string {
	return s.App() + "-task-" + s.Name + "-" + random12
}

// mountOwner is the owner of the task's secret files.
func (s Spec) mountOwner() string { return "task-" + s.Name }

// Key tells jobs apart that do something else. A job that a run has left
// behind can be the wanted one only if it has the same key. Secrets are no part
// of it, since whoever may use docker reads it: those that are triggers are
// compared with what the job's container has.
//
// Each part stands behind its length, so that no two specs have one key
// because their parts join to the same text.
func (s Spec) Key() string {
	h := sha256.New()
	list := func(parts ...string) {
		fmt.Fprintf(h, "[%d]", len(parts))
		for _, p := range parts {
			fmt.Fprintf(h, "%d:%s", len(p), p)
		}
	}
	pairs := func(m map[string]string) {
		var parts []string
		for _, k := range slices.Sorted(maps.Keys(m)) {
			parts = append(parts, k, m[k])
		}
		list(parts...)
	}
	pairs(s.Triggers)
	list(s.Image)
	list(s.Command...)
	pairs(s.Env)
	list(s.Volumes...)
	list(s.Network, s.SecretsVersion)
	if options := s.limits(); len(options) > 0 {
		list(options...)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Check refuses two volumes at one place, which docker would refuse. It looks
// at the container alone. An error is a *docker.Refusal.
func (s Spec) Check() error {
	places := map[string]bool{}
	for i, v := range s.Volumes {
		refuse := func(why string) error {
			return &docker.Refusal{Attribute: "volumes", Index: i, Why: why}
		}
		parts := strings.Split(v, ":")
		if len(parts) < 2 {
			continue // refused by its validator
		}
		to := path.Clean(parts[1])
		switch {
		case places[to]:
			return refuse("two volumes are mounted at " + to)
		case len(s.AsFiles) > 0 && to == secret.MountPoint:
			return refuse("a volume is mounted at " + to + ", where the files of secrets_as_files go")
		}
		places[to] = true
	}
	if s.Options.Restart != "" {
		return &docker.Refusal{Attribute: "options", Index: -1, Why: "options.restart: a task runs once, and is not started again"}
	}
	return s.Spec.Check()
}

// run is the docker run of a new job, for a server with this address where
// the SSH user's home is home. imageLabels are those of the image.
func (s Spec) run(name, address, home, runID string, mount secret.Mount, imageLabels map[string]string) docker.Run {
	env := map[string]string{"KAMAL_HOST": address}
	maps.Copy(env, mount.Env(s.Env))
	volumes := slices.Clone(s.Volumes)
	if !mount.Empty() {
		volumes = append(volumes, mount.Bind(home))
	}
	labels := map[string]string{LabelTask: s.ID(), LabelKey: s.Key(), kamal.LabelRun: runID}
	for _, l := range []string{kamal.LabelService, kamal.LabelRole, kamal.LabelDestination} {
		// An image that Kamal built has a label service, and its containers
		// inherit it: emptied, or Kamal would prune the job's.
		if imageLabels[l] != "" {
			labels[l] = ""
		}
	}
	w := s.Spec
	w.LogDriver, w.LogOptions = "json-file", map[string]string{"max-size": "10m"}
	run := w.Run(name, env, labels, volumes)
	run.Restart = "no"
	return run
}

// limits are the options of docker run beside those that every job has.
func (s Spec) limits() []string {
	run := s.Spec.Run("", nil, nil, nil)
	out := run.Options
	if run.Memory > 0 || run.CPUs > 0 {
		out = append(out, fmt.Sprint(run.Memory, " ", run.CPUs))
	}
	return out
}
