package proxy

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

// Container is the name of kamal-proxy's container, the same on every server.
const Container = "kamal-proxy"

func proxyCommand(args ...string) []string {
	return append([]string{"docker", "exec", Container, "kamal-proxy"}, args...)
}

// DeployArgv is the command that deploys the entry with another target. One
// deploy replaces all options of a service, so all of them are sent, also
// those that are at kamal-proxy's default: a default may differ between
// versions, and that of --forward-headers depends on other flags. Derived
// options are not sent.
//
// It is an error if the deploy would lose something that this provider can't
// express, or would crash kamal-proxy.
func (e Entry) DeployArgv(t Target) ([]string, error) {
	if err := e.deployable(); err != nil {
		return nil, err
	}
	if t.Health.Interval <= 0 {
		// NewTicker panics in kamal-proxy, and all services of the server go down.
		return nil, fmt.Errorf("the health-check interval of %s is %s: it must be positive", e.Name, t.Health.Interval)
	}
	o, to := e.Options, e.TargetOptions
	o.normalize()
	f := flags(proxyCommand("deploy", e.Name))
	f.str("target", t.Address)
	f.duration("deploy-timeout", t.DeployTimeout)
	f.duration("drain-timeout", t.DrainTimeout)
	f.str("health-check-path", t.Health.Path)
	f.int("health-check-port", int64(t.Health.Port))
	f.str("health-check-host", t.Health.Host)
	f.duration("health-check-interval", t.Health.Interval)
	f.duration("health-check-timeout", t.Health.Timeout)

	if len(o.Hosts) > 1 || o.Hosts[0] != "" {
		f.list("host", o.Hosts)
	}
	f.list("path-prefix", o.PathPrefixes)
	f.bool("strip-path-prefix", o.StripPrefix)
	if e.Root() {
		f.bool("tls", o.TLSEnabled)
		f.bool("tls-redirect", o.TLSRedirect)
	}
	f.bool("tls-staging", o.ACMEDirectory == ACMEStaging)
	f.str("tls-certificate-path", o.TLSCertificatePath)
	f.str("tls-private-key-path", o.TLSPrivateKeyPath)
	f.str("tls-acme-cache-path", o.ACMECachePath)
	f.str("canonical-host", o.CanonicalHost)
	f.str("error-pages", o.ErrorPagePath)
	f.duration("writer-affinity-timeout", o.WriterAffinityTimeout)
	f.bool("read-target-websockets", o.ReadTargetsAcceptWebsockets)

	f.duration("target-timeout", to.ResponseTimeout)
	f.bool("buffer-requests", to.BufferRequests)
	f.bool("buffer-responses", to.BufferResponses)
	f.int("buffer-memory", to.MaxMemoryBufferSize)
	f.int("max-request-body", to.MaxRequestBodySize)
	f.int("max-response-body", to.MaxResponseBodySize)
	f.list("log-request-header", to.LogRequestHeaders)
	f.list("log-response-header", to.LogResponseHeaders)
	f.bool("forward-headers", to.ForwardHeaders)
	f.bool("scope-cookie-paths", to.ScopeCookiePaths)
	return f, nil
}

// deployable says why a deploy of the entry would lose something.
func (e Entry) deployable() error {
	if len(e.Unknown) > 0 {
		return fmt.Errorf("the service %s at kamal-proxy has options that this version of the provider does not know and would lose: %s",
			e.Name, strings.Join(e.Unknown, ", "))
	}
	if len(e.ActiveReaders) > 0 {
		return fmt.Errorf("the service %s at kamal-proxy has read targets (%s), which this provider does not manage and would lose",
			e.Name, strings.Join(e.ActiveReaders, ", "))
	}
	// Rollout targets outlive a deploy, and a stopped rollout leaves them in
	// the state file: they matter only while visitors are sent to them.
	if e.RolloutController != nil && len(e.RolloutTargets) > 0 {
		return fmt.Errorf("a part of the visitors of the service %s is sent to rollout targets (%s): stop that first with `kamal-proxy rollout stop %s`",
			e.Name, strings.Join(e.RolloutTargets, ", "), e.Name)
	}
	return nil
}

// RemoveArgv is the command that removes a service; requests under way are not waited for.
func RemoveArgv(service string) []string { return proxyCommand("remove", service) }

// StopArgv is the command that answers all requests with a maintenance page,
// after those under way were given drain to finish.
func StopArgv(service string, drain time.Duration, message string) []string {
	return proxyCommand("stop", service, "--drain-timeout="+drain.String(), "--message="+message)
}

// ResumeArgv is the command that ends what `stop` and `pause` began.
func ResumeArgv(service string) []string { return proxyCommand("resume", service) }

// ChangeSteps is the step that runs commands which change kamal-proxy, under a
// lock of the server's own and only if its routes still are those with this
// sum (fleet.Proxy.Sum). Else its exit code is fleet.RoutesChanged and its
// standard output the state now: recompute and try again. The first command
// that fails ends it.
//
// It needs kamal.RunPrelude and fleet.StatePrelude.
func ChangeSteps(sum, title string, argv ...[]string) []sshexec.Step {
	lines := make([]string, len(argv))
	for i, a := range argv {
		lines[i] = run(a) + " || exit"
	}
	return []sshexec.Step{changeStep(sum, title, lines...)}
}

// changeStep is ChangeSteps for any lines of shell. What they start must not
// keep descriptor 9 open, see run.
func changeStep(sum, title string, lines ...string) sshexec.Step {
	lines = append([]string{"lockproxy", fleet.RoutesAre(sum).Script}, lines...)
	return sshexec.Step{Title: title, Script: strings.Join(lines, "\n")}
}

// run is a command as a line of a step that holds the lock on descriptor 9.
func run(argv []string) string { return sshexec.Join(argv...) + " 9>&-" }

// flags is an argument list that grows by kamal-proxy's flags. All have the
// form --name=value: a boolean flag takes its value in no other.
type flags []string

func (f *flags) add(name, value string) { *f = append(*f, "--"+name+"="+value) }

func (f *flags) str(name, value string) {
	if value != "" {
		f.add(name, value)
	}
}

func (f *flags) bool(name string, v bool)              { f.add(name, strconv.FormatBool(v)) }
func (f *flags) int(name string, v int64)              { f.add(name, strconv.FormatInt(v, 10)) }
func (f *flags) duration(name string, v time.Duration) { f.add(name, v.String()) }

// list adds a flag for each value. kamal-proxy reads each as a line of CSV.
func (f *flags) list(name string, values []string) {
	for _, v := range values {
		if v == "" || strings.ContainsAny(v, ",\"") {
			v = `"` + strings.ReplaceAll(v, `"`, `""`) + `"`
		}
		f.add(name, v)
	}
}
