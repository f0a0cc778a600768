package testbed

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
)

// footprint is all that a test may have changed on a server, as values by what
// they are of: "file /etc/passwd", "unit docker.service", "nft ip filter".
type footprint struct {
	values map[string]string
	// stamps are when the kernel last saw a file change. Nobody can set them: a
	// file with the same stamp has the same content.
	stamps map[string]int64
}

func newFootprint() *footprint {
	return &footprint{values: map[string]string{}, stamps: map[string]int64{}}
}

// look takes the server's footprint.
func (in *inside) look(ctx context.Context) (*footprint, error) {
	// The script's processes and ours take turns on two cores.
	system := make(chan error, 1)
	f, ofSystem := newFootprint(), newFootprint()
	go func() { system <- in.lookAtSystem(ctx, ofSystem) }()
	err := in.lookAtFiles(f)
	if err == nil {
		err = in.lookAtMounts(f)
	}
	if err == nil {
		err = in.lookAtEngine(ctx, f)
	}
	if err == nil {
		err = in.lookAtProcesses(f)
	}
	if failed := <-system; err == nil {
		err = failed
	}
	maps.Copy(f.values, ofSystem.values)
	return f, err
}

// difference is a value that is not the fresh server's; "" where there is none.
type difference struct{ key, was, is string }

func (d difference) String() string {
	switch {
	case d.was == "":
		return "extra: " + d.key + ": " + short(d.is)
	case d.is == "":
		return "missing: " + d.key + ": " + short(d.was)
	}
	return "changed: " + d.key + ": " + short(d.was) + " -> " + short(d.is)
}

func short(text string) string {
	if runes := []rune(text); len(runes) > 300 {
		return string(runes[:300]) + " …"
	}
	return text
}

// differences are what sets f apart from the fresh footprint, sorted.
func (f *footprint) differences(fresh *footprint) []difference {
	var all []difference
	for key, was := range fresh.values {
		is := f.values[key]
		if is == "" && was == ranOnce {
			continue // some run at a machine's first boot only
		}
		if is != was {
			all = append(all, difference{key, was, is})
		}
	}
	for key, is := range f.values {
		if _, known := fresh.values[key]; !known {
			all = append(all, difference{key, "", is})
		}
	}
	slices.SortFunc(all, func(a, b difference) int { return strings.Compare(a.key, b.key) })
	return all
}

// touched are the files that something was done to since the other look, even
// if they look the same.
func (f *footprint) touched(before *footprint) []string {
	var all []string
	for path, stamp := range f.stamps {
		if was, known := before.stamps[path]; !known || was != stamp {
			all = append(all, path)
		}
	}
	for path := range before.stamps {
		if _, there := f.stamps[path]; !there {
			all = append(all, path)
		}
	}
	slices.Sort(all)
	return all
}

// save writes the footprint to a file of this machine.
func (f *footprint) save(path string) error {
	var text strings.Builder
	for key, value := range f.values {
		text.WriteString(strconv.Quote(key) + "\t" + strconv.Quote(value))
		if name, ok := strings.CutPrefix(key, "file "); ok {
			if stamp, ok := f.stamps[name]; ok {
				text.WriteString("\t" + strconv.FormatInt(stamp, 10))
			}
		}
		text.WriteByte('\n')
	}
	return writeFile(path, []byte(text.String()), 0o600)
}

func loadFootprint(path string) (*footprint, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	f := newFootprint()
	for line := range strings.Lines(string(content)) {
		fields := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(fields) < 2 {
			return nil, fmt.Errorf("%s: malformed line %q", path, line)
		}
		key, err := strconv.Unquote(fields[0])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if f.values[key], err = strconv.Unquote(fields[1]); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if len(fields) == 3 {
			if f.stamps[key[len("file "):]], err = strconv.ParseInt(fields[2], 10, 64); err != nil {
				return nil, fmt.Errorf("%s: %w", path, err)
			}
		}
	}
	return f, nil
}
