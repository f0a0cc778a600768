package engine

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/accessory"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/approle"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

// Two registries, each with a log-in of its own: the newest token counts, is
// sent to its registry alone, and is nowhere to be found before and after; a
// pull that fails leaves alone what runs and says what to do.
func TestTwoRegistriesWithTokens(t *testing.T) {
	onEngines(t, func(e *engine) {
		s, first := e.s, e.bed.Registry
		second := newTokenRegistry(t, e.bed, "t0ken-number-one")
		certs := "/etc/docker/certs.d/" + second.Address
		e.Cleanup(func() { s.SSH(e, "rm -r "+certs) })
		s.SSH(e, fmt.Sprintf("rm -rf /root/.docker; mkdir -p %s; echo %s | base64 -d > %[1]s/ca.crt", certs, base64.StdEncoding.EncodeToString(second.ca)))
		// The log-in at the first one is every run's.
		token := func(value string) option {
			return func(f *fleet.Fleet, _ *sshexec.Options) {
				if f.Logins[second.Address] = (docker.Login{Username: robot, Password: value}); value == "" {
					delete(f.Logins, second.Address)
				}
				f.AddSecret(value)
			}
		}
		e.options = []option{token("t0ken-number-one")}
		r := e.role(func(s *approle.Spec) { s.AppPort, s.ReadinessDelay = 0, time.Second })
		db := e.accessory(func(s *accessory.Spec) { s.Image = first.Address + "/team/other:v1" })

		// In the middle of a pull, the log-in is in a file in memory, and nowhere else.
		var seen string
		var failed error
		second.during = func() {
			seen, failed = s.Run(context.Background(), `ps auxww
for e in /proc/[0-9]*/environ; do tr '\0' '\n' < "$e" 2>/dev/null || :; done
echo '== config'; stat -c '%a %U %n' /dev/shm/docker-config.* /dev/shm/docker-config.*/config.json`)
		}
		r.deploy(second.Address + "/app:v1")
		db.deploy()
		argv, config, _ := strings.Cut(seen, "== config\n")
		if failed != nil || !strings.Contains(argv, "docker pull") || !strings.HasPrefix(config, "700 root /dev/shm/") || !strings.Contains(config, "\n600 root /dev/shm/") {
			e.Errorf("during a pull: %v, files %q", failed, config)
		}
		logins := []string{first.Username + ":" + first.Password, robot + ":t0ken-number-one", robot + ":t0ken-number-two", robot + ":t0ken-number-three"}
		e.wantNoLogin("a process during a pull", argv, logins...)
		second.wantHeard(t, robot+":t0ken-number-one")
		if got := names(e, s); got != "shop-db shop-web-v1" {
			e.Errorf("running: %q", got)
		}

		// Another token is no change of anything, and the next pull has it.
		second.rotate("t0ken-number-two", http.StatusUnauthorized)
		e.options = []option{token("t0ken-number-two")}
		r.wantConverged()
		second.wantHeard(t)
		r.deploy(second.Address + "/app:v2")
		second.wantHeard(t, robot+":t0ken-number-two")

		// What fails to be pulled leaves alone what runs.
		before := footprint(e, s)
		const still = "Running now: the old version goes on as before, container shop-web-v2"
		for _, status := range []int{http.StatusUnauthorized, http.StatusForbidden} {
			second.rotate("t0ken-number-three", status)
			told := r.fails(second.Address+"/app:v3", "Unable to deploy shop-web v3 on "+s.Address,
				`check the username and the password of registries["`+second.Address+`"]`, still)
			e.wantNoLogin("the error", told, logins...)
			wantSame(e, "the server", before, footprint(e, s))
			second.wantHeard(t, robot+":t0ken-number-two")
		}
		second.rotate("t0ken-number-three", http.StatusUnauthorized)
		e.options = []option{token("t0ken-number-three")}
		r.deploy(second.Address + "/app:v3")
		second.wantHeard(t, robot+":t0ken-number-three")

		before = footprint(e, s)
		const nothing = "Running now: what ran before, nothing was changed"
		nobody := second.Address[:strings.LastIndex(second.Address, ":")] + ":1"
		e.options = []option{token("")}
		for image, advice := range map[string]string{
			second.Address + "/app:withhealth": "give the log-in for " + second.Address + " in the provider's registries",
			nobody + "/app:v1":                 "check that " + s.Address + " reaches the registry " + nobody,
		} {
			db.spec.Image = image
			db.fails("Unable to replace the accessory shop-db on "+s.Address, advice, nothing)
			wantSame(e, "the server", before, footprint(e, s))
		}
		db.spec.Image = first.Address + "/team/other:v1"
		db.deploy()
		wantSame(e, "the server", before, footprint(e, s))

		patterns := ""
		for _, l := range logins {
			patterns += " -e " + strings.Join(loginForms(l), " -e ")
		}
		if got := s.SSH(e, `ls -A /dev/shm; ls -d /root/.docker 2>/dev/null || :; grep -rlF `+patterns+` /root /home /tmp /var/tmp /dev/shm /run /etc /var/log /var/lib/docker /var/lib/containerd 2>/dev/null || :`); got != "" {
			e.Errorf("left on the server:\n%s", got)
		}
		for _, l := range logins {
			for _, form := range loginForms(l) {
				e.run.log.mustNotHold(e, form)
			}
		}
	})
}

// loginForms are the ways in which tools write a log-in down.
func loginForms(login string) []string {
	_, password, _ := strings.Cut(login, ":")
	return []string{password, base64.StdEncoding.EncodeToString([]byte(login))}
}

// wantNoLogin wants a text to hold none of the log-ins.
func (e *engine) wantNoLogin(where, text string, logins ...string) {
	e.Helper()
	for _, l := range logins {
		for _, form := range loginForms(l) {
			if strings.Contains(text, form) {
				e.Errorf("%s holds %s", where, form)
			}
		}
	}
}
