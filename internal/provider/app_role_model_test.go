package provider

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-go/tftypes"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/approle"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/kamal"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/proxy"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/workload"
)

// appRole is the model of a configuration in JSON; attributes that it lacks are null.
func appRole(t *testing.T, json string) appRoleModel {
	t.Helper()
	ctx := context.Background()
	schema := appRoleSchema(ctx)
	kind, _ := schema.Type().TerraformType(ctx).(tftypes.Object)
	kind.OptionalAttributes = map[string]struct{}{}
	for name := range kind.AttributeTypes {
		kind.OptionalAttributes[name] = struct{}{}
	}
	given, err := tftypes.ValueFromJSON([]byte(json), kind) //nolint:staticcheck // what the CLI's JSON is read with
	if err != nil {
		t.Fatal(err)
	}
	var values map[string]tftypes.Value
	if err := given.As(&values); err != nil {
		t.Fatal(err)
	}
	for name, attribute := range kind.AttributeTypes {
		if _, ok := values[name]; !ok {
			values[name] = tftypes.NewValue(attribute, nil)
		}
	}
	kind.OptionalAttributes = nil
	var m appRoleModel
	plan := tfsdk.Plan{Schema: schema, Raw: tftypes.NewValue(kind, values)}
	if d := plan.Get(ctx, &m); d.HasError() {
		t.Fatal(d)
	}
	return m
}

