package testbed

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// saveFiles keeps a copy of those files of a fresh server that are not its
// image's: keys, certificates, what the first boot wrote.
func (in *inside) saveFiles(ctx context.Context, fresh *footprint) error {
	out, err := docker(ctx, "diff", in.container)
	if err != nil {
		return err
	}
	names := []string{"/etc/hosts", "/etc/hostname", "/etc/resolv.conf"} // mounted by Docker
	for _, line := range lines(out) {
		if _, name, ok := strings.Cut(line, " "); ok {
			names = append(names, name)
		}
	}
	for _, name := range names {
		if !strings.HasPrefix(fresh.values["file "+name], "f ") {
			continue
		}
		content, err := os.ReadFile(in.root + name)
		if err != nil {
			return err
		}
		if err := writeFile(in.savedFile(name), content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (in *inside) savedFile(name string) string { return filepath.Join(in.poolDir(), "saved", name) }

// mendFiles removes files that a fresh server hasn't, and puts back the others.
// It goes through os.Root: a link that a test made can't lead it out of the server.
func (m *mending) mendFiles(ctx context.Context) (err error) {
	root, err := os.OpenRoot(m.root)
	if err != nil {
		return err
	}
	defer root.Close()
	originals := &originals{inside: m.inside}
	defer func() { err = errors.Join(err, originals.close(context.WithoutCancel(ctx))) }()
	var errs []error
	removed := "//"
	for _, d := range m.of("file") { // a directory comes before what is in it
		switch {
		case strings.HasPrefix(d.key, removed):
		case d.was == "":
			removed = d.key + "/"
			errs = append(errs, root.RemoveAll(d.key[1:]))
		default:
			errs = append(errs, m.putBack(ctx, root, originals, d))
		}
	}
	for _, d := range m.of("docker-file") {
		if d.was == "" && strings.Count(d.key, "/") == 1 {
			errs = append(errs, root.RemoveAll("var/lib/docker"+d.key))
		}
	}
	for _, name := range m.doubtful {
		was, err := originals.read(ctx, name)
		if err == nil {
			var is []byte
			if is, err = root.ReadFile(name[1:]); err == nil && !bytes.Equal(was, is) {
				err = m.putBack(ctx, root, originals, difference{name, m.fresh.values["file "+name], ""})
			}
		}
		if err == nil {
			err = m.restamp(name)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// restamp takes the file as it is now for the fresh one.
func (m *mending) restamp(name string) error {
	var stat syscall.Stat_t
	if err := syscall.Lstat(m.root+name, &stat); err != nil {
		return &fs.PathError{Op: "lstat", Path: name, Err: err}
	}
	m.fresh.stamps[name] = stat.Ctim.Nano()
	return nil
}

// putBack makes one file what it was.
func (m *mending) putBack(ctx context.Context, root *os.Root, originals *originals, d difference) error {
	name := d.key[1:]
	was := strings.Fields(d.was) // type, mode, owner, group, …
	mode, err := strconv.ParseUint(was[1], 8, 32)
	if err != nil {
		return err
	}
	user, err := strconv.Atoi(was[2])
	if err != nil {
		return err
	}
	group, err := strconv.Atoi(was[3])
	if err != nil {
		return err
	}
	_, onDisk := m.fresh.stamps[d.key]
	if d.is != "" && d.is[0] != d.was[0] {
		if err := root.RemoveAll(name); err != nil {
			return err
		}
		d.is = ""
	}
	switch was[0] {
	case "d":
		if d.is == "" {
			err = root.MkdirAll(name, 0o700) // it may be back: below a mount that has gone
		}
	case "l":
		if d.is != "" {
			err = root.Remove(name)
		}
		if err == nil {
			err = root.Symlink(strings.Join(was[4:], " "), name)
		}
		return errors.Join(err, root.Lchown(name, user, group))
	case "f":
		if onDisk || len(was) > 4 {
			return m.putBackContent(ctx, root, originals, d.key, was, os.FileMode(mode), user, group)
		}
	}
	if err == nil && (d.is != "" || was[0] == "d") {
		err = errors.Join(root.Chown(name, user, group), root.Chmod(name, fileMode(mode)))
	}
	return err
}

// fileMode is a mode with the bits where Go has them.
func fileMode(mode uint64) os.FileMode {
	m := os.FileMode(mode & 0o777)
	if mode&syscall.S_ISVTX != 0 {
		m |= os.ModeSticky
	}
	if mode&syscall.S_ISGID != 0 {
		m |= os.ModeSetgid
	}
	if mode&syscall.S_ISUID != 0 {
		m |= os.ModeSetuid
	}
	return m
}

func (m *mending) putBackContent(ctx context.Context, root *os.Root, originals *originals, file string, was []string, mode os.FileMode, user, group int) error {
	content, err := originals.read(ctx, file)
	if err != nil {
		return err
	}
	name := file[1:]
	if len(was) == 5 { // mounted by Docker: it can't be replaced
		return root.WriteFile(name, content, mode.Perm())
	}
	beside := path.Join(path.Dir(name), ".testbed-new")
	if err := root.WriteFile(beside, content, 0o600); err != nil {
		return err
	}
	modified, err := strconv.ParseInt(was[5], 10, 64)
	err = errors.Join(err, root.Chown(beside, user, group), root.Chmod(beside, fileMode(uint64(mode))),
		root.Chtimes(beside, time.Now(), time.Unix(0, modified)), root.Rename(beside, name))
	if err != nil {
		return errors.Join(err, root.Remove(beside))
	}
	return m.restamp(file)
}

// originals are the files as they were: kept at the server's birth, or the image's.
type originals struct {
	*inside
	container string // of the server's image, never started
}

func (o *originals) read(ctx context.Context, name string) ([]byte, error) {
	content, err := os.ReadFile(o.savedFile(name))
	if !errors.Is(err, fs.ErrNotExist) {
		return content, err
	}
	if o.container == "" {
		if o.container, err = docker(ctx, "create", "--label", labelBed+"="+o.bed.Name, o.image, "true"); err != nil {
			return nil, err
		}
	}
	archive, err := docker(ctx, "cp", o.container+":"+name, "-")
	if err != nil {
		return nil, err
	}
	r := tar.NewReader(strings.NewReader(archive))
	header, err := r.Next()
	if err != nil {
		return nil, fmt.Errorf("%s of the image: %w", name, err)
	}
	if header.Typeflag != tar.TypeReg {
		return nil, fmt.Errorf("%s of the image is no file", name)
	}
	return io.ReadAll(r)
}

func (o *originals) close(ctx context.Context) error {
	if o.container == "" {
		return nil
	}
	_, err := docker(ctx, "rm", "--volumes", o.container)
	return err
}
