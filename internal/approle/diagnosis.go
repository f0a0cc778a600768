package approle

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
)

// A symptom is a way in which deploys fail again and again in production, and
// its remedy.
type symptom struct {
	seen  func(seenAt) bool
	cause string
	next  string
}

// seenAt is what there is to judge by.
type seenAt struct {
	spec      Spec
	probe     Probe
	container *docker.Container
	image     *docker.Image
	facts     fleet.Facts
	text      string // probe's body and the log's end, in lower case
}

func (e seenAt) state() (oom, ended bool) {
	if e.container == nil || e.container.State == nil {
		return false, false
	}
	st := e.container.State
	return st.OOMKilled, !st.Running || st.Restarting || e.container.RestartCount > 0
}

func (e seenAt) has(words ...string) bool {
	return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(e.text, w) })
}

// symptoms are in order of how sure their sign is.
var symptoms = []symptom{
	{
		seen:  func(e seenAt) bool { oom, _ := e.state(); return oom },
		cause: "the kernel killed the container for want of memory (OOM)",
		next:  "raise `memory`, or give the server more memory or a swap file.",
	},
	{
		seen: func(e seenAt) bool {
			return e.container != nil && e.container.State != nil && e.container.State.Status == "created"
		},
		cause: "docker could not start the container: its command does not exist in the image or can't be executed, or a mount or a port is not to be had",
		next:  "see docker's words above; check `command` and `volumes` against the image.",
	},
	{
		seen:  func(e seenAt) bool { return e.has("exec format error") },
		cause: "the image's program is built for another CPU",
		next:  "build the image for the server's platform (docker build --platform linux/amd64 …).",
	},
	{
		seen: func(e seenAt) bool {
			_, ended := e.state()
			return ended && e.has("address already in use")
		},
		cause: "the app could not open its port: something in the container has it already",
		next:  "look for a second server process in the image's command.",
	},
	{
		seen:  func(e seenAt) bool { _, ended := e.state(); return ended },
		cause: "the container ended instead of serving",
		next:  "see its last log lines above: most often a variable is missing from `env`, or the database cannot be reached.",
	},
	{
		seen: func(e seenAt) bool {
			return e.probe.Status >= 300 && e.probe.Status < 400 && strings.HasPrefix(e.probe.Location, "https://")
		},
		cause: "the app redirects the health check to https, and there is no TLS inside the server (force_ssl in Rails)",
		next:  "exclude the health check's path from the redirect, as in: config.ssl_options = { redirect: { exclude: ->(request) { request.path == \"/up\" } } }, or set config.assume_ssl = true.",
	},
	{
		seen:  func(e seenAt) bool { return e.probe.Status >= 300 && e.probe.Status < 400 },
		cause: "the app redirects the health check",
		next:  "set healthcheck.path to a path that answers with 200 by itself.",
	},
	{
		seen: func(e seenAt) bool {
			return e.probe.Status == 403 && e.has("blocked host", "host authorization", "disallowedhost", "hostauthorization") || e.probe.Status == 400 && e.has("disallowedhost")
		},
		cause: "the app does not accept the Host header of the health check, which is the container's id (host authorization)",
		next:  "set healthcheck.host to a host name that the app accepts, or exclude the health check's path (config.host_authorization in Rails).",
	},
	{
		seen:  func(e seenAt) bool { return e.probe.Status == 429 || e.probe.Status == 403 },
		cause: "the app refuses the health check: a throttle (Rack::Attack) or an access rule applies to it",
		next:  "exempt the health check's path from throttling and access rules.",
	},
	{
		seen:  func(e seenAt) bool { return e.probe.Status == 404 },
		cause: "the app has nothing at the health check's path",
		next:  "set healthcheck.path to a path that answers with 200.",
	},
	{
		seen:  func(e seenAt) bool { return e.probe.Status >= 500 },
		cause: "the app runs and says itself that it is not healthy",
		next:  "see its last log lines above: most often the database or another service it needs is not there.",
	},
	{
		seen: func(e seenAt) bool {
			return e.probe.Err != nil && strings.Contains(e.probe.Err.Error(), "onnection refused") && otherPort(e) != ""
		},
		cause: "nothing in the container listens on app_port; the image exposes another port",
		next:  "set app_port to the port that the app listens on.",
	},
	{
		seen: func(e seenAt) bool {
			return e.facts.Memory > 0 && e.facts.Available < e.facts.Memory/10 || e.facts.Swap > 0 && e.facts.SwapFree < e.facts.Swap/4
		},
		cause: "the server is short of memory and swaps, which makes everything slow",
		next:  "give the server more memory, or limit that of its containers.",
	},
	{
		seen:  func(e seenAt) bool { return e.probe.Err != nil },
		cause: "the app does not answer on app_port: it is still booting, listens on another port, or only on 127.0.0.1",
		next:  "make the app listen on 0.0.0.0 and on app_port; if it only boots slowly, raise deploy_timeout.",
	},
}

