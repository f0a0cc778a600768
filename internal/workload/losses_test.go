package workload

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
)

func none(string) bool { return false }

// plain is a container that asks for nothing, as docker shows it.
func plain() View {
	var c docker.Container
	c.ID, c.Name = strings.Repeat("0123456789abcdef", 4), "/shop-db"
	c.Config = &container.Config{Image: "shop:v1", Hostname: "0123456789ab", WorkingDir: "/app", Entrypoint: []string{"/entry"}}
	c.HostConfig = &container.HostConfig{NetworkMode: "kamal", IpcMode: "private", CgroupnsMode: "private", Runtime: "runc", ShmSize: 64 << 20}
	c.HostConfig.RestartPolicy.Name, c.HostConfig.LogConfig.Type = "unless-stopped", "json-file"
	c.NetworkSettings = &container.NetworkSettings{Networks: map[string]*network.EndpointSettings{"kamal": {Aliases: []string{"0123456789ab"}}}}
	var i docker.Image
	i.Config = &dockerspec.DockerOCIImageConfig{}
	i.Config.WorkingDir, i.Config.Entrypoint = "/app", []string{"/entry"}
	return View{Container: c, Image: &i, OwnEnv: none, OwnLabel: none}
}

// sample is a value of a type that is not zero.
func sample(t reflect.Type) reflect.Value {
	v := reflect.New(t).Elem()
	switch t.Kind() {
	case reflect.String:
		v.SetString("other")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(7)
	case reflect.Uint16:
		v.SetUint(7)
	case reflect.Pointer:
		v.Set(reflect.New(t.Elem()))
		v.Elem().Set(sample(t.Elem()))
	case reflect.Slice:
		v.Set(reflect.Append(v, sample(t.Elem())))
	case reflect.Map:
		v.Set(reflect.MakeMap(t))
		v.SetMapIndex(sample(t.Key()), sample(t.Elem()))
	case reflect.Struct:
		if f := v.FieldByName("Test"); f.IsValid() { // a health check's
			f.Set(sample(f.Type()))
		}
	}
	return v
}

func TestEachLossIsTold(t *testing.T) {
	t.Parallel()
	if got := Losses(plain()); len(got) != 0 {
		t.Errorf("of a plain container: %q", got)
	}
	for _, l := range losses {
		where, field, _ := strings.Cut(l.api[0], ".")
		v := plain()
		switch where {
		case "HostConfig":
			f := reflect.ValueOf(v.Container.HostConfig).Elem().FieldByName(field)
			f.Set(sample(f.Type()))
		case "Config":
			f := reflect.ValueOf(v.Container.Config).Elem().FieldByName(field)
			f.Set(sample(f.Type()))
		default:
			continue // below
		}
		if got := Losses(v); len(got) != 1 || !IsLoss(got[0]) {
			t.Errorf("%s: %q", l.api, got)
		}
	}
}

func TestLossesOfNetworks(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(v *View){
		"--network backend": func(v *View) { v.Container.NetworkSettings.Networks["backend"] = &network.EndpointSettings{} },
		"--network-alias db": func(v *View) {
			v.Container.NetworkSettings.Networks["kamal"].Aliases = []string{"shop-db", "0123456789ab", "db"}
		},
		"--hostname database": func(v *View) { v.Container.Config.Hostname = "database" },
		"":                    func(v *View) { v.Container.Config.Hostname, v.OwnHostname = "10.0.0.1-0123456789ab", true },
		"--mount type=tmpfs,target=/run": func(v *View) {
			v.Container.HostConfig.Mounts = []mount.Mount{{Type: "tmpfs", Target: "/run"}, {Type: "volume", Source: "data", Target: "/data"}}
		},
	} {
		v := plain()
		change(&v)
		got := Losses(v)
		if want == "" && len(got) == 0 {
			continue
		}
		if !slices.Equal(got, []string{"a swap would lose: " + want}) {
			t.Errorf("%q: %q", want, got)
		}
	}
	// The daemon's own runtime is nobody's wish.
	v := plain()
	v.Container.HostConfig.Runtime, v.Defaults.Runtime = "nvidia", "nvidia"
	if got := Losses(v); len(got) != 0 {
		t.Errorf("the daemon's runtime: %q", got)
	}
}
