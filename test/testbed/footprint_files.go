package testbed

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// unseen are directories whose content differs between two fresh servers, or
// from one hour to the next, and is seen otherwise or by nobody.
var unseen = []string{
	"/var/lib/docker", "/var/lib/containerd", // what Docker says of them, and their topmost names
	"/run/docker", "/run/containerd", // sockets and work of running containers
	"/run/log", "/var/log/journal", // emptied by every reset
	"/run/systemd", "/run/dbus", "/run/udev", "/run/credentials", // see seenRun
	"/var/lib/systemd/timers", "/var/lib/systemd/catalog",
	"/dev/pts", "/proc", "/sys",
}

// seenRun is what of /run/systemd an administrator may fill.
var seenRun = []string{"/run/systemd/system", "/run/systemd/transient", "/run/systemd/system.control"}

func (in *inside) lookAtFiles(f *footprint) error {
	var root syscall.Stat_t
	if err := syscall.Stat(in.root+"/", &root); err != nil {
		return err
	}
	walk := func(top string) error {
		return filepath.WalkDir(in.root+top, func(path string, entry fs.DirEntry, err error) error {
			name := strings.TrimPrefix(path, in.root)
			if err == nil && name != "/" && name != "" {
				err = in.lookAtFile(f, name, root.Dev)
			}
			if errors.Is(err, fs.ErrNotExist) {
				return nil // gone meanwhile
			}
			if err == nil && entry.IsDir() && slices.Contains(unseen, name) {
				return fs.SkipDir
			}
			return err
		})
	}
	if err := walk("/"); err != nil {
		return err
	}
	for _, dir := range seenRun {
		if err := walk(dir); err != nil {
			return err
		}
	}
	return in.lookAtEngineFiles(f)
}

func (in *inside) lookAtFile(f *footprint, name string, rootDevice uint64) error {
	path := in.root + name
	var stat syscall.Stat_t
	if err := syscall.Lstat(path, &stat); err != nil {
		return &fs.PathError{Op: "lstat", Path: path, Err: err}
	}
	value := make([]byte, 0, 64)
	kind := stat.Mode & syscall.S_IFMT
	switch kind {
	case syscall.S_IFDIR:
		value = append(value, 'd')
	case syscall.S_IFREG:
		value = append(value, 'f')
	case syscall.S_IFLNK:
		value = append(value, 'l')
	default:
		value = append(value, 'o')
	}
	value = strconv.AppendUint(append(value, ' '), uint64(stat.Mode&0o7777), 8)
	value = strconv.AppendUint(append(value, ' '), uint64(stat.Uid), 10)
	value = strconv.AppendUint(append(value, ' '), uint64(stat.Gid), 10)
	switch {
	case kind == syscall.S_IFLNK:
		target, err := os.Readlink(path)
		if err != nil {
			return err
		}
		value = append(append(value, ' '), target...)
	case kind == syscall.S_IFREG && stat.Dev == rootDevice:
		value = strconv.AppendInt(append(value, ' '), stat.Size, 10)
		value = strconv.AppendInt(append(value, ' '), stat.Mtim.Nano(), 10)
	case kind == syscall.S_IFREG && strings.HasPrefix(name, "/etc/"):
		// Docker mounts it there, and writes it anew at every start.
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(content)
		value = append(append(value, ' '), hex.EncodeToString(sum[:8])...)
	}
	// In memory are locks and marks of what runs, rewritten at every boot: that
	// they are there is all that counts.
	f.values["file "+name] = string(value)
	if stat.Dev == rootDevice {
		f.stamps[name] = stat.Ctim.Nano()
	}
	return nil
}

// lookAtEngineFiles lists the names that Docker's directory has where things
// left over would lie.
func (in *inside) lookAtEngineFiles(f *footprint) error {
	for _, dir := range []string{"", "/containers", "/volumes", "/overlay2", "/image/overlay2/imagedb/content/sha256", "/image/overlay2/layerdb/mounts"} {
		entries, err := os.ReadDir(in.root + "/var/lib/docker" + dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		for _, entry := range entries {
			f.values["docker-file "+dir+"/"+entry.Name()] = entry.Type().String()
		}
	}
	return nil
}
