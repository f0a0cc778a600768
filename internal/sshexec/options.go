package sshexec

import "time"

// Host key policies.
const (
	// PolicyStrict accepts only host keys that are known. It is the default.
	PolicyStrict = "strict"
	// PolicyAcceptNew accepts a key where none is known for the host at all,
	// and remembers it for the life of the process.
	PolicyAcceptNew = "accept-new"
)

const (
	defaultUser           = "root"
	defaultPort           = 22
	defaultConnectTimeout = 15 * time.Second
)

// Options say how to reach and log in to one server. Zero values mean "not
// given".
type Options struct {
	// User (default root) and Port (default 22) apply where the destination
	// has none.
	User string
	Port int

	// PrivateKey is the content of a private key, PrivateKeyFile the path of
	// one (`~` is the home directory). Passphrase opens them.
	PrivateKey, PrivateKeyFile, Passphrase string
	// Certificate is the content or the path of an OpenSSH user certificate
	// for the private key.
	Certificate string
	// Agent offers the keys of the agent at SSH_AUTH_SOCK.
	Agent bool

	// KnownHosts is one or more paths of known_hosts files, separated as in
	// PATH, or the content of one (told apart by a space or a newline). Empty
	// means ~/.ssh/known_hosts and /etc/ssh/ssh_known_hosts.
	KnownHosts string
	// HostKey pins the server's key: "ssh-ed25519 AAAA…" or "SHA256:…". Where
	// it is given, nothing else counts.
	HostKey string
	// HostKeyPolicy is PolicyStrict or PolicyAcceptNew.
	HostKeyPolicy string
	// AcceptedKey is the key that an earlier process took under
	// PolicyAcceptNew, as Client.HostKey told it: where no known_hosts names
	// the server, only this one counts.
	AcceptedKey string

	// Bastion is a server to connect through. Its Options may have a Bastion.
	Bastion *Bastion
	// Config is the path of an SSH client configuration to honour (HostName,
	// User, Port, IdentityFile, ProxyJump, UserKnownHostsFile). What is given
	// here goes before what it says.
	Config string

	// SudoPassword is given to sudo where the user is not root and sudo asks.
	SudoPassword string

	// ConnectTimeout bounds one attempt to connect and log in (default 15s).
	ConnectTimeout time.Duration
	// BootTimeout is how long a server that does not answer, or does not yet
	// accept the log-in, is tried again. Zero means one attempt.
	BootTimeout time.Duration
}

// A Bastion is a server to connect through, with options of its own.
type Bastion struct {
	Destination string
	Options     Options
}

func (o Options) connectTimeout() time.Duration {
	if o.ConnectTimeout > 0 {
		return o.ConnectTimeout
	}
	return defaultConnectTimeout
}
