package testbed

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// file is a file of a layer; a directory if its name ends in a slash.
type file struct {
	name    string
	mode    int64
	owner   int
	content []byte
}

// account is what a program needs to run as user 1000 under this name.
func account(user string) []file {
	return []file{
		{name: "etc/passwd", mode: 0o644, content: fmt.Appendf(nil, "root:x:0:0::/:/\n%s:x:1000:1000::/home/%s:/\n", user, user)},
		{name: "etc/group", mode: 0o644, content: fmt.Appendf(nil, "root:x:0:\n%s:x:1000:\n", user)},
		{name: "home/" + user + "/", mode: 0o755, owner: 1000},
		{name: "tmp/", mode: 0o1777},
	}
}

// newLayer makes a layer that is the same, byte for byte, whenever it is made.
func newLayer(files []file) (v1.Layer, error) {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for _, f := range withParents(files) {
		header := &tar.Header{Name: f.name, Mode: f.mode, Uid: f.owner, Gid: f.owner, Size: int64(len(f.content))}
		if strings.HasSuffix(f.name, "/") {
			header.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.content); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(
		func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive.Bytes())), nil },
		tarball.WithCompressionLevel(gzip.BestSpeed), tarball.WithCompressedCaching)
}

// withParents adds the directories that are not listed: they are root's.
func withParents(files []file) []file {
	var all []file
	listed := map[string]bool{}
	for _, f := range files {
		for i := range len(f.name) - 1 {
			if dir := f.name[:i+1]; f.name[i] == '/' && !listed[dir] {
				listed[dir] = true
				all = append(all, file{name: dir, mode: 0o755})
			}
		}
		listed[f.name] = true
		all = append(all, f)
	}
	return all
}
