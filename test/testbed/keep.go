package testbed

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// keepers are images of the layers that others have in common. A server of the
// pool has them all its life, so that a pull of one of the others still asks the
// registry and writes an image, but finds the big layers there.
var keepers = []Image{
	{Name: "testbed/keep:app"}, {Name: "testbed/keep:postgres"}, {Name: "testbed/keep:proxy"},
	{Name: "testbed/keep:redis"}, {Name: "testbed/keep:shop"},
}

// newKeeper makes an image that differs from every other by its label alone.
func newKeeper(layers ...v1.Layer) (v1.Image, error) {
	return newImage(&v1.ConfigFile{Architecture: "amd64", OS: "linux",
		Config: v1.Config{Labels: map[string]string{labelPool: "keeps layers"}}}, layers...)
}

// pullKeepers pulls them, without leaving a log-in on the server.
func (in *inside) pullKeepers(ctx context.Context) error {
	r := in.bed.Registry
	login, err := json.Marshal(map[string]string{"username": r.Username, "password": r.Password, "serveraddress": r.Address})
	if err != nil {
		return err
	}
	header := http.Header{"X-Registry-Auth": {base64.URLEncoding.EncodeToString(login)}}
	for _, k := range keepers {
		var progress string
		name := in.bed.Image(k.Name)
		if err := in.ask(ctx, http.MethodPost, "/images/create?fromImage="+url.QueryEscape(name), header, &progress); err != nil {
			return fmt.Errorf("pull %s: %w", name, err)
		}
		// That it began is all the answer's status says.
		var image struct{ ID string }
		if err := in.ask(ctx, http.MethodGet, "/images/"+name+"/json", nil, &image); err != nil {
			return fmt.Errorf("pull %s: %w: %s", name, err, strings.TrimSpace(progress))
		}
	}
	return nil
}
