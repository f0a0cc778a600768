package docker

import "strings"

// ClientPrelude makes docker's client one that nobody has configured, in every
// script: what the SSH user has in config.json and in the environment (PAM reads
// /etc/environment for SSH and for sudo) would go into containers (proxies, the
// platform), turn to another daemon (contexts, DOCKER_HOST), or change what
// programs print and take (POSIXLY_CORRECT). The daemon is the server's own, at
// its usual socket: the one that kamal_server sets up, with root's packet filter.
//
// KAMAL_DOCKER_HOST is what was set in its place, KAMAL_DOCKER_CONFIG where the
// user's log-ins are: a pull without a log-in of the provider's uses them.
const ClientPrelude = `
KAMAL_DOCKER_HOST=${DOCKER_HOST:-${DOCKER_CONTEXT:-}} KAMAL_DOCKER_CONFIG=${DOCKER_CONFIG:-$HOME/.docker}
unset POSIXLY_CORRECT DOCKER_HOST DOCKER_CONTEXT DOCKER_TLS DOCKER_TLS_VERIFY DOCKER_CERT_PATH DOCKER_API_VERSION \
  DOCKER_DEFAULT_PLATFORM DOCKER_CONTENT_TRUST DOCKER_CONTENT_TRUST_SERVER DOCKER_CUSTOM_HEADERS DOCKER_AUTH_CONFIG DOCKER_HIDE_LEGACY_COMMANDS
export DOCKER_CONFIG="$HOME/.kamal/no-docker-config"
`

// ClientVariable stands for the value of a variable that a client's
// configuration gave a container: it may hold a password.
const ClientVariable = "(of a docker client's configuration)"

// IsClientVariable says that docker's client gives containers a variable of this
// name where "proxies" in its config.json says so.
func IsClientVariable(name string) bool {
	switch strings.ToUpper(name) {
	case "HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "ALL_PROXY", "NO_PROXY":
		return true
	}
	return false
}
