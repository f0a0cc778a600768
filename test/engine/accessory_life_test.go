package engine

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/accessory"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
	"github.com/kamal-terraform/terraform-provider-kamal/test/testbed"
)

// moments are when replacements are cut off; %s is the time before they began.
var moments = []struct{ mood, when, seen string }{
	{"one", "once the old container was told to stop", `docker events --since %s --until 0s --filter event=kill --filter container=shop-db | grep -q . && ls .kamal/lock-shop`},
	{"two", "while the new container starts", `: %s; docker ps --format '{{.Names}} {{.Status}}' | grep -q '^shop-db .*starting' && docker ps -a --format '{{.Names}}' | grep -q _replaced_`},
}

// now is the time on the server, for docker events.
func (e *engine) now() string {
	e.Helper()
	return e.s.SSH(e, "date +%s.%N")
}

// The provider is killed in the middle of replacements, and applied again.
func TestAccessoryKilledMidway(t *testing.T) {
	onEngines(t, func(e *engine) {
		a := e.accessory(database("calm", "secret-of-the-day"))
		a.spec.Image, a.spec.Ready.Port = e.image("app:withhealth"), 0
		a.deploy()
		e.s.SSH(e, `echo precious > `+dbData)
		for _, m := range moments {
			database(m.mood, "secret-of-the-day")(&a.spec)
			a.spec.Ready.Port = 0
			since := e.now()
			r, u := a.begin()
			e.reaches(u, m.when, fmt.Sprintf(m.seen, since))
			e.dies(r, u, "shop")
			e.Logf("killed %s: %s", m.when, e.s.SSH(e, `docker ps -a --format '{{.Names}} {{.Status}}'`))
			a.deploy()
			if got := e.s.SSH(e, `docker ps -a --format '{{.Names}}'; docker exec shop-db app env MOOD; cat `+dbData+`; ls .kamal`); !strings.HasPrefix(got, "shop-db\n"+m.mood+"precious\n") || strings.Contains(got, "lock-shop") {
				e.Errorf("killed %s, after the next apply: %q", m.when, got)
			}
		}
	})
}

// The provider lives and puts the old container back.
func TestAccessoryOverALinkThatBreaks(t *testing.T) {
	onEngines(t, func(e *engine) {
		link := testbed.Relay(e, e.s.Address+":22", 0)
		keep := false
		e.options = append(e.options, func(f *fleet.Fleet, o *sshexec.Options) {
			f.KeepUnreachable = keep
			o.HostKey, o.ConnectTimeout = e.s.HostKey, 3*time.Second
		})
		a := e.accessory(everything("calm", "secret-of-the-day"))
		a.server, a.spec.Image = link.Address(), e.image("app:withhealth")
		a.deploy()
		e.s.SSH(e, "echo precious > "+dbData)

		for _, m := range moments {
			everything(m.mood, "secret-of-the-day")(&a.spec)
			since := e.now()
			_, u := a.begin()
			e.reaches(u, m.when, fmt.Sprintf(m.seen, since))
			before := link.Accepted()
			link.Cut()
			told := e.wantFailure(u.wait(), "lost sight of", "Running now: the old container was put back and is ready")
			if link.Accepted() == before || says(told, "raise deploy_timeout") {
				e.Errorf("cut %s: %d connections after %d:\n%s", m.when, link.Accepted(), before, told)
			}
			a.deploy()
			a.wantLife("cut "+m.when, m.mood)
		}

		// Nothing comes through any more.
		link.Stall()
		_, err := e.newRun().fleet.Server(a.server).Snapshot(e.ctx())
		e.wantFailure(err, "cannot reach "+link.Address())
		a.fails("Unable to replace the accessory shop-db on "+link.Address(), "cannot reach "+link.Address(), "what ran before, nothing was changed")
		_, err = a.remove()
		e.wantFailure(err, "Unable to remove the accessory shop-db on "+link.Address(), "cannot reach "+link.Address())
		keep = true
		if out := a.destroy(); !says(out, link.Address()+" does not answer") || !says(out, "The accessory shop-db was forgotten there") || !says(out, `on_unreachable is "keep"`) {
			e.Errorf("the destroy says:\n%s", out)
		}
		link.Resume()
		a.wantLife("after a destroy without the server", "two")
	})
}

