package accessory

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

// ReadFiles fills in the content, mode and owner of those files that this
// provider made and of which only a sum is known, in one call; none where there
// are no such. Their own place says that they were content, not secret_content:
// so it may be in a state. A file that was changed since, or is no text, stays
// as it is.
func ReadFiles(ctx context.Context, s *fleet.Server, files []File) ([]File, error) {
	files = slices.Clone(files)
	call := sshexec.Call{Title: "read the accessory's files"}
	var read []int
	for i, f := range files {
		if f.Seen.Own == "" || f.Seen.Local == "" {
			continue
		}
		local := sshexec.Quote(strings.TrimPrefix(f.Seen.Local, "~/"))
		call.Steps = append(call.Steps, sshexec.Step{Title: "read the file " + f.Path, KeepGoing: true,
			Script: fmt.Sprintf("stat -c '%%a %%u %%g %%U %%G' %[1]s && base64 < %[1]s", local)})
		read = append(read, i)
	}
	if len(read) == 0 {
		return files, nil
	}
	res, err := s.Read(ctx, call)
	if err != nil {
		return nil, err
	}
	for n, i := range read {
		if step := res.Steps[n]; step.Ran && step.ExitCode == 0 {
			if f, ok := files[i].filledIn(step.Stdout); ok {
				files[i] = f
			}
		}
	}
	return files, nil
}

// filledIn is the file with what its step printed, if that has its sum: what mode
// and owner were called in the configuration, only the sum tells.
func (f File) filledIn(out []byte) (File, bool) {
	head, body, _ := bytes.Cut(out, []byte("\n"))
	stat := strings.Fields(string(head))
	content, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(string(body), "\n", ""))
	if err != nil || len(stat) != 5 || !utf8.Valid(content) {
		return f, false
	}
	uid, gid, user, group := stat[1], stat[2], stat[3], stat[4]
	for _, mode := range []string{"0" + stat[0], stat[0]} {
		for _, owner := range []string{"", user, user + ":" + group, uid, uid + ":" + gid, user + ":" + gid, uid + ":" + group} {
			is := File{Path: f.Path, Content: string(content), Mode: mode, Owner: owner}
			if is.sum() == f.Seen.Own {
				return is, true
			}
		}
	}
	return f, false
}
