package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/test/load"
	"github.com/kamal-terraform/terraform-provider-kamal/test/testbed"
)

// rate is in requests a second, over both servers.
const rate = 240

// An answer is what the app says about itself.
type answer struct {
	Version  string `json:"version"`
	Hostname string `json:"hostname"` // another one for each container
}

// serves returns a check that the app answers and is one of the versions.
func serves(versions ...string) load.Check {
	return func(_ load.Target, status int, body []byte) error {
		var a answer
		if err := json.Unmarshal(body, &a); status != http.StatusOK || err != nil {
			return fmt.Errorf("status %d, %.200q", status, body)
		}
		if !slices.Contains(versions, a.Version) {
			return fmt.Errorf("version %q answers, want %s", a.Version, strings.Join(versions, " or "))
		}
		return nil
	}
}

func startLoad(ctx context.Context, servers []*testbed.Server, host, version string) (*load.Load, error) {
	options := load.Options{Rate: rate, Check: serves(version)}
	for _, s := range servers {
		options.Targets = append(options.Targets, load.Target{URL: "http://" + host + "/", Addr: net.JoinHostPort(s.Address, "80")})
	}
	return load.Start(ctx, options)
}

// look asks a server's proxy for a host, once.
func look(ctx context.Context, server *testbed.Server, host string) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var a answer
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(server.Address, "80")+"/", nil)
	if err != nil {
		return a, err
	}
	request.Host = host
	response, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(request)
	if err != nil {
		return a, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return a, fmt.Errorf("%s at %s: status %d", host, server.Address, response.StatusCode)
	}
	return a, json.NewDecoder(response.Body).Decode(&a)
}
