package engine

import (
	"slices"
	"strings"
	"testing"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/approle"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/kamal"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/workload"
)

// someOptions is every option that works on any server, each different from its default.
var someOptions = docker.Options{
	ShmSize: 96 << 20, Ulimits: map[string]string{"nofile": "4096:8192"}, User: "0:0", Init: true, ReadOnly: true,
	CapAdd: []string{"SYS_NICE"}, CapDrop: []string{"NET_RAW"}, Sysctls: map[string]string{"net.core.somaxconn": "512"},
	Tmpfs: map[string]string{"/scratch": "size=1m"}, AddHosts: []string{"mail:10.0.0.9"}, SecurityOpt: []string{"no-new-privileges"},
	Devices: []string{"/dev/null:/dev/nothing:rw"}, PidsLimit: 64, DNS: []string{"10.0.0.53"}, MemoryReservation: 64 << 20, StopSignal: "SIGINT", Restart: "always",
}

// What Kamal's options gave a container, and what somebody changed on it, is
// seen, and the next version keeps what an attribute holds.
func TestRoleThatSomebodyElseMadeKeepsWhatItHas(t *testing.T) {
	onEngines(t, func(e *engine) {
		s := e.s
		s.SSH(e, "docker network create kamal; docker network create backend")
		s.LogIn(e)
		s.SSH(e, "docker run --detach --restart always --name shop-jobs-v1 --network kamal --log-opt max-size=10m --label service=shop --label role=jobs --label destination "+
			"--memory 256m --publish 127.0.0.1:8080:3000 "+strings.Join(someOptions.Argv(), " ")+" --cpu-shares 512 --oom-score-adj 100 "+e.image("app:v1"))
		r := e.role(func(spec *approle.Spec) { spec.Role.Role, spec.AppPort = "jobs", 0 })
		o := r.observe(s.Address)
		shown := approle.FromContainer(o, approle.Spec{Role: r.spec.Role, Spec: workload.Spec{LogDriver: "json-file", LogOptions: r.spec.LogOptions}})
		if !shown.Options.Equal(someOptions) || shown.Memory != 256<<20 || !slices.Equal(shown.Ports, []string{"8080:3000"}) {
			e.Errorf("shows %+v", shown.Spec)
		}
		if got, want := o.Losses(), []string{"a swap would lose: --cpu-shares 512", "a swap would lose: --oom-score-adj 100"}; !slices.Equal(got, want) {
			e.Errorf("losses %q", got)
		}

		// What an import has makes no other container, and the next one has all of it.
		r.spec.Spec, r.spec.Boot.StopFirst = shown.Spec, true
		r.has, r.recorded = r.servers, map[string]string{s.Address: o.Current.ID}
		r.wantConverged()
		r.deploy("app:v2")
		o = r.observe(s.Address)
		if got := approle.FromContainer(o, r.spec); len(got.Changes(r.spec)) > 0 || !got.Options.Equal(someOptions) || len(o.Losses()) > 0 {
			e.Errorf("the next version differs in %q: %+v, losses %q", got.Changes(r.spec), got.Options, o.Losses())
		}

		// What somebody changes on it.
		s.SSH(e, "docker update --restart no --memory 128m --memory-swap 256m shop-jobs-v2 && docker network disconnect kamal shop-jobs-v2")
		for _, d := range []string{"memory", "options", "network"} {
			r.wantLeft(d + " differs")
		}
		r.deploy("")
		if got := inspect(e, s, "shop-jobs-v2", "json .NetworkSettings.Networks"); !strings.Contains(got, `"`+kamal.Network+`"`) {
			e.Errorf("mended, it is in %s", got)
		}
		s.SSH(e, "docker network connect --alias jobs backend shop-jobs-v2")
		if got, want := r.observe(s.Address).Losses(), []string{"a swap would lose: --network backend", "a swap would lose: --network-alias jobs"}; !slices.Equal(got, want) {
			e.Errorf("losses %q", got)
		}
		r.wantConverged()
	})
}
