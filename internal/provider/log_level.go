package provider

import "strings"

// LogLevels are the variables that make the framework write no line which the
// CLI would throw away: without them it writes every line down to TRACE as
// JSON, which the CLI reads, parses and drops; a third of a plan's CPU time.
// What the user has set stays.
//
// A CLI shows the lines of providers at the level of TF_LOG_PROVIDER, else of
// TF_LOG, and all of them where it doesn't know the level's name.
func LogLevels(getenv func(string) string) map[string]string {
	level := getenv("TF_LOG_PROVIDER")
	if level == "" {
		level = getenv("TF_LOG")
	}
	switch level = strings.ToUpper(level); level {
	case "":
		level = "OFF"
	case "OFF", "DEBUG", "INFO", "WARN", "ERROR":
	default: // TRACE, JSON, and what is no level
		level = "TRACE"
	}
	set := map[string]string{}
	for _, name := range []string{"TF_LOG_SDK", "TF_LOG_PROVIDER_KAMAL"} {
		if getenv(name) == "" {
			set[name] = level
		}
	}
	return set
}
