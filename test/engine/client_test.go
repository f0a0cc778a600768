package engine

import (
	"strings"
	"testing"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/approle"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/kamal"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/proxy"
)

// How somebody has configured docker's client on the server, and what is in the
// server's environment, neither reaches a container nor turns the provider to
// another daemon.
func TestWhatOthersConfiguredReachesNoContainer(t *testing.T) {
	onEngines(t, func(e *engine) {
		s := e.s
		const password = "of-the-pr0xy"
		run := func(script string) string {
			e.Helper()
			out, err := s.Run(e.Context(), script) // its own environment: SSH has that of the test
			if err != nil {
				e.Fatal(err)
			}
			return out
		}
		run(`mkdir -p /root/.docker && cat > /root/.docker/config.json <<'JSON'
{"proxies": {"default": {"httpProxy": "http://corp:` + password + `@192.0.2.1:3128", "httpsProxy": "http://corp:` + password + `@192.0.2.1:3128", "noProxy": "localhost"}},
 "currentContext": "elsewhere", "psFormat": "{{.ID}}", "imagesFormat": "{{.ID}}", "inspectFormat": "{{.ID}}", "credsStore": "nowhere"}
JSON
cat >> /etc/environment <<'ENV'
DOCKER_HOST=tcp://127.0.0.1:1
DOCKER_DEFAULT_PLATFORM=linux/arm64
DOCKER_CONTENT_TRUST=1
POSIXLY_CORRECT=1
ENV`)
		px := e.kamalProxy()
		px.deploy()
		web := e.role()
		web.deploy("app:v1")
		db := e.accessory()
		db.deploy()
		e.route("web").deploy()
		wantVersion(e, s, "http://shop.example.com/", "v1")
		task := e.task("shop")
		_, err := task.apply()
		e.must(err)
		web.wantConverged()

		// Nothing of it is in a container, and the daemon that has them is the server's own.
		all := run(`DOCKER_CONFIG=/none docker inspect $(DOCKER_CONFIG=/none docker ps -aq)`)
		if strings.Contains(all, password) || strings.Contains(strings.ToUpper(all), "HTTP_PROXY") || strings.Count(all, `"Name": "/`) != 3 {
			e.Errorf("the containers have %s", all)
		}
		e.looks.log.mustNotHold(e, password)

		// A daemon that does not answer is told with what was not asked.
		run("systemctl stop docker.socket docker.service")
		if f := e.snapshot(s.Address).NoDocker(); f == nil || !strings.Contains(f.Cause, "names another daemon, tcp://127.0.0.1:1, which is not asked") {
			e.Errorf("told: %v", f)
		}
		run("systemctl start docker.socket docker.service; rm /root/.docker/config.json; sed -i '/DOCKER_/d; /POSIXLY/d' /etc/environment")

		// What such a client has given to containers before is seen, and its value is nowhere.
		s.SSH(e, `docker rm -f kamal-proxy shop-web-v1 >/dev/null
docker run -d --name kamal-proxy --network kamal --restart unless-stopped --volume kamal-proxy-config:/home/kamal-proxy/.config/kamal-proxy \
  --volume $PWD/.kamal/proxy/apps-config:/home/kamal-proxy/.apps-config --publish 80:80 --publish 443:443 --log-opt max-size=10m \
  --env HTTP_PROXY=http://corp:`+password+`@192.0.2.1:3128 $(docker image ls -q `+strings.TrimSuffix(e.bed.Image("basecamp/kamal-proxy:"+oldProxy), ":"+oldProxy)+` | head -n 1) kamal-proxy run
docker run -d --name shop-web-v1 --network kamal --hostname x --restart unless-stopped --log-opt max-size=10m --label service=shop --label role=web --label destination \
  --label `+kamal.LabelRun+`=old --env HTTP_PROXY=http://corp:`+password+`@192.0.2.1:3128 `+e.image("app:v1"))
		snap := e.snapshot(s.Address)
		if got := proxy.ObserveContainer(snap).Faults; !strings.Contains(strings.Join(got, "; "), "its environment has HTTP_PROXY") {
			e.Errorf("faults of kamal-proxy: %q", got)
		}
		px.deploy()
		web.wantLeft("env differs")
		if shown := approle.FromContainer(web.observe(s.Address), web.spec); shown.Env["HTTP_PROXY"] != docker.ClientVariable {
			e.Errorf("shows %q", shown.Env)
		}
		web.deploy("")
	})
}
