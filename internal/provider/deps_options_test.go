package provider

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

// Each attribute of the ssh object reaches the transport, under its own name.
func TestSSHAttributesReachTheTransport(t *testing.T) {
	// Not parallel: it sets the environment.
	text := types.StringValue
	full := sshModel{
		User: text("deploy"), Port: types.Int64Value(2222), PrivateKey: text("key"), PrivateKeyFile: text("file"), Passphrase: text("open"),
		Certificate: text("cert"), Agent: types.BoolValue(true), KnownHosts: text("known"), HostKey: text("ssh-ed25519 A"), HostKeyPolicy: text("accept-new"),
		Config: text("~/.ssh/config"), SudoPassword: text("sudo"), ConnectTimeout: text("3s"), BootTimeout: text("1m"),
		Bastion: &bastionModel{Server: text("deploy@10.0.0.1"), PrivateKey: text("bkey"), PrivateKeyFile: text("bfile"), Passphrase: text("bopen"),
			Certificate: text("bcert"), Agent: types.BoolValue(true), KnownHosts: text("bknown"), HostKey: text("ssh-ed25519 B"), HostKeyPolicy: text("strict")},
	}
	want := sshexec.Options{
		User: "deploy", Port: 2222, PrivateKey: "key", PrivateKeyFile: "file", Passphrase: "open", Certificate: "cert", Agent: true,
		KnownHosts: "known", HostKey: "ssh-ed25519 A", HostKeyPolicy: "accept-new", Config: "~/.ssh/config", SudoPassword: "sudo",
		ConnectTimeout: 3 * time.Second, BootTimeout: time.Minute,
		Bastion: &sshexec.Bastion{Destination: "deploy@10.0.0.1", Options: sshexec.Options{PrivateKey: "bkey", PrivateKeyFile: "bfile", Passphrase: "bopen",
			Certificate: "bcert", Agent: true, KnownHosts: "bknown", HostKey: "ssh-ed25519 B", HostKeyPolicy: "strict"}},
	}
	fromEnvironment := sshexec.Options{User: "u", PrivateKey: "k", PrivateKeyFile: "f", Passphrase: "p", KnownHosts: "h", HostKeyPolicy: "strict", SudoPassword: "s"}
	for name, value := range map[string]string{"USER": "u", "PRIVATE_KEY": "k", "PRIVATE_KEY_FILE": "f", "PASSPHRASE": "p", "KNOWN_HOSTS": "h", "HOST_KEY_POLICY": "strict", "SUDO_PASSWORD": "s"} {
		t.Setenv("KAMAL_SSH_"+name, value)
	}
	if d := cmp.Diff(want, full.options(true)); d != "" {
		t.Errorf("all attributes: %s", d)
	}
	if d := cmp.Diff(fromEnvironment, sshModel{}.options(true)); d != "" {
		t.Errorf("the environment: %s", d)
	}
	if d := cmp.Diff(sshexec.Options{}, sshModel{}.options(false)); d != "" {
		t.Errorf("an override takes nothing from the environment: %s", d)
	}
}
