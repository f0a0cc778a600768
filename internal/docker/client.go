package docker

import (
	"net/url"
	"slices"
	"strings"
)

// ClientEnvironment comes before every script on a server. It keeps from our
// commands what the one who logs in has set up for their own: docker's client
// configuration (proxies, which go into every container, a context, formats)
// and the variables that docker's client, or a script's tools, act upon. A
// client whose DOCKER_CONFIG does not exist has no configuration, and under
// /proc nobody can make one.
//
// What registries may want is put aside, for pull alone. elsewhere prints where
// the one who logs in goes with docker, if that isn't the server's own daemon,
// and what says so.
const ClientEnvironment = `
_kamal_config=${DOCKER_CONFIG:-$HOME/.docker} _kamal_host=${DOCKER_HOST-} _kamal_context=${DOCKER_CONTEXT-}
_kamal_auth=${DOCKER_AUTH_CONFIG-} _kamal_trust=${DOCKER_CONTENT_TRUST-} _kamal_notary=${DOCKER_CONTENT_TRUST_SERVER-}
set -f; IFS='
'
for _kamal_v in $(export -p); do
  case $_kamal_v in 'export DOCKER_'*) _kamal_v=${_kamal_v#export } _kamal_v=${_kamal_v%%=*};; *) continue;; esac
  case $_kamal_v in *[!A-Za-z0-9_]*) ;; *) unset "$_kamal_v";; esac
done
set +f; unset IFS POSIXLY_CORRECT CDPATH TAR_OPTIONS GREP_OPTIONS
[ -z "${BASH_VERSION-}" ] || set -o posix # which bash as sh ends with POSIXLY_CORRECT
export DOCKER_CONFIG=/proc/no-docker-config
elsewhere() {
  by=DOCKER_HOST h=$_kamal_host c=$_kamal_context
  if [ -z "$h" ]; then
    by=DOCKER_CONTEXT
    if [ -z "$c" ] && [ -r "$_kamal_config/config.json" ]; then
      by=$_kamal_config/config.json
      c=$(sed -n 's/.*"currentContext"[[:space:]]*:[[:space:]]*"\([^"]*\)".*/\1/p' "$_kamal_config/config.json")
    fi
    case $c in ''|default) return;; esac
    by="context $c in $by"
    h=$(DOCKER_CONFIG=$_kamal_config docker context inspect --format '{{.Endpoints.docker.Host}}' "$c" 2>/dev/null)
  fi
  case $h in ''|unix:///var/run/docker.sock|unix:///run/docker.sock) ;; *) printf '%s (%s)' "$h" "$by";; esac
}
`

// ProxyVariables are what docker's client puts into a container for the
// `proxies` of its configuration, beside the same in small letters.
var ProxyVariables = []string{"ALL_PROXY", "FTP_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"}

// IsProxyVariable says that a variable is one that docker's client may have set.
func IsProxyVariable(name string) bool { return slices.Contains(ProxyVariables, strings.ToUpper(name)) }

// PasswordNotShown stands in the place of a proxy's password.
const PasswordNotShown = "(password-not-shown)"

// HidePassword is the URL of a proxy without its password.
func HidePassword(proxy string) string {
	u, err := url.Parse(proxy)
	if err != nil || u.Host == "" {
		// Docker takes any text. What is before the address may be a password.
		if at := strings.LastIndex(proxy, "@"); at >= 0 {
			return PasswordNotShown + proxy[at:]
		}
		return proxy
	}
	_, has := u.User.Password()
	if !has {
		return proxy
	}
	scheme, rest, _ := strings.Cut(proxy, "://")
	return scheme + "://" + u.User.Username() + ":" + PasswordNotShown + rest[strings.LastIndex(rest, "@"):]
}
