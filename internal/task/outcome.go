package task

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
)

// How much of a job's output an error shows.
const (
	shownLines = 40
	shownBytes = 6000
)

// An Outcome is how a job ended.
type Outcome struct {
	// Container is the name of the job's container.
	Container string
	ExitCode  int
	// OutOfMemory: the kernel killed it for want of memory.
	OutOfMemory bool
	// TimedOut: it had not ended in time and was stopped.
	TimedOut bool
	// Gone: somebody removed the container before its outcome was seen.
	Gone bool
	// Error is docker's word on a container that did not start or end well.
	Error             string
	Started, Finished time.Time
	// Output is the end of what it printed, redacted.
	Output string
}

// outcomeOf reads what docker says of a container that has ended.
func outcomeOf(c docker.Container, timedOut bool, output string) Outcome {
	o := Outcome{Container: c.ContainerName(), TimedOut: timedOut, Output: output}
	if st := c.State; st != nil {
		o.ExitCode, o.OutOfMemory, o.Error = st.ExitCode, st.OOMKilled, st.Error
		o.Started, _ = time.Parse(time.RFC3339Nano, st.StartedAt)
		o.Finished, _ = time.Parse(time.RFC3339Nano, st.FinishedAt)
	}
	return o
}

// Succeeded says that the command ran to its end and was content.
func (o Outcome) Succeeded() bool { return !o.Gone && !o.TimedOut && o.ExitCode == 0 && o.Error == "" }

// Words say how the job ended, for people.
func (o Outcome) Words(bound time.Duration) string {
	took := ""
	if o.Finished.After(o.Started) && !o.Started.IsZero() {
		took = " after " + o.Finished.Sub(o.Started).Round(100*time.Millisecond).String()
	}
	switch {
	case o.Gone:
		return "its container " + o.Container + " was removed before anybody saw how it ended"
	case o.TimedOut:
		return fmt.Sprintf("it did not end within %s and was stopped", bound)
	case o.Succeeded():
		return "it succeeded" + took
	}
	s := fmt.Sprintf("it ended with exit code %d%s", o.ExitCode, took)
	if why := o.why(); why != "" {
		s += ": " + why
	}
	return s
}

// why explains the exit codes that are not the command's own.
func (o Outcome) why() string {
	switch {
	case o.OutOfMemory:
		return "the kernel killed it for want of memory (OOM)"
	case o.Error != "":
		return "docker says: " + o.Error
	}
	switch o.ExitCode {
	case 126:
		return "the command, or one that it starts, can't be executed: it is no program, or not executable"
	case 127:
		return "the command, or one that it starts, was not found in the image"
	case 137:
		return "it was killed (SIGKILL). As a rule the kernel did it for want of memory; docker kill and a server that goes down do it too"
	case 143:
		return "it was told to stop (SIGTERM), as docker stop and a server that goes down do it"
	}
	return ""
}

// advice says what to do about it.
func (o Outcome) advice() string {
	const again = "The next apply runs it again."
	switch {
	case o.Gone:
		return "find out on the server what the command has done. " + again
	case o.TimedOut:
		return "raise `timeout` if the command just takes longer. What it has done is done: see whether it can begin anew. " + again
	case o.OutOfMemory, o.ExitCode == 137:
		return "give the server more memory or a swap file, or let the command need less. " + again
	case o.ExitCode == 126, o.ExitCode == 127:
		return "mend `command`: it is run as it is, without a shell, each element an argument. " + again
	}
	return "see the end of its output above, mend the cause, and apply. " + again
}

var escapeSequence = regexp.MustCompile("\x1b\\[[0-9;?]*[ -/]*[@-~]")

// quote is the end of a job's output as an error can show it. It is redacted
// before it is cut, because half a secret would not be found.
func quote(output string, redact func(string) string) string {
	text := redact(strings.ToValidUTF8(output, "?"))
	text = escapeSequence.ReplaceAllString(text, "")
	text = strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' || r == 0x7f {
			return -1
		}
		return r
	}, text)
	lines := strings.Split(strings.TrimSpace(text), "\n")
	cut := len(lines) > shownLines
	lines = lines[max(0, len(lines)-shownLines):]
	text = strings.Join(lines, "\n")
	if len(text) > shownBytes {
		text, cut = strings.ToValidUTF8(text[len(text)-shownBytes:], ""), true
	}
	if cut {
		text = "…\n" + text
	}
	return text
}
