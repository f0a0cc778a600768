package upgrade

import (
	"encoding/base64"
	"strings"
	"testing"
)

func facts(server, id string) Facts {
	return Facts{Server: server, Registry: server + "0:5000", MachineID: "m-" + id, HostKey: "ssh-ed25519 " + id,
		Containers: map[string]string{"shop-db": strings.Repeat(id, 64)}, Images: map[string]string{"app:v1": "sha256:" + id}}
}

func TestAStateOfAnotherServer(t *testing.T) {
	state := func(server, id string) string {
		private := base64.StdEncoding.EncodeToString([]byte(`{"keys":"` + base64.StdEncoding.EncodeToString([]byte(`{"`+server+`":"ssh-ed25519 `+id+`"}`)) + `"}`))
		return `{"server": "` + server + `", "image": "` + server + `0:5000/app:v1", "target": "` + strings.Repeat(id, 12) + `:3000",
			"container": "` + strings.Repeat(id, 64) + `", "digest": "sha256:` + id + `", "private": "` + private + `"}`
	}
	got, err := facts("192.0.2.1", "a").InState(state("192.0.2.1", "a"), facts("10.0.0.7", "b"))
	if want := state("10.0.0.7", "b"); err != nil || got != want {
		t.Errorf("%v\n%s\nwant\n%s", err, got, want)
	}
	same, other := facts("192.0.2.1", "a"), facts("10.0.0.7", "b")
	same.Images["app:v2"], other.Images["app:v2"] = same.Images["app:v1"], "sha256:c"
	if _, err := same.InState("{}", other); err == nil {
		t.Error("two images that can't be told apart are no error")
	}
	other = facts("10.0.0.7", "b")
	other.Containers = nil
	if _, err := facts("192.0.2.1", "a").InState("{}", other); err == nil {
		t.Error("a server without the container is no error")
	}
}

func TestLearn(t *testing.T) {
	f := Facts{Registry: "192.0.2.2:5000"}
	if err := f.Learn("machine 12\ncontainer shop-db ab\nimage 192.0.2.2:5000/team/app:v1 192.0.2.2:5000/team/app@sha256:cd\n\n"); err != nil {
		t.Fatal(err)
	}
	if f.MachineID != "12" || f.Containers["shop-db"] != "ab" || f.Images["team/app:v1"] != "sha256:cd" {
		t.Errorf("%+v", f)
	}
	if err := f.Learn("Cannot connect to the Docker daemon"); err == nil {
		t.Error("nonsense is no error")
	}
}

// A fixture that lacks a kind of resource, or what was done to the server, proves nothing of it.
func TestTheFixturesAreWhole(t *testing.T) {
	all, err := All()
	if err != nil || len(all) == 0 {
		t.Fatalf("%d fixtures, %v", len(all), err)
	}
	for _, f := range all {
		state, err := f.State(f.Facts)
		if err != nil {
			t.Fatal(err)
		}
		for _, kind := range []string{"kamal_server", "kamal_firewall", "kamal_proxy", "kamal_accessory", "kamal_task", "kamal_app_role", "kamal_proxy_route"} {
			if !strings.Contains(state, `"type": "`+kind+`"`) {
				t.Errorf("%s has no %s", f.Name, kind)
			}
		}
		script, err := f.Script(f.Facts)
		if err != nil || !strings.Contains(script, "docker ") {
			t.Errorf("%s: %v, server.sh calls no docker", f.Name, err)
		}
	}
}
