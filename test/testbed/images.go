package testbed

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
)

// Image is an image of the registry.
type Image struct {
	Name string `json:"name"`
	What string `json:"what"`

	image v1.Image
}

const proxyPackage = "github.com/basecamp/kamal-proxy/cmd/kamal-proxy"

var proxyImages = []Image{
	{Name: "basecamp/kamal-proxy:v0.9.2", What: "kamal-proxy"},
	{Name: "basecamp/kamal-proxy:v0.9.3", What: "the same program, with another label: something to upgrade to"},
}

// appImage is a variant of the web app of directory app.
type appImage struct {
	name, what string
	behavior   string // APP_BEHAVIOR
	change     func(*v1.ConfigFile)
}

var appImages = []appImage{
	{name: "app:v1", what: "good"},
	{name: "app:v2", what: "good"},
	{name: "app:v3", what: "good"},
	{name: "app:unhealthy", what: "/up always answers 503", behavior: "unhealthy"},
	{name: "app:crash", what: "exits 3 at start with a message on stderr", behavior: "crash"},
	{name: "app:slow", what: "listens after 8 s", behavior: "slow"},
	{name: "app:redirect", what: "/up answers 301 to https", behavior: "redirect"},
	{name: "app:blocked", what: "/up answers 403 unless the Host is app.example.com", behavior: "blocked"},
	{name: "app:nocmd", what: "has no command", change: func(c *v1.ConfigFile) { c.Config.Cmd = nil }},
	{name: "app:arm64", what: "is for linux/arm64", change: func(c *v1.ConfigFile) { c.Architecture = "arm64" }},
	{name: "app:withhealth", what: "good, with a Docker health check", change: func(c *v1.ConfigFile) {
		c.Config.Healthcheck = &v1.HealthConfig{
			Test: []string{"CMD", "app", "healthcheck"}, Interval: time.Second, Timeout: 2 * time.Second, Retries: 3,
		}
	}},
	{name: "team/other:v1", what: "good, in another repository"},
}

// Images lists what the registry holds, without building anything.
func Images() []Image {
	images := slices.Clone(proxyImages)
	for _, app := range appImages {
		images = append(images, Image{Name: app.name, What: app.what})
	}
	images = append(images, serviceImages...)
	return append(images, shopImages...)
}

// hashSources names the sources of all images.
func hashSources(ctx context.Context, root string) (string, error) {
	services, err := machineImage(ctx, servicesMachine)
	if err != nil {
		return "", err
	}
	parts := []string{runtime.Version(), services}
	for _, pattern := range []string{
		"test/testbed/images.go", "test/testbed/keep.go", "test/testbed/layer.go", "test/testbed/app/*.go", "tools/kamal-proxy/go.mod", "tools/kamal-proxy/go.sum",
		"test/testbed/services.go", "test/testbed/recipe/*-entrypoint.sh",
		"test/testbed/shop.go", "test/testbed/shop/*.go", "test/testbed/shop/go.mod", "test/testbed/shop/go.sum",
	} {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			return "", err
		}
		for _, file := range files {
			content, err := os.ReadFile(file)
			if err != nil {
				return "", err
			}
			parts = append(parts, filepath.Base(file), string(content))
		}
	}
	return hash(parts...), nil
}

// buildImages makes all images: most of a static program and a few files, those
// of Postgres and Redis of a machine image's layers.
func buildImages(ctx context.Context, root string) ([]Image, error) {
	built := map[string]v1.Image{}
	for _, build := range []func(context.Context, string) (map[string]v1.Image, error){
		buildProxies, buildApps, buildServices, buildShops,
	} {
		some, err := build(ctx, root)
		if err != nil {
			return nil, err
		}
		maps.Copy(built, some)
	}
	images := append(Images(), keepers...)
	for i := range images {
		images[i].image = built[images[i].Name]
	}
	return images, nil
}

