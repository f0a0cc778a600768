package docker

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/distribution/reference"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

// A Login is what a registry wants to hear.
type Login struct{ Username, Password string }

// Logins are by registry host, as in "registry.example.com:5000". Docker Hub is "docker.io".
type Logins map[string]Login

// Registry is the host that an image reference is pulled from: "docker.io" where it names none.
func Registry(ref string) (string, error) {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return "", err
	}
	return reference.Domain(named), nil
}

// ConfigJSON is the content of a docker config file with the log-in for the
// registry of an image, or "" where there is none. It is as good as `docker
// login` and leaves nothing behind when written to a throw-away DOCKER_CONFIG.
func (l Logins) ConfigJSON(ref string) (string, error) {
	host, err := Registry(ref)
	if err != nil {
		return "", err
	}
	login, ok := l[host]
	if !ok {
		return "", nil
	}
	if host == "docker.io" {
		host = "https://index.docker.io/v1/"
	}
	auth := base64.StdEncoding.EncodeToString([]byte(login.Username + ":" + login.Password))
	b, err := json.Marshal(map[string]any{"auths": map[string]any{host: map[string]string{"auth": auth}}})
	return string(b), err
}

// PullPrelude defines the shell function pull, which pulls the image $1 with
// the docker config in $2. The config lives in memory for the length of the
// pull, readable by its owner only. Where $2 is empty, the log-ins and the
// credential helpers of the one who logs in on the server count, but not where
// their docker goes. It needs ClientEnvironment.
const PullPrelude = `
pull() {
  if [ -n "$2" ]; then
    DOCKER_CONFIG=$(umask 077; mktemp -d /dev/shm/docker-config.XXXXXX 2>/dev/null || mktemp -d) || return 1
    export DOCKER_CONFIG; trap 'rm -rf "$DOCKER_CONFIG"' EXIT; trap 'exit 143' TERM HUP INT
    (umask 077; printf '%s' "$2" > "$DOCKER_CONFIG/config.json") || return 1
  else
    DOCKER_CONFIG=$_kamal_config
    [ -z "$_kamal_auth" ] || export DOCKER_AUTH_CONFIG="$_kamal_auth"
  fi
  [ -z "$_kamal_trust" ] || export DOCKER_CONTENT_TRUST="$_kamal_trust"
  [ -z "$_kamal_notary" ] || export DOCKER_CONTENT_TRUST_SERVER="$_kamal_notary"
  export DOCKER_CONTEXT=default
  docker pull -q "$1"
}
`

// Ref is a parsed image reference.
type Ref struct {
	// Repository is the name as written, without tag and digest.
	Repository string
	Tag        string
	// Digest is "sha256:…" or "".
	Digest string
}

// ParseRef parses an image reference as docker does. Neither tag nor digest means tag "latest".
func ParseRef(s string) (Ref, error) {
	named, err := reference.ParseNormalizedNamed(s)
	if err != nil {
		return Ref{}, err
	}
	r := Ref{}
	rest := s
	if d, ok := named.(reference.Digested); ok {
		r.Digest = d.Digest().String()
		rest, _, _ = strings.Cut(rest, "@")
	}
	if t, ok := named.(reference.Tagged); ok {
		r.Tag = t.Tag()
		rest = strings.TrimSuffix(rest, ":"+r.Tag)
	}
	if r.Tag == "" && r.Digest == "" {
		r.Tag = "latest"
	}
	r.Repository = rest
	return r, nil
}

// FamiliarRepository is the repository as docker prints it in RepoTags and
// RepoDigests: "docker.io/library/nginx" is "nginx".
func (r Ref) FamiliarRepository() string {
	named, err := reference.ParseNormalizedNamed(r.Repository)
	if err != nil {
		return r.Repository
	}
	return reference.FamiliarName(named)
}

// PullAdvice says what to do when an image can't be pulled. Docker tells the
// reason in words only; where none is recognised, its words have to do.
func PullAdvice(ref, server string, logins Logins, err error) string {
	var step *sshexec.StepError
	if !errors.As(err, &step) {
		return ""
	}
	host, _ := Registry(ref)
	_, login := logins[host]
	text := strings.ToLower(string(step.Stderr))
	has := func(words ...string) bool {
		return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(text, w) })
	}
	switch {
	case has("manifest unknown", "not found: manifest", "manifest for"),
		has("failed to resolve reference") && has(": not found"): // the words of containerd's image store
		return "push " + ref + " first, or mend the tag: the registry " + host + " answers, but has no such image."
	case has("unauthorized", "denied", "no basic auth", "authentication required", "incorrect username", "forbidden",
		// Docker 29 passes on a registry's message alone, without code and status. This one is that of Amazon's.
		"authorization token"):
		if login {
			return "check the username and the password of registries[\"" + host + "\"] in the provider's configuration: the registry refuses them."
		}
		return "give the log-in for " + host + " in the provider's registries: the registry wants one."
	case has("no such host", "connection refused", "i/o timeout", "no route"):
		return "check that " + server + " reaches the registry " + host + "."
	case has("no space left"):
		return "free disk space on " + server + " (docker system df shows what takes it)."
	}
	return "try it on the server: docker pull " + ref
}
