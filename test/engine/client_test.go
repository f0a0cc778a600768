package engine

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/approle"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/proxy"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
	"github.com/kamal-terraform/terraform-provider-kamal/test/testbed"
)

// theirEnvironment is what /etc/environment says to everybody who logs in.
const theirEnvironment = `DOCKER_HOST=tcp://192.0.2.1:2375
DOCKER_CONTEXT=lost
DOCKER_API_VERSION=1.12
DOCKER_DEFAULT_PLATFORM=linux/s390x
DOCKER_TLS_VERIFY=1
DOCKER_CERT_PATH=/nowhere
POSIXLY_CORRECT=1
CDPATH=/tmp
TAR_OPTIONS=--no-such-option
`

// Whoever logs in has set docker up for their own: proxies, with a password, a
// context, formats, a credential helper; and the server has variables for
// everybody. Their log-in at a registry counts, and nothing else of it. What got
// into a container before is told, without the password, and mended.
func TestWhatOthersSetUpForTheirDockerIsNotOurs(t *testing.T) {
	onEngines(t, func(e *engine) {
		s, registry := e.s, e.bed.Registry
		const password, proxyURL = "Pr0xyPassw0rd", "http://corp:Pr0xyPassw0rd@proxy.invalid:3128"
		config := func(context string) {
			e.Helper()
			text, err := json.Marshal(map[string]any{
				"auths":       map[string]any{registry.Address: map[string]string{"auth": base64.StdEncoding.EncodeToString([]byte(registry.Username + ":" + registry.Password))}},
				"credHelpers": map[string]string{"other.invalid": "not-there"},
				"proxies":     map[string]any{"default": map[string]string{"httpProxy": proxyURL, "httpsProxy": proxyURL, "noProxy": "localhost"}},
				"psFormat":    "table {{.ID}}", "imagesFormat": "{{.ID}}", "detachKeys": "ctrl-a", "currentContext": context,
			})
			e.must(err)
			s.SSH(e, fmt.Sprintf("install -d -o %[1]s -g %[1]s -m 700 /home/%[1]s/.docker; install -o %[1]s -g %[1]s -m 600 /dev/stdin /home/%[1]s/.docker/config.json <<'END'\n%[2]s\nEND", testbed.User, text))
		}
		context := func(name, host string) {
			s.SSH(e, fmt.Sprintf("DOCKER_CONFIG=/home/%[1]s/.docker docker context create %s --docker host=%s >/dev/null; chown -R %[1]s: /home/%[1]s/.docker", testbed.User, name, host))
		}
		config("default")
		context("lost", "tcp://192.0.2.1:2375")
		context("theirs", "unix:///run/user/1000/docker.sock")

		// What a build left that used their configuration.
		login := "deploy@" + s.Address
		p, jobs := e.kamalProxy(), e.role(func(spec *approle.Spec) { spec.Role.Role, spec.AppPort = "jobs", 0 })
		s.SSH(e, fmt.Sprintf(`export DOCKER_CONFIG=/home/%[1]s/.docker; docker network create kamal >/dev/null
docker run --detach --name kamal-proxy --network kamal --restart unless-stopped --log-opt max-size=10m --volume kamal-proxy-config:/home/kamal-proxy/.config/kamal-proxy \
  --volume /home/%[1]s/.kamal/proxy/apps-config:/home/kamal-proxy/.apps-config --publish 80:80 --publish 443:443 %[2]s
docker run --detach --restart unless-stopped --name shop-jobs-v1 --network kamal --log-opt max-size=10m --label service=shop --label role=jobs --label destination %[3]s`,
			testbed.User, p.spec.Ref(), e.image("app:v1")))
		config("lost")
		s.SSH(e, "cat >> /etc/environment <<'END'\n"+theirEnvironment+"END")
		dir := "find /home/" + testbed.User + "/.docker -type f -exec sha256sum {} + | sort"
		before := s.SSH(e, dir)

		e.options = []option{func(f *fleet.Fleet, _ *sshexec.Options) { f.Logins = docker.Logins{} }}
		hidden := func() {
			e.Helper()
			e.mustHide(e.run, password)
			e.mustHide(e.looks, password)
		}
		m := e.machine()
		m.name = login
		m.setUp()
		hidden()
		if n := e.run.remoteCalls(login); len(n) > 2 {
			e.Errorf("setting the server up made the calls %q", n)
		}

		p.server = login
		have := p.observe()
		const fault = "it has HTTPS_PROXY, HTTP_PROXY, NO_PROXY, http_proxy, https_proxy, no_proxy in its environment"
		if told := fmt.Sprint(have.Faults); !strings.HasPrefix(told, "["+fault) || strings.Contains(told, "corp") || proxy.PlanContainer(p.spec, have) != proxy.Replace {
			e.Errorf("kamal-proxy with proxies: %s", told)
		}
		p.container = have.ID
		p.deploy()
		hidden()

		jobs.servers, jobs.has = []string{login}, []string{login}
		o := jobs.observe(login)
		jobs.recorded[login] = o.Current.ID
		jobs.spec.Image = e.image("app:v1")
		if left := jobs.left(login); !says(strings.Join(left, "\n"), "env differs") {
			e.Errorf("a role with proxies: %q", left)
		}
		if env := approle.FromContainer(o, jobs.spec).Env; env["HTTP_PROXY"] != "http://corp:"+docker.PasswordNotShown+"@proxy.invalid:3128" || env["NO_PROXY"] != "localhost" {
			e.Errorf("a role with proxies shows %q", env)
		}
		jobs.deploy("")
		hidden()

		// What is made now has none of it, and kamal-proxy finds the app.
		web, db, k, rt := e.role(), e.accessory(), e.task("shop"), e.route("web")
		web.servers, db.server, k.server, rt.servers = []string{login}, login, login, []string{login}
		web.deploy("app:v1")
		hidden()
		rt.deploy()
		web.deploy("app:v2")
		hidden()
		wantVersion(e, s, "http://shop.example.com/", "v2")
		db.deploy()
		hidden()
		k.runs("one", "1", "0")
		run, u, _, _ := k.begin()
		k.begun(u, "begin one")
		if running := names(e, s); !strings.HasPrefix(running, "kamal-proxy shop-db shop-jobs-v1 shop-task-migrate-") || !strings.HasSuffix(running, " shop-web-v2") {
			e.Errorf("running: %q", running)
		}
		if got := s.SSH(e, "docker inspect $(docker ps --quiet) | grep -ie _proxy= -e "+password+" -e detachkeys || :"); got != "" {
			e.Errorf("in a container:\n%s", got)
		}
		e.must(u.wait())
		e.mustHide(run, password)
		if got := s.SSH(e, "grep -rl "+password+" /home/"+testbed.User+"/.kamal /tmp /dev/shm 2>/dev/null || :; ls -d /dev/shm/docker-config.* 2>/dev/null || :"); got != "" {
			e.Errorf("left: %s", got)
		}
		wantSame(e, "their configuration", before, s.SSH(e, dir))

		// Another daemon of this server: what is here stays what it is, and what
		// isn't may be there.
		config("theirs")
		s.SSH(e, "sed -i /^DOCKER_/d /etc/environment")
		e.looks = nil
		for _, r := range []*role{web, jobs} {
			r.wantConverged()
		}
		p.wantConverged()
		db.wantConverged()
		s.SSH(e, "docker rm --force $(docker ps --all --quiet) >/dev/null")
		texts := []string{"docker does not answer: the server's own Docker has none of what is marked as ours", "the SSH user's own docker goes to unix:///run/user/1000/docker.sock (context theirs in", "docker context use default"}
		db.spec.Memory = 64 << 20
		db.fails(texts...)
		if why := jobs.observe(login).Hidden(); !says(why, texts[1]) {
			e.Errorf("a role that may be elsewhere: %q", why)
		}
		config("default")
		if why := jobs.observe(login).Hidden(); why != "" {
			e.Errorf("a role that is nowhere: %q", why)
		}
	})
}
