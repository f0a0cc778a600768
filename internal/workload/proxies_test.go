package workload

import (
	"errors"
	"maps"
	"testing"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
)

// A proxy that docker's client gave a container is a change of env, without its
// password; one that is configured is what it is.
func TestAProxysPasswordIsNotShown(t *testing.T) {
	t.Parallel()
	const url, shown = "http://corp:s3cret@192.0.2.1:3128", "http://corp:" + docker.PasswordNotShown + "@192.0.2.1:3128"
	v := plain()
	v.Container.Config.Env = append(v.Container.Config.Env, "https_proxy="+url)
	for _, tt := range []struct {
		name        string
		prior, want map[string]string
		differs     bool
	}{
		{name: "not configured", want: map[string]string{"https_proxy": shown}, differs: true},
		{name: "configured", prior: map[string]string{"https_proxy": url}, want: map[string]string{"https_proxy": url}},
		{name: "another one configured", prior: map[string]string{"https_proxy": "http://192.0.2.2"}, want: map[string]string{"https_proxy": shown}, differs: true},
	} {
		prior := Spec{Env: tt.prior}
		is := FromContainer(v, prior)
		if !maps.Equal(is.Env, tt.want) || prior.Env["https_proxy"] != tt.prior["https_proxy"] {
			t.Errorf("%s: %q, want %q", tt.name, is.Env, tt.want)
		}
		if differs := !maps.Equal(is.Env, prior.Env); differs != tt.differs {
			t.Errorf("%s: differs %t", tt.name, differs)
		}
	}

	// What an import shows so is no value to configure.
	var r *docker.Refusal
	if err := (Spec{Env: map[string]string{"https_proxy": shown}}).Check(); !errors.As(err, &r) || r.Attribute != "env" {
		t.Errorf("the password that is not shown: %v", err)
	}
	if err := (Spec{Env: map[string]string{"https_proxy": url}}).Check(); err != nil {
		t.Errorf("a proxy with a password: %v", err)
	}
}
