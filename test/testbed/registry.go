package testbed

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"golang.org/x/crypto/bcrypt"
)

// Registry is an image registry with TLS and log-in. It is reached by IP
// address, so that servers and host call it by the same name without any DNS.
type Registry struct {
	Address  string `json:"address"` // IP:5000
	Username string `json:"username"`
	Password string `json:"password"`
	CAFile   string `json:"ca_file"` // every server has it in /etc/docker/certs.d
}

const registryUser = "kamal"

// Image is the full reference of an image of the bed's registry: Image("app:v1").
func (b *Bed) Image(name string) string { return b.Registry.Address + "/" + name }

// ensureRegistry starts the registry and fills it.
func (b *Bed) ensureRegistry(ctx context.Context) error {
	dir := filepath.Join(b.Dir, "registry")
	ip := b.address(registryHost)
	b.Registry = Registry{
		Address:  ip + ":5000",
		Username: registryUser,
		CAFile:   filepath.Join(dir, "ca.crt"),
	}
	if err := b.ensureRegistryFiles(dir, ip); err != nil {
		return err
	}

	container := b.object("registry")
	state, err := docker(ctx, "ps", "--all", "--filter", "name=^/"+container+"$", "--format", "{{.State}} {{.Image}}")
	if err != nil {
		return err
	}
	image, err := machineImage(ctx, registryMachine)
	if err != nil {
		return err
	}
	if state != "" && !strings.HasSuffix(state, " "+image) {
		b.logf("the registry was made by another recipe: making it anew")
		if _, err := docker(ctx, "rm", "--force", "--volumes", container); err != nil {
			return err
		}
		state = ""
	}
	switch {
	case state == "":
		_, err = docker(ctx, "run", "--detach", "--name", container, "--hostname", "registry",
			"--label", labelBed+"="+b.Name, "--network", "testbed."+b.Name, "--ip", ip,
			"--volume", dir+":/etc/testbed:ro", "--volume", "/var/lib/registry", image)
	case !strings.HasPrefix(state, "running "):
		_, err = docker(ctx, "start", container)
	}
	if err != nil {
		return err
	}
	return b.fillRegistry(ctx)
}

func (b *Bed) ensureRegistryFiles(dir, ip string) error {
	passwordFile := filepath.Join(dir, "password")
	password, err := os.ReadFile(passwordFile)
	if err == nil {
		b.Registry.Password = string(password)
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	secret := make([]byte, 12)
	rand.Read(secret)
	b.Registry.Password = hex.EncodeToString(secret)
	hashed, err := bcrypt.GenerateFromPassword([]byte(b.Registry.Password), bcrypt.MinCost)
	if err != nil {
		return err
	}
	files, err := newTLS(ip)
	if err != nil {
		return err
	}
	for _, f := range []struct {
		name    string
		content []byte
	}{
		{"ca.crt", files.ca}, {"tls.crt", files.certificate}, {"tls.key", files.key},
		{"htpasswd", []byte(b.Registry.Username + ":" + string(hashed) + "\n")},
		{"password", []byte(b.Registry.Password)}, // last: it says that all are there
	} {
		if err := writeFile(filepath.Join(dir, f.name), f.content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// fillRegistry pushes the images, unless they are there: a tag that is pushed
// after them names the sources that they were made of.
func (b *Bed) fillRegistry(ctx context.Context) error {
	ca, err := os.ReadFile(b.Registry.CAFile)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	client := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	defer client.CloseIdleConnections()
	if err := b.waitRegistry(ctx, client); err != nil {
		return err
	}

	root, err := moduleRoot(ctx)
	if err != nil {
		return err
	}
	sources, err := hashSources(ctx, root)
	if err != nil {
		return err
	}
	options := []remote.Option{
		remote.WithContext(ctx), remote.WithTransport(client),
		remote.WithAuth(authn.FromConfig(authn.AuthConfig{Username: b.Registry.Username, Password: b.Registry.Password})),
	}
	marker, err := name.ParseReference(b.Image("testbed/sources:" + sources))
	if err != nil {
		return err
	}
	_, err = remote.Head(marker, options...)
	var answer *transport.Error
	if err == nil {
		return nil
	} else if !errors.As(err, &answer) || answer.StatusCode != http.StatusNotFound {
		return err
	}

	b.logf("building and pushing images")
	images, err := buildImages(ctx, root)
	if err != nil {
		return err
	}
	todo := map[name.Reference]remote.Taggable{}
	for _, image := range images {
		reference, err := name.ParseReference(b.Image(image.Name))
		if err != nil {
			return err
		}
		todo[reference] = image.image
	}
	if err := remote.MultiWrite(todo, options...); err != nil {
		return err
	}
	return remote.Write(marker, images[0].image, options...)
}

func (b *Bed) waitRegistry(ctx context.Context, client http.RoundTripper) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 30*time.Second, errors.New("it did not answer within 30 s"))
	defer cancel()
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+b.Registry.Address+"/v2/", nil)
		if err != nil {
			return err
		}
		response, err := client.RoundTrip(request)
		if err == nil {
			response.Body.Close()
			if response.StatusCode == http.StatusUnauthorized { // it wants a log-in: it works
				return nil
			}
			err = fmt.Errorf("status %s", response.Status)
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
	}
}