// Replaced by hand with all of it different: the plan names all of it, and one apply mends it.
func TestAccessoryDriftOfEveryAttribute(t *testing.T) {
	onEngines(t, func(e *engine) {
		a := e.accessory(everything("calm", "secret-of-the-day"))
		a.spec.Image = e.image("app:withhealth")
		a.deploy()
		e.s.SSH(e, "echo precious > "+dbData)
		// What is in the lists, line by line: docker's order of mounts and variables is by chance.
		shown := func() string {
			e.Helper()
			return e.s.SSH(e, `docker inspect -f '{{json .HostConfig}},{{json .Config}}' shop-db | tr ',[]{}' '\n' |
  sed -E 's/accessory-db\.[0-9a-f]+/accessory-db.X/; /"kamal-terraform.run"|"Hostname"/d' | sort`)
		}
		configured := shown()
		e.s.SSH(e, `docker rm -f shop-db; docker network create other; mkdir -p /srv/conf
docker run --detach --name shop-db --label service=shop-db --label team=by-hand --label more=by-hand --network other --restart on-failure:3 \
  --env MOOD=other --env PASSWORD=other --publish 0.0.0.0:5433:3000 --volume other-data:/data --volume /srv/conf:/conf \
  --log-driver json-file --log-opt max-size=1m --memory 64m --cpus 0.25 --shm-size 32m --ulimit nofile=1024 --ulimit nproc=9999 --user 1000 \
  --cap-add SYSLOG --sysctl net.core.somaxconn=256 --tmpfs /elsewhere --add-host other:10.0.0.8 `+a.spec.Image+` app server "by hand"`)
		e.Cleanup(func() { e.s.SSH(e, "rm -r /srv/conf") })
		o, p := a.plan()
		if want := "other command, env, labels, secrets_as_files, ports, volumes, logging, memory, cpus, options, network, directories, files, secrets"; !p.Replace || strings.Join(p.Why, "; ") != want {
			e.Errorf("the plan is to replace %t because of %q, want %q", p.Replace, p.Why, want)
		}
		want := a.spec
		want.Command = []string{"app", "server", "by hand"}
		want.Env = map[string]string{"MOOD": "other"}
		want.Labels = map[string]string{"team": "by-hand", "more": "by-hand"}
		want.AsFiles, want.Directories, want.Files = nil, nil, nil
		want.Ports, want.Volumes, want.Network = []string{"0.0.0.0:5433:3000"}, []string{"/srv/conf:/conf", "other-data:/data"}, "other"
		want.LogDriver, want.LogOptions = "json-file", map[string]string{"max-size": "1m"}
		want.Memory, want.CPUs = 64<<20, 0.25
		want.Options = docker.Options{
			ShmSize: 32 << 20, Ulimits: map[string]string{"nofile": "1024", "nproc": "9999"}, User: "1000", CapAdd: []string{"SYSLOG"},
			Sysctls: map[string]string{"net.core.somaxconn": "256"}, Tmpfs: map[string]string{"/elsewhere": ""}, AddHosts: []string{"other:10.0.0.8"}, Restart: "on-failure:3",
		}
		wantSame(e, "what the container shows", fmt.Sprintf("%+v", want), fmt.Sprintf("%+v", accessory.FromContainer(o, a.spec)))
		if values := o.Snapshot.Secrets(*o.Current); values["PASSWORD"] != "other" || values["TOKEN"] != "" {
			e.Error("the secrets that it shows are not those that it has")
		}
		if a.state.Container != o.Current.ID {
			e.Error("the state does not have the container that is there")
		}
		a.deploy()
		wantSame(e, "the container", configured, shown())
		a.wantLife("after the repair", "calm")
	})
}