// otherPort is a port that the image exposes where app_port is none of them.
func otherPort(e seenAt) string {
	if e.image == nil || e.image.Config == nil || len(e.image.Config.ExposedPorts) == 0 {
		return ""
	}
	ports := slices.Sorted(maps.Keys(e.image.Config.ExposedPorts))
	if slices.ContainsFunc(ports, func(p string) bool { return strings.HasPrefix(p, fmt.Sprintf("%d/", e.spec.AppPort)) }) {
		return ""
	}
	return ports[0]
}

// diagnose says what was seen of a new container that failed, the likely
// cause, and what to do about it.
func diagnose(spec Spec, s *site, last Probe, e evidence) (cause, next string) {
	if e.container == nil && last.Status == 0 && last.Err == nil {
		return "", ""
	}
	at := seenAt{spec: spec, probe: last, container: e.container, image: s.image,
		facts: s.have.Snapshot.Facts, text: strings.ToLower(last.Body + "\n" + e.logs)}
	var b strings.Builder
	for _, sy := range symptoms {
		if sy.seen(at) {
			b.WriteString(sy.cause + ".")
			next = sy.next
			break
		}
	}
	if b.Len() == 0 {
		b.WriteString("none that is known. What was seen:")
	}
	line := func(format string, a ...any) { fmt.Fprintf(&b, "\n"+format, a...) }
	if last.Status != 0 || last.Err != nil {
		line("  Health check (GET %s): %s", spec.Health.Path, last)
		if body := strings.TrimSpace(last.Body); body != "" && !last.healthy() {
			line("  It answered: %s", firstLine(body, 300))
		}
	}
	if e.container != nil && e.container.State != nil {
		st := e.container.State
		what := string(st.Status)
		if !st.Running || st.Restarting {
			what += fmt.Sprintf(", exit code %d", st.ExitCode)
		}
		if st.OOMKilled {
			what += ", killed for want of memory"
		}
		line("  Container: %s, restarts %d", what, e.container.RestartCount)
	}
	if e.proxyLog != "" {
		line("  kamal-proxy says: %s", firstLine(e.proxyLog, 300))
	}
	if f := at.facts; f.Memory > 0 {
		line("  Server: %d MiB of %d MiB memory available, swap %d MiB", f.Available>>20, f.Memory>>20, f.Swap>>20)
	}
	if p := otherPort(at); p != "" && spec.AppPort > 0 {
		line("  The image exposes %s, app_port is %d", p, spec.AppPort)
	}
	if e.logs != "" {
		line("  The container's last log lines:\n%s", indent(tail(e.logs, 15)))
	}
	return strings.TrimSpace(b.String()), next
}

func firstLine(s string, most int) string {
	s, _, _ = strings.Cut(s, "\n")
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "…"
	}
	return s
}

func tail(s string, n int) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

func indent(s string) string { return "    " + strings.ReplaceAll(s, "\n", "\n    ") }
