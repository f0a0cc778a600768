package provider

import (
	"maps"
	"testing"
)

func TestLogLevelsAreThoseOfTheCLI(t *testing.T) {
	t.Parallel()
	both := func(level string) map[string]string {
		return map[string]string{"TF_LOG_SDK": level, "TF_LOG_PROVIDER_KAMAL": level}
	}
	for name, tt := range map[string]struct{ env, want map[string]string }{
		"nothing":                     {nil, both("OFF")},
		"all":                         {map[string]string{"TF_LOG": "TRACE"}, both("TRACE")},
		"in JSON":                     {map[string]string{"TF_LOG": "json"}, both("TRACE")},
		"what is no level":            {map[string]string{"TF_LOG": "1"}, both("TRACE")},
		"some":                        {map[string]string{"TF_LOG": "info"}, both("INFO")},
		"the providers' above all":    {map[string]string{"TF_LOG": "ERROR", "TF_LOG_PROVIDER": "TRACE"}, both("TRACE")},
		"the providers' below all":    {map[string]string{"TF_LOG": "TRACE", "TF_LOG_PROVIDER": "OFF"}, both("OFF")},
		"the CLI's own":               {map[string]string{"TF_LOG_CORE": "TRACE"}, both("OFF")},
		"what the user says of it":    {map[string]string{"TF_LOG_SDK": "WARN"}, map[string]string{"TF_LOG_PROVIDER_KAMAL": "OFF"}},
		"what the user says of Kamal": {map[string]string{"TF_LOG": "WARN", "TF_LOG_PROVIDER_KAMAL": "DEBUG"}, map[string]string{"TF_LOG_SDK": "WARN"}},
	} {
		if got := LogLevels(func(name string) string { return tt.env[name] }); !maps.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}