func TestAppRoleAttributesBecomeASpec(t *testing.T) {
	t.Parallel()
	m := appRole(t, `{
		"service": "shop", "role": "web", "destination": "staging", "servers": ["10.0.0.1"], "image": "registry.example.com/shop:v1", "pull": "always",
		"command": ["app", "server"], "env": {"A": "", "B": "two\nlines"}, "secrets_as_files": ["TOKEN"], "app_port": 3000,
		"healthcheck": {"path": "/", "port": 3001, "host": "app.example.com", "interval": "2s", "timeout": "3s"}, "readiness_delay": "4s",
		"verify": ["app", "get"], "volumes": ["data:/data", "/srv/a:/a:ro"], "labels": {"team": "shop", "empty": ""},
		"logging": {"driver": "local", "options": {"max-file": "2"}}, "memory": "512m", "cpus": 0.5,
		"stop_timeout": "5s", "deploy_timeout": "40s", "drain_timeout": "20s",
		"boot": {"order": "stop_first", "limit": "50%", "wait": "6s", "on_failure": "halt"}, "retain_containers": 2}`)
	got, diags := m.spec(t.Context())
	if diags.HasError() {
		t.Fatal(diags)
	}
	want := approle.Spec{
		Spec: workload.Spec{
			Image: "registry.example.com/shop:v1", Command: []string{"app", "server"},
			Env: map[string]string{"A": "", "B": "two\nlines"}, AsFiles: []string{"TOKEN"},
			Volumes: []string{"data:/data", "/srv/a:/a:ro"}, Labels: map[string]string{"team": "shop", "empty": ""},
			LogDriver: "local", LogOptions: map[string]string{"max-file": "2"}, Memory: 512 << 20, CPUs: 0.5,
		},
		Role: kamal.Role{Service: "shop", Role: "web", Destination: "staging"}, PullAlways: true, AppPort: 3000,
		Health:         proxy.Health{Path: "/", Port: 3001, Host: "app.example.com", Interval: 2 * time.Second, Timeout: 3 * time.Second},
		ReadinessDelay: 4 * time.Second, Verify: []string{"app", "get"}, StopTimeout: 5 * time.Second,
		DeployTimeout: 40 * time.Second, DrainTimeout: 20 * time.Second,
		Boot: approle.Boot{StopFirst: true, Percent: 50, Wait: 6 * time.Second, Halt: true}, Retain: 2,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if p := m.proxy(); p.IsNull() {
		t.Error("a role with a port has no proxy")
	}
}

func TestAppRoleLeastSpec(t *testing.T) {
	t.Parallel()
	m := appRole(t, `{"service": "shop", "role": "jobs", "image": "shop:v1", "boot": {"order": "start_first", "limit": "2", "on_failure": "rollback"}}`)
	got, diags := m.spec(t.Context())
	if diags.HasError() {
		t.Fatal(diags)
	}
	if diff := cmp.Diff(approle.Spec{Spec: workload.Spec{Image: "shop:v1"}, Role: kamal.Role{Service: "shop", Role: "jobs"}, Boot: approle.Boot{Limit: 2}}, got); diff != "" {
		t.Error(diff)
	}
	if p := m.proxy(); !p.IsNull() {
		t.Errorf("a role without a port has the proxy %v", p)
	}
}

// Another spelling of the same is no other memory, and a refresh keeps the spelling.
func TestAppRoleMemoryBySpelling(t *testing.T) {
	t.Parallel()
	for _, memory := range []string{"512m", "0.5g", "536870912"} {
		m := appRole(t, `{"service": "shop", "role": "web", "image": "shop:v1", "memory": "`+memory+`"}`)
		spec, diags := m.spec(t.Context())
		if diags.HasError() || spec.Memory != 512<<20 {
			t.Errorf("%s: %d %v", memory, spec.Memory, diags)
		}
		m.take(t.Context(), spec.Spec, spec.Spec)
		if m.Memory.ValueString() != memory {
			t.Errorf("%s became %s", memory, m.Memory.ValueString())
		}
	}
}

// A role with published ports is imported with the order in which it can be swapped.
func TestImportOfARoleWithPorts(t *testing.T) {
	t.Parallel()
	const boot = `"boot": {"order": "start_first", "wait": "0s", "on_failure": "rollback"}`
	m := appRole(t, `{"service": "shop", "role": "web", "image": "shop:v1", "app_port": 3000, "ports": ["8080:3000", "9000:9000/udp"], `+boot+`}`)
	if spec, _ := m.spec(t.Context()); spec.Check() == nil {
		t.Error("it can be swapped as it is")
	}
	diags := m.imported(t.Context(), nil)
	if spec, _ := m.spec(t.Context()); spec.Check() != nil || spec.Boot.Wait != 0 {
		t.Errorf("imported, it is %+v: %v", spec.Boot, spec.Check())
	}
	if diags.WarningsCount() != 1 || diags.HasError() || !strings.Contains(diags[0].Detail(), "8080:3000 is superfluous for kamal-proxy") || strings.Contains(diags[0].Detail(), "udp is superfluous") {
		t.Errorf("told: %v", diags)
	}
	plain := appRole(t, `{"service": "shop", "role": "web", "image": "shop:v1", "app_port": 3000, `+boot+`}`)
	if diags := plain.imported(t.Context(), nil); len(diags) > 0 || plain.Boot.Attributes()["order"].String() != `"start_first"` {
		t.Errorf("without ports: %v, %v", diags, plain.Boot)
	}
}

// A server that nothing is done to keeps what the state says of it; not where
// secrets have a version, whose values nobody has compared.
func TestServersThatAChangeDoesNotTouchAreKnown(t *testing.T) {
	t.Parallel()
	const a = `"a": {"container": "c1", "image": "shop:v1", "digest": "d", "running": true, "machine_id": "m", "drift": []}`
	const state = `{"service": "shop", "role": "web", "image": "shop:v1", "servers": ["a"], "instances": {` + a + `}%s}`
	const plan = `{"service": "shop", "role": "web", "image": "shop:%s", "servers": ["a", "b"]%s}`
	for name, tt := range map[string]struct {
		image, more string
		known       bool
	}{
		"a server more":             {"v1", "", true},
		"with secrets of a version": {"v1", `, "secrets_version": "1"`, false},
		"another image":             {"v2", "", false},
	} {
		before := appRole(t, fmt.Sprintf(state, tt.more))
		planned := appRole(t, fmt.Sprintf(plan, tt.image, tt.more)).plannedInstances(t.Context(), &before, false)
		for server, want := range map[string]bool{"a": tt.known, "b": false} {
			o, _ := planned.Elements()[server].(types.Object)
			if got := !o.Attributes()["container"].IsUnknown(); got != want {
				t.Errorf("%s: the container on %s is known: %t, want %t", name, server, got, want)
			}
		}
	}
}
