package provider

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-framework/types/basetypes"
	"github.com/hashicorp/terraform-plugin-log/tflog"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/firewall"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

// deps is what every resource gets from the provider's configuration.
type deps struct {
	fleet *fleet.Fleet
	// unknown says that a part of the configuration is not known yet (it comes
	// from a resource that this run makes): then nothing can be dialled.
	unknown bool

	mu   sync.Mutex
	pins map[string]string
	boot map[string]time.Duration
	// firewalls is what this run plans for the firewalls, by server.
	firewalls map[string]firewall.Spec
}

func newDeps(ctx context.Context, m providerModel, unknown bool, diags *diag.Diagnostics) *deps {
	d := &deps{unknown: unknown, pins: map[string]string{}, boot: map[string]time.Duration{}, firewalls: map[string]firewall.Spec{}}
	var base sshModel
	diags.Append(decode(ctx, m.SSH, &base)...)
	overrides := map[string]sshModel{}
	for server, v := range m.ServerOverrides.Elements() {
		if v.IsNull() {
			continue // not set
		}
		var over sshModel
		diags.Append(decode(ctx, v, &over)...)
		overrides[server] = over
	}
	var pool *sshexec.Pool
	pool = sshexec.NewPool(func(server string) (sshexec.Options, error) {
		o := base.options(true)
		if over, ok := overrides[server]; ok {
			o = merge(o, over.options(false))
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		if o.HostKeyPolicy == "accept-new" && o.HostKey == "" {
			o.AcceptedKey = d.pins[server]
		}
		o.BootTimeout = max(o.BootTimeout, d.boot[server])
		pool.AddSecret(o.Passphrase, o.SudoPassword, o.PrivateKey)
		if o.Bastion != nil {
			pool.AddSecret(o.Bastion.Options.Passphrase, o.Bastion.Options.PrivateKey)
		}
		return o, nil
	}, logger{})
	d.fleet = fleet.New(pool)
	d.fleet.KeepUnreachable = m.OnUnreachable.ValueString() == "keep"
	d.fleet.Logins = docker.Logins{}
	for host, v := range m.Registries.Elements() {
		if v.IsNull() {
			continue // not set
		}
		var r registryModel
		diags.Append(decode(ctx, v, &r)...)
		if r.Password.ValueString() == "" && !r.Password.IsUnknown() {
			diags.AddAttributeError(path.Root("registries").AtMapKey(host).AtName("password"),
				"Empty registry password", fmt.Sprintf("The password for the registry %s is empty. Leave the registry out if it needs no log-in.", host))
		}
		d.fleet.Logins[host] = docker.Login{Username: r.Username.ValueString(), Password: r.Password.ValueString()}
		d.fleet.AddSecret(r.Password.ValueString())
	}
	return d
}

// pin makes key the one host key of a server, under host_key_policy
// "accept-new" and unless a known_hosts file names the server.
func (d *deps) pin(server, key string) {
	if key == "" {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.pins[server] = key
}

// waitForBoot makes the first connection to a server wait for it to boot.
func (d *deps) waitForBoot(server string, bound time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.boot[server] = max(d.boot[server], bound)
}

// options are the SSH options of a model; the environment fills the gaps only of the provider's own block.
func (m sshModel) options(env bool) sshexec.Options {
	getenv := func(v types.String, name string) string {
		if v.IsNull() && env {
			return os.Getenv(name)
		}
		return v.ValueString()
	}
	o := sshexec.Options{
		User:           getenv(m.User, "KAMAL_SSH_USER"),
		Port:           int(m.Port.ValueInt64()),
		PrivateKey:     getenv(m.PrivateKey, "KAMAL_SSH_PRIVATE_KEY"),
		PrivateKeyFile: getenv(m.PrivateKeyFile, "KAMAL_SSH_PRIVATE_KEY_FILE"),
		Passphrase:     getenv(m.Passphrase, "KAMAL_SSH_PASSPHRASE"),
		Certificate:    m.Certificate.ValueString(),
		Agent:          m.Agent.ValueBool(),
		KnownHosts:     getenv(m.KnownHosts, "KAMAL_SSH_KNOWN_HOSTS"),
		HostKey:        m.HostKey.ValueString(),
		HostKeyPolicy:  getenv(m.HostKeyPolicy, "KAMAL_SSH_HOST_KEY_POLICY"),
		Config:         m.Config.ValueString(),
		SudoPassword:   getenv(m.SudoPassword, "KAMAL_SSH_SUDO_PASSWORD"),
		ConnectTimeout: duration(m.ConnectTimeout),
		BootTimeout:    duration(m.BootTimeout),
	}
	if b := m.Bastion; b != nil {
		o.Bastion = &sshexec.Bastion{Destination: b.Server.ValueString(), Options: sshexec.Options{
			PrivateKey: b.PrivateKey.ValueString(), PrivateKeyFile: b.PrivateKeyFile.ValueString(),
			Passphrase: b.Passphrase.ValueString(), Certificate: b.Certificate.ValueString(), Agent: b.Agent.ValueBool(),
			KnownHosts: b.KnownHosts.ValueString(), HostKey: b.HostKey.ValueString(), HostKeyPolicy: b.HostKeyPolicy.ValueString(),
		}}
	}
	return o
}

// merge lays what an override sets over the options of all servers. A key in
// any form replaces the whole of the key, or a key file would meet the
// passphrase of another.
func merge(o, over sshexec.Options) sshexec.Options {
	if over.PrivateKey != "" || over.PrivateKeyFile != "" {
		o.PrivateKey, o.PrivateKeyFile = over.PrivateKey, over.PrivateKeyFile
		o.Passphrase, o.Certificate = over.Passphrase, over.Certificate
	}
	o.User = cmp.Or(over.User, o.User)
	o.Port = cmp.Or(over.Port, o.Port)
	o.Passphrase = cmp.Or(over.Passphrase, o.Passphrase)
	o.Certificate = cmp.Or(over.Certificate, o.Certificate)
	o.Agent = over.Agent || o.Agent
	o.KnownHosts = cmp.Or(over.KnownHosts, o.KnownHosts)
	o.HostKey = cmp.Or(over.HostKey, o.HostKey)
	o.HostKeyPolicy = cmp.Or(over.HostKeyPolicy, o.HostKeyPolicy)
	o.Config = cmp.Or(over.Config, o.Config)
	o.SudoPassword = cmp.Or(over.SudoPassword, o.SudoPassword)
	o.ConnectTimeout = cmp.Or(over.ConnectTimeout, o.ConnectTimeout)
	o.BootTimeout = cmp.Or(over.BootTimeout, o.BootTimeout)
	if over.Bastion != nil {
		o.Bastion = over.Bastion
	}
	return o
}

// decode reads an object in which anything may be unknown, and so may the
// whole: what is not known is left at zero.
func decode(ctx context.Context, v attr.Value, into any) diag.Diagnostics {
	o, ok := v.(types.Object)
	if !ok || o.IsNull() || o.IsUnknown() {
		return nil
	}
	return o.As(ctx, into, basetypes.ObjectAsOptions{UnhandledUnknownAsEmpty: true})
}

// logger passes the transport's log lines, redacted there, to the provider's log.
type logger struct{}

func (logger) Debug(ctx context.Context, msg string, fields map[string]any) {
	tflog.Debug(ctx, msg, fields)
}
