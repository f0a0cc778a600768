package testbed

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// shopImages are versions of the app of directory shop, a module of its own.
var shopImages = []Image{
	{Name: "shop:v1", What: "an app with Postgres and Redis: server, worker, migrate"},
	{Name: "shop:v2", What: "needs one more migration than v1"},
	{Name: "shop:v3bad", What: "its migration fails halfway"},
}

func buildShops(ctx context.Context, root string) (map[string]v1.Image, error) {
	program, err := goBuild(ctx, filepath.Join(root, "test", "testbed", "shop"), ".")
	if err != nil {
		return nil, err
	}
	layer, err := newLayer(append(account("shop"), file{name: "bin/shop", mode: 0o755, content: program}))
	if err != nil {
		return nil, err
	}
	images := map[string]v1.Image{}
	if images["testbed/keep:shop"], err = newKeeper(layer); err != nil {
		return nil, err
	}
	for _, i := range shopImages {
		_, version, _ := strings.Cut(i.Name, ":")
		images[i.Name], err = newImage(&v1.ConfigFile{
			Architecture: "amd64", OS: "linux",
			Config: v1.Config{
				Env:          []string{"PATH=/bin", "HOME=/home/shop", "SHOP_VERSION=" + version},
				Cmd:          []string{"shop", "server"},
				User:         "shop:shop",
				ExposedPorts: map[string]struct{}{"3000/tcp": {}},
			},
		}, layer)
		if err != nil {
			return nil, fmt.Errorf("image %s: %w", i.Name, err)
		}
	}
	return images, nil
}
