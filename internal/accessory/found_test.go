package accessory

import (
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
)

// initSQL is a file that Kamal has put on the server.
var initSQL = File{Path: "/init.sql", Content: "create table t ();\n", Mode: "0644"}

// kamals is an accessory with that file, as Kamal mounts it.
func kamals(t *testing.T) Observed {
	t.Helper()
	bind := home + "/shop-db/init.sql"
	s := wanted(func(s *Spec) { s.Files = nil })
	o := seen(t, nil, made(t, s, func(c map[string]any) {
		host, _ := c["HostConfig"].(map[string]any)
		host["Binds"] = append(host["Binds"].([]string), bind+":/init.sql")
	}))
	o.Snapshot.MountedFiles = map[string]fleet.MountedFile{bind: {Sum: initSQL.contentSum(), Mode: "640"}}
	return o
}

func TestFilesOfKamalAreFiles(t *testing.T) {
	t.Parallel()
	o := kamals(t)
	bare := wanted(func(s *Spec) { s.Files = nil })
	got := FromContainer(o, bare)
	want := []File{{Path: "/init.sql", Mode: "0640", Seen: Seen{Local: "~/shop-db/init.sql", Content: initSQL.contentSum()}}}
	if !slices.Equal(got.Files, want) || !slices.Equal(got.Directories, bare.Directories) {
		t.Errorf("files %+v, directories %q", got.Files, got.Directories)
	}
	// What an import could not take over fits, and so does the same content; other content doesn't.
	for name, tt := range map[string]struct {
		file File
		fits bool
	}{
		"not filled in":          {want[0], true},
		"filled in":              {initSQL, true},
		"with another mode":      {File{Path: "/init.sql", Content: initSQL.Content, Mode: "0600"}, true},
		"other content":          {File{Path: "/init.sql", Content: "drop table t;\n", Mode: "0644"}, false},
		"the same, elsewhere":    {File{Path: "/other.sql", Content: initSQL.Content, Mode: "0644"}, false},
		"not filled in, another": {File{Path: "/init.sql", Seen: Seen{Content: strings.Repeat("0", 64)}}, false},
	} {
		s := wanted(func(s *Spec) { s.Files = []File{tt.file} })
		if d := s.Differs(o); (len(d) == 0) != tt.fits {
			t.Errorf("%s: differs in %q", name, d)
		}
		if tt.fits && !slices.Equal(FromContainer(o, s).Files, s.Files) {
			t.Errorf("%s became %+v", name, FromContainer(o, s).Files)
		}
	}
}

// A file of which only the server knows the content is never written.
func TestAFileThatIsNotFilledInIsRefused(t *testing.T) {
	t.Parallel()
	for _, seen := range []Seen{{Local: "~/shop-db/init.sql", Content: strings.Repeat("ab", 32)}, {Local: "~/shop-db/files/0123456789ab/init.sql", Own: "0123456789ab"}} {
		read, ok := ParsePlaceholder(seen.Placeholder())
		if !ok || read != seen {
			t.Errorf("%s is read as %+v, %t", seen.Placeholder(), read, ok)
		}
		s := wanted(func(s *Spec) { s.Files = append(s.Files, File{Path: "/init.sql", Mode: "0644", Seen: seen}) })
		err := s.Check()
		if r := (*docker.Refusal)(nil); err == nil || !errors.As(err, &r) || r.Attribute != "files" || r.Index != len(s.Files)-1 || !strings.Contains(r.Why, "cat "+seen.Local) {
			t.Errorf("%v", err)
		}
	}
	if old, ok := ParsePlaceholder("(content not seen, sum 9fb5002053ff)"); !ok || old != (Seen{Own: "9fb5002053ff"}) {
		t.Errorf("of an earlier build: %+v, %t", old, ok)
	}
	for _, text := range []string{"", "a = 1", "(content not seen)", "x (content not seen: sum 9fb5002053ff of y)"} {
		if _, is := ParsePlaceholder(text); is {
			t.Errorf("%q is taken for a placeholder", text)
		}
	}
}

func TestFileThatThisProviderMadeIsFilledIn(t *testing.T) {
	t.Parallel()
	for _, f := range []File{
		{Path: "/a", Content: "a = 1\n", Mode: "0644"}, {Path: "/a", Content: "", Mode: "640", Owner: "999:999"},
		{Path: "/a", Content: "x\n\ny", Mode: "0640", Owner: "postgres"}, {Path: "/a", Content: "x", Mode: "0640", Owner: "postgres:postgres"},
	} {
		stat := "640 999 999 postgres postgres\n"
		if f.Mode == "0644" {
			stat = "644 0 0 root root\n"
		}
		out := stat + base64.StdEncoding.EncodeToString([]byte(f.Content)) + "\n"
		unknown := File{Path: f.Path, Mode: "0644", Seen: Seen{Own: f.sum(), Local: "~/x"}}
		if got, ok := unknown.filledIn([]byte(out)); !ok || got != f {
			t.Errorf("%+v became %+v", f, got)
		}
		changed := stat + base64.StdEncoding.EncodeToString([]byte(f.Content+"more"))
		if got, ok := unknown.filledIn([]byte(changed)); ok || got != unknown {
			t.Errorf("changed since, it became %+v", got)
		}
	}
	notText := File{Content: "\xff\xfe", Mode: "0644"}
	if _, ok := (File{Seen: Seen{Own: notText.sum()}}).filledIn([]byte("644 0 0 root root\n//4=\n")); ok {
		t.Error("what is no text came into the state")
	}
}
