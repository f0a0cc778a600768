package docker

import "testing"

func TestSameLogSize(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		a, b string
		same bool
	}{{"10m", "10000k", true}, {"10m", "10M", true}, {"10m", "10mb", true}, {"10m", "11m", false}, {"10m", "-1", false}, {"x", "x", false}} {
		if got := SameLogSize(tt.a, tt.b); got != tt.same {
			t.Errorf("SameLogSize(%q, %q) = %v", tt.a, tt.b, got)
		}
	}
}
