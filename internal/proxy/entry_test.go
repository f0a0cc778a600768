package proxy

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// shopState is what kamal-proxy v0.9.2 wrote after Kamal's deploy of a service
// with TLS and of one below /api.
const shopState = `[{"name":"shop-web","options":{"hosts":["shop.example.com"],"path_prefixes":["/"],"tls_enabled":true,"tls_certificate_path":"",` +
	`"tls_private_key_path":"","tls_redirect":true,"canonical_host":"","acme_directory":"","acme_cache_path":"/home/kamal-proxy/.config/kamal-proxy/certs",` +
	`"error_page_path":"","strip_prefix":true,"writer_affinity_timeout":1000000000,"read_targets_accept_websockets":false},` +
	`"target_options":{"health_check_config":{"path":"/up","port":0,"interval":1000000000,"timeout":5000000000,"host":""},"response_timeout":30000000000,` +
	`"buffer_requests":true,"buffer_responses":true,"max_memory_buffer_size":1048576,"max_request_body_size":0,"max_response_body_size":0,` +
	`"log_request_headers":["Cache-Control","Last-Modified","User-Agent"],"log_response_headers":null,"forward_headers":false,"scope_cookie_paths":false},` +
	`"active_targets":["0123456789ab:3000"],"active_readers":[],"rollout_targets":null,"rollout_readers":null,` +
	`"pause_controller":{"state":2,"stop_message":"Back soon","fail_after":0},"rollout_controller":null},` +
	`{"name":"shop-api","options":{"hosts":["shop.example.com"],"path_prefixes":["/api"],"tls_enabled":true,"tls_redirect":true,"strip_prefix":true},` +
	`"target_options":{"health_check_config":{"interval":1000000000},"forward_headers":true},"active_targets":["ba9876543210:3000"],"pause_controller":{"state":0}}]`

func TestParseStateReadsWhatKamalProxyWrites(t *testing.T) {
	t.Parallel()
	entries, err := ParseState(shopState)
	if err != nil {
		t.Fatal(err)
	}
	e := Find(entries, "shop-web")
	if e == nil || Find(entries, "shop") != nil {
		t.Fatalf("found %v and %v", e, Find(entries, "shop"))
	}
	if got := e.Targets(); !slices.Equal(got, []string{"0123456789ab:3000"}) {
		t.Errorf("targets %q", got)
	}
	if !e.Options.TLSEnabled || e.TargetOptions.ResponseTimeout != 30*time.Second || e.PauseController.State != Stopped || e.PauseController.StopMessage != "Back soon" {
		t.Errorf("parsed %+v", e)
	}
	if want := (Health{Path: "/up", Interval: time.Second, Timeout: 5 * time.Second}); e.TargetOptions.HealthCheck.Health() != want {
		t.Errorf("health %+v, want %+v", e.TargetOptions.HealthCheck.Health(), want)
	}
	if len(e.Unknown) != 0 {
		t.Errorf("unknown options %q in what v0.9.2 writes", e.Unknown)
	}
}

func TestParseStateTellsNoServicesFromABrokenRead(t *testing.T) {
	t.Parallel()
	for _, state := range []string{"[]", "null", " [] \n"} {
		if entries, err := ParseState(state); err != nil || len(entries) != 0 {
			t.Errorf("%q: %v, %v", state, entries, err)
		}
	}
	for _, state := range []string{"", "\n", shopState[:200], `{"name":"shop"}`} {
		if _, err := ParseState(state); err == nil {
			t.Errorf("%q was taken for a state", state)
		}
	}
}

func TestParseStateReadsTheFieldsOfOlderProxies(t *testing.T) {
	t.Parallel()
	entries, err := ParseState(`[{"name":"shop-web","active_target":"0123456789ab:80","hosts":["a.example.com"],"path_prefixes":["/x/"]},{"name":"any"}]`)
	if err != nil {
		t.Fatal(err)
	}
	e := entries[0]
	if !slices.Equal(e.Targets(), []string{"0123456789ab:80"}) || !slices.Equal(e.Options.Hosts, []string{"a.example.com"}) || !slices.Equal(e.Options.PathPrefixes, []string{"/x"}) {
		t.Errorf("parsed %+v", e)
	}
	if e = entries[1]; !slices.Equal(e.Options.Hosts, []string{""}) || !e.Root() {
		t.Errorf("any host at the root became %+v", e.Options)
	}
}

