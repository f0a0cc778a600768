package provider

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/resource"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

// base is what every resource embeds.
type base struct{ deps *deps }

// Configure keeps the provider's deps. While validating there are none.
func (b *base) Configure(_ context.Context, req resource.ConfigureRequest, resp *resource.ConfigureResponse) {
	if req.ProviderData == nil {
		return
	}
	d, ok := req.ProviderData.(*deps)
	if !ok {
		resp.Diagnostics.AddError("Unexpected provider data", fmt.Sprintf("got %T: this is a bug in the provider", req.ProviderData))
		return
	}
	b.deps = d
}

// An observation is what asking one server gave: a snapshot or an error.
type observation struct {
	snapshot *fleet.Snapshot
	err      error
}

// observe asks servers at once, each in one call that all resources share.
func (d *deps) observe(ctx context.Context, servers []string) map[string]observation {
	out := make(map[string]observation, len(servers))
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, name := range servers {
		wg.Go(func() {
			snap, err := d.fleet.Server(name).Snapshot(ctx)
			mu.Lock()
			defer mu.Unlock()
			out[name] = observation{snap, err}
		})
	}
	wg.Wait()
	return out
}

// privateReader and privateWriter are what the framework's private state can do.
type privateReader interface {
	GetKey(ctx context.Context, key string) ([]byte, diag.Diagnostics)
}

type privateWriter interface {
	SetKey(ctx context.Context, key string, value []byte) diag.Diagnostics
}

// hostKeysKey is the private state's key for the host keys of the resource's servers.
const hostKeysKey = "host_keys"

// loadPins takes the host keys that the resource saw before from its private
// state: under "accept-new" they are the ones to expect.
func (d *deps) loadPins(ctx context.Context, private privateReader) diag.Diagnostics {
	b, diags := private.GetKey(ctx, hostKeysKey)
	if len(b) == 0 {
		return diags
	}
	var keys map[string]string
	if err := json.Unmarshal(b, &keys); err != nil {
		diags.AddError("Damaged private state", "The host keys in the resource's private state are not readable: "+err.Error())
		return diags
	}
	for server, key := range keys {
		d.pin(server, key)
	}
	return diags
}

// savePins keeps the host keys that the servers showed in the resource's private state.
func (d *deps) savePins(ctx context.Context, private privateWriter, servers []string) diag.Diagnostics {
	keys := map[string]string{}
	for _, s := range servers {
		d.mu.Lock()
		pinned := d.pins[s]
		d.mu.Unlock()
		if key := d.fleet.Server(s).HostKey(); key != "" {
			keys[s] = key
		} else if pinned != "" {
			keys[s] = pinned
		}
	}
	if len(keys) == 0 {
		return nil
	}
	b, err := json.Marshal(keys)
	if err != nil {
		panic(fmt.Sprintf("a map of strings always marshals: %v", err))
	}
	return private.SetKey(ctx, hostKeysKey, b)
}

// quote and unquote are bytes as JSON, which private state wants.
func quote(b []byte) []byte {
	q, err := json.Marshal(b)
	if err != nil {
		panic(fmt.Sprintf("bytes always marshal: %v", err))
	}
	return q
}

func unquote(q []byte) (b []byte, err error) {
	if len(q) > 0 {
		err = json.Unmarshal(q, &b)
	}
	return b, err
}

// importedID is the identity to import, from an id that parse reads or the
// identity itself; form says what an id looks like.
func importedID[T any](ctx context.Context, req resource.ImportStateRequest, parse func(string) (T, error), form string, diags *diag.Diagnostics) (id T) {
	if req.ID == "" {
		diags.Append(req.Identity.Get(ctx, &id)...)
		return id
	}
	id, err := parse(req.ID)
	if err != nil {
		diags.AddError("Invalid import id", err.Error()+".\n"+form)
	}
	return id
}

// cutImportID splits NAME@SERVER[,SERVER…], and checks the servers. One may
// have a user before its address (root@10.0.0.1), a name never holds an @.
func cutImportID(id string) (name string, servers []string, err error) {
	name, list, ok := strings.Cut(id, "@")
	if !ok || name == "" || list == "" {
		return "", nil, fmt.Errorf("the import id %q is not of the form NAME@SERVER[,SERVER…]", id)
	}
	for s := range strings.SplitSeq(list, ",") {
		if s = strings.TrimSpace(s); s != "" {
			if _, err := sshexec.ParseDestination(s); err != nil {
				return "", nil, fmt.Errorf("server %q: %w", s, err)
			}
			servers = append(servers, s)
		}
	}
	return name, servers, nil
}
