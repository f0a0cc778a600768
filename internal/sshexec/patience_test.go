package sshexec

import (
	"context"
	"errors"
	"fmt"
	"testing"
)

func TestTheErrorToEndWith(t *testing.T) {
	t.Parallel()
	refused := &AuthError{Server: "a", User: "root", Err: errors.New("no key fits")}
	hungUp := &UnreachableError{Server: "a", Err: errors.New("connection reset")}
	tooLong := fmt.Errorf("connecting: %w", context.DeadlineExceeded)
	for _, c := range []struct {
		name              string
		before, now, want error
	}{
		{"the first", nil, hungUp, hungUp},
		{"a later one", hungUp, refused, refused},
		{"punished for what was refused", refused, hungUp, refused},
		{"out of patience", hungUp, tooLong, hungUp},
		{"out of patience at once", nil, tooLong, tooLong},
	} {
		if got := moreTelling(c.before, c.now); !errors.Is(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