func TestParseStateNamesOptionsItDoesNotKnow(t *testing.T) {
	t.Parallel()
	tests := map[string][]string{
		`"options":{"tls_on_demand_url":"/allow","exclude_metrics_paths":[]}`:         {"options.tls_on_demand_url"},
		`"options":{"tls_on_demand_url":"","client_ip_header":null}`:                  nil,
		`"target_options":{"health_check_config":{"method":"HEAD"}}`:                  {"target_options.health_check_config.method"},
		`"options":{"acme_directory":"https://acme.example.com/dir"}`:                 {"options.acme_directory"},
		`"options":{"acme_directory":"` + ACMEStaging + `"}`:                          nil,
		`"shadow":{"targets":["x"]},"calm":{"targets":[]}`:                            {"shadow"},
		`"rollout_controller":{"percentage":5,"percentage_split_point":1,"salt":"x"}`: {"rollout_controller.salt"},
	}
	for fields, want := range tests {
		entries, err := ParseState(`[{"name":"shop-web",` + fields + `}]`)
		if err != nil {
			t.Fatal(err)
		}
		if got := entries[0].Unknown; !slices.Equal(got, want) {
			t.Errorf("%s: unknown %q, want %q", fields, got, want)
		}
	}
}

var goodTarget = Target{
	Address:       "aaaabbbbcccc:3000",
	Health:        Health{Path: "/health", Port: 9000, Host: "shop.example.com", Interval: 2 * time.Second, Timeout: 3 * time.Second},
	DeployTimeout: time.Minute, DrainTimeout: 10 * time.Second,
}

func TestDeployArgvSendsEveryOption(t *testing.T) {
	t.Parallel()
	entries, err := ParseState(shopState)
	if err != nil {
		t.Fatal(err)
	}
	got, err := entries[0].DeployArgv(goodTarget)
	if err != nil {
		t.Fatal(err)
	}
	want := `docker exec kamal-proxy kamal-proxy deploy shop-web --target=aaaabbbbcccc:3000 --deploy-timeout=1m0s --drain-timeout=10s ` +
		`--health-check-path=/health --health-check-port=9000 --health-check-host=shop.example.com --health-check-interval=2s --health-check-timeout=3s ` +
		`--host=shop.example.com --path-prefix=/ --strip-path-prefix=true --tls=true --tls-redirect=true --tls-staging=false ` +
		`--tls-acme-cache-path=/home/kamal-proxy/.config/kamal-proxy/certs --writer-affinity-timeout=1s --read-target-websockets=false ` +
		`--target-timeout=30s --buffer-requests=true --buffer-responses=true --buffer-memory=1048576 --max-request-body=0 --max-response-body=0 ` +
		`--log-request-header=Cache-Control --log-request-header=Last-Modified --log-request-header=User-Agent --forward-headers=false --scope-cookie-paths=false`
	if s := strings.Join(got, " "); s != want {
		t.Errorf("got\n%s\nwant\n%s", s, want)
	}

	got, err = entries[1].DeployArgv(goodTarget)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range got {
		if strings.HasPrefix(a, "--tls=") || strings.HasPrefix(a, "--tls-redirect") {
			t.Errorf("an entry without / sends %s, which the root entry decides", a)
		}
	}
}

func TestDeployArgvRefusesWhatADeployWouldLose(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		fields string
		target Target
		want   string
	}{
		"an option it doesn't know": {`"options":{"tls_on_demand_url":"/allow"}`, goodTarget, "options.tls_on_demand_url"},
		"read targets":              {`"active_readers":["ba9876543210:80"]`, goodTarget, "read targets (ba9876543210:80)"},
		"a running rollout":         {`"rollout_targets":["ba9876543210:80"],"rollout_controller":{"percentage":5}`, goodTarget, "kamal-proxy rollout stop shop-web"},
		"no interval":               {`"options":{}`, Target{Address: "a:1"}, "health-check interval"},
	}
	for name, test := range tests {
		entries, err := ParseState(`[{"name":"shop-web",` + test.fields + `}]`)
		if err != nil {
			t.Fatal(err)
		}
		if argv, err := entries[0].DeployArgv(test.target); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %q, error %v", name, argv, err)
		}
	}
	entries, err := ParseState(`[{"name":"shop-web","rollout_targets":["ba9876543210:80"]}]`)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := entries[0].DeployArgv(goodTarget); err != nil {
		t.Errorf("what is left of a stopped rollout: %v", err)
	}
}