func buildProxies(ctx context.Context, root string) (map[string]v1.Image, error) {
	proxy, err := goBuild(ctx, filepath.Join(root, "tools", "kamal-proxy"), proxyPackage)
	if err != nil {
		return nil, err
	}
	base, err := newLayer(append(account("kamal-proxy"),
		file{name: "usr/local/bin/kamal-proxy", mode: 0o755, content: proxy},
		file{name: "home/kamal-proxy/.config/", mode: 0o755, owner: 1000},
		// A new volume takes this directory's owner.
		file{name: "home/kamal-proxy/.config/kamal-proxy/", mode: 0o755, owner: 1000},
	))
	if err != nil {
		return nil, err
	}
	images := map[string]v1.Image{}
	if images["testbed/keep:proxy"], err = newKeeper(base); err != nil {
		return nil, err
	}
	for _, i := range proxyImages {
		_, tag, _ := strings.Cut(i.Name, ":")
		if images[i.Name], err = newImage(proxyConfig(tag), base); err != nil {
			return nil, fmt.Errorf("image %s: %w", i.Name, err)
		}
	}
	return images, nil
}

func buildApps(ctx context.Context, root string) (map[string]v1.Image, error) {
	program, err := goBuild(ctx, root, "./test/testbed/app")
	if err != nil {
		return nil, err
	}
	base, err := newLayer(append(account("app"), file{name: "bin/app", mode: 0o755, content: program}))
	if err != nil {
		return nil, err
	}
	images := map[string]v1.Image{}
	if images["testbed/keep:app"], err = newKeeper(base); err != nil {
		return nil, err
	}
	for _, app := range appImages {
		_, tag, _ := strings.Cut(app.name, ":")
		if images[app.name], err = newAppImage(base, app, tag); err != nil {
			return nil, fmt.Errorf("image %s: %w", app.name, err)
		}
	}
	return images, nil
}

// proxyConfig is that of the official image, but for PATH's length.
func proxyConfig(version string) *v1.ConfigFile {
	return &v1.ConfigFile{
		Architecture: "amd64", OS: "linux",
		Config: v1.Config{
			Env:          []string{"PATH=/usr/local/bin", "HOME=/home/kamal-proxy"},
			Cmd:          []string{"kamal-proxy", "run"},
			User:         "kamal-proxy:kamal-proxy",
			ExposedPorts: map[string]struct{}{"80/tcp": {}, "443/tcp": {}},
			Labels: map[string]string{
				"org.opencontainers.image.title":   "kamal-proxy",
				"org.opencontainers.image.version": version,
			},
		},
	}
}

func newAppImage(base v1.Layer, app appImage, version string) (v1.Image, error) {
	// Every version has an asset of its own name, and one that all have.
	assets, err := newLayer([]file{
		{name: "public/assets/application-" + version + ".css", mode: 0o644, content: []byte("/* " + version + " */\n")},
		{name: "public/assets/common.css", mode: 0o644, content: []byte("/* common, of " + version + " */\n")},
	})
	if err != nil {
		return nil, err
	}
	config := &v1.ConfigFile{
		Architecture: "amd64", OS: "linux",
		Config: v1.Config{
			Env:          []string{"PATH=/bin", "HOME=/home/app", "APP_VERSION=" + version},
			Cmd:          []string{"app", "server"},
			User:         "app:app",
			ExposedPorts: map[string]struct{}{"3000/tcp": {}},
		},
	}
	if app.behavior != "" {
		config.Config.Env = append(config.Config.Env, "APP_BEHAVIOR="+app.behavior)
	}
	if app.change != nil {
		app.change(config)
	}
	return newImage(config, base, assets)
}

func newImage(config *v1.ConfigFile, layers ...v1.Layer) (v1.Image, error) {
	config.RootFS.Type = "layers"
	image, err := mutate.ConfigFile(empty.Image, config)
	if err != nil {
		return nil, err
	}
	return mutate.AppendLayers(image, layers...)
}

// goBuild builds a static linux/amd64 program and returns its bytes.
func goBuild(ctx context.Context, dir, pkg string) ([]byte, error) {
	temporary, err := os.MkdirTemp("", "testbed-build-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(temporary)
	out := filepath.Join(temporary, "program")
	_, err = run(ctx, nil, "env", "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64",
		"go", "-C", dir, "build", "-trimpath", "-ldflags=-s -w", "-o", out, pkg)
	if err != nil {
		return nil, err
	}
	return os.ReadFile(out)
}
