package kamal

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestMarkIsWrittenListedAndRemoved(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	m := Mark{Kind: "role", Name: "shop-web-staging", State: MarkCreating, Run: "run1", By: `o'neil "x"@laptop`, At: noon}
	s.must(WriteMark(m))
	s.age(MarkPath(m.Kind, m.Name), 45*time.Second)
	s.must(Lock("shop-staging", "run1", "me", "v1", noon))

	lines := strings.Split(strings.TrimRight(s.sh(ListMarks), "\n"), "\n")
	if len(lines) != 2 {
		t.Fatalf("lines %q", lines)
	}
	age, text, _ := strings.Cut(lines[0], "\t")
	var got Mark
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, m) || age != "45" && age != "46" {
		t.Errorf("age %s, mark %+v", age, got)
	}
	if lines[1] != "0\tlock\tshop-staging\trun1" && lines[1] != "1\tlock\tshop-staging\trun1" {
		t.Errorf("lock %q", lines[1])
	}

	s.must(RemoveMark(m.Kind, m.Name))
	s.must(RemoveMark(m.Kind, m.Name)) // already gone
	s.must(Unlock("shop-staging", "run1"))
	if out := s.sh(ListMarks); out != "" {
		t.Errorf("listed %q", out)
	}
	// Kamal counts what is in its directories.
	if s.exists(MarksDir) {
		t.Error("the empty directory of the marks was left")
	}
}

func TestRemoveMarkKeepsOthers(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.must(WriteMark(Mark{Kind: "role", Name: "a"}))
	s.must(WriteMark(Mark{Kind: "role", Name: "b"}))
	s.must(RemoveMark("role", "a"))
	if s.exists(MarkPath("role", "a")) || !s.exists(MarkPath("role", "b")) {
		t.Error("the wrong mark was removed")
	}
}

func TestListMarksOfAServerThatHasNone(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	// A lock of Kamal has no run.
	s.sh("mkdir -p .kamal/lock-shop")
	if out := s.sh(ListMarks); out != "" {
		t.Errorf("listed %q", out)
	}
}

func TestMarkUnfinished(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		mark Mark
		want bool
	}{
		{Mark{State: MarkCreating, Age: Dead}, false},
		{Mark{State: MarkCreating, Age: Dead + time.Second}, true},
		{Mark{State: MarkOwned, Age: time.Hour}, false},
	} {
		if got := tt.mark.Unfinished(); got != tt.want {
			t.Errorf("%s, age %s: %t", tt.mark.State, tt.mark.Age, got)
		}
	}
	if Dead < 3*Beat {
		t.Error("a run that misses two beats counts as dead")
	}
}
