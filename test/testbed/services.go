package testbed

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// The images of Postgres and Redis hold Debian's programs and behave like the
// official images: same settings, users, volumes and signals.

//go:embed recipe/services.sh
var servicesRecipe string

//go:embed recipe/postgres-entrypoint.sh
var postgresEntrypoint []byte

//go:embed recipe/redis-entrypoint.sh
var redisEntrypoint []byte

// servicesMachine is the machine image in which their layers are kept.
const servicesMachine = "services"

// serviceUser is the id of postgres and of redis, each in its own image.
const serviceUser = 999

var serviceImages = []Image{
	{Name: "postgres:15.1", What: "PostgreSQL 15"},
	{Name: "postgres:15.2", What: "the same programs, with another label: something to upgrade to"},
	{Name: "postgres:broken", What: "exits 1 at start with a message on stderr, and leaves the data alone"},
	{Name: "redis:7", What: "Redis 7"},
}

func buildServices(ctx context.Context, _ string) (map[string]v1.Image, error) {
	layers, err := serviceLayers(ctx)
	if err != nil {
		return nil, err
	}
	postgres, err := newLayer(append(serviceFiles("postgres", "/var/lib/postgresql", postgresEntrypoint),
		file{name: "docker-entrypoint-initdb.d/", mode: 0o755},
		file{name: "var/lib/postgresql/", mode: 0o755, owner: serviceUser},
		// New volumes take this directory's owner and mode: these are the official image's.
		file{name: "var/lib/postgresql/data/", mode: 0o1777, owner: serviceUser},
		file{name: "var/run/postgresql/", mode: 0o3777, owner: serviceUser},
	))
	if err != nil {
		return nil, err
	}
	redis, err := newLayer(append(serviceFiles("redis", "/data", redisEntrypoint),
		file{name: "data/", mode: 0o755, owner: serviceUser}))
	if err != nil {
		return nil, err
	}

	images := map[string]v1.Image{}
	for _, service := range []string{"postgres", "redis"} {
		if images["testbed/keep:"+service], err = newKeeper(layers["base"], layers[service]); err != nil {
			return nil, err
		}
	}
	for _, i := range serviceImages {
		if repository, tag, _ := strings.Cut(i.Name, ":"); repository == "postgres" {
			images[i.Name], err = newImage(postgresConfig(tag), layers["base"], layers["postgres"], postgres)
		} else {
			images[i.Name], err = newImage(redisConfig(tag), layers["base"], layers["redis"], redis)
		}
		if err != nil {
			return nil, fmt.Errorf("image %s: %w", i.Name, err)
		}
	}
	return images, nil
}

// serviceFiles is what no package brings along.
func serviceFiles(user, home string, entrypoint []byte) []file {
	return []file{
		{name: "etc/passwd", mode: 0o644, content: fmt.Appendf(nil, "root:x:0:0::/root:/bin/sh\n%s:x:%d:%[2]d::%s:/bin/sh\n", user, serviceUser, home)},
		{name: "etc/group", mode: 0o644, content: fmt.Appendf(nil, "root:x:0:\n%s:x:%d:\n", user, serviceUser)},
		{name: "root/", mode: 0o700},
		{name: "tmp/", mode: 0o1777},
		{name: "usr/local/bin/docker-entrypoint.sh", mode: 0o755, content: entrypoint},
	}
}

const servicePath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

func postgresConfig(tag string) *v1.ConfigFile {
	return &v1.ConfigFile{
		Architecture: "amd64", OS: "linux",
		Config: v1.Config{
			Env: []string{servicePath + ":/usr/lib/postgresql/15/bin", "LANG=C.UTF-8", "PG_MAJOR=15", "PG_IMAGE=" + tag,
				"PGDATA=/var/lib/postgresql/data"},
			Entrypoint:   []string{"docker-entrypoint.sh"},
			Cmd:          []string{"postgres"},
			StopSignal:   "SIGINT", // fast shutdown: SIGTERM would wait for the clients to leave
			Volumes:      map[string]struct{}{"/var/lib/postgresql/data": {}},
			ExposedPorts: map[string]struct{}{"5432/tcp": {}},
			Labels:       map[string]string{"org.opencontainers.image.version": tag},
		},
	}
}

func redisConfig(tag string) *v1.ConfigFile {
	return &v1.ConfigFile{
		Architecture: "amd64", OS: "linux",
		Config: v1.Config{
			Env:          []string{servicePath, "LANG=C.UTF-8"},
			Entrypoint:   []string{"docker-entrypoint.sh"},
			Cmd:          []string{"redis-server"},
			WorkingDir:   "/data",
			Volumes:      map[string]struct{}{"/data": {}},
			ExposedPorts: map[string]struct{}{"6379/tcp": {}},
			Labels:       map[string]string{"org.opencontainers.image.version": tag},
		},
	}
}

// serviceLayers takes the layers out of the machine image that has them.
func serviceLayers(ctx context.Context) (layers map[string]v1.Layer, err error) {
	// Who builds machines removes the containers that others have left.
	unlock, err := lock(ctx, buildLock())
	if err != nil {
		return nil, err
	}
	defer unlock()
	image, err := machineImage(ctx, servicesMachine)
	if err != nil {
		return nil, err
	}
	container, err := docker(ctx, "create", "--label", labelBuild, image, "true")
	if err != nil {
		return nil, err
	}
	defer func() {
		_, removed := docker(context.WithoutCancel(ctx), "rm", container)
		err = errors.Join(err, removed)
	}()
	dir, err := os.MkdirTemp("", "testbed-layers-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if _, err := docker(ctx, "cp", container+":/layers/.", dir); err != nil {
		return nil, err
	}
	layers = map[string]v1.Layer{}
	for _, name := range []string{"base", "postgres", "redis"} {
		content, err := os.ReadFile(filepath.Join(dir, name+".tar.gz"))
		if err != nil {
			return nil, err
		}
		layers[name], err = tarball.LayerFromOpener(func() (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(content)), nil
		})
		if err != nil {
			return nil, err
		}
	}
	return layers, nil
}
