package main

import (
	"strings"
	"testing"
)

func TestFollow(t *testing.T) {
	t.Parallel()
	const pkg = `"Package":"m/p"`
	pass := `{"Action":"pass",` + pkg + `,"Test":"TestA","Elapsed":0.1}` + "\n"
	ok := `{"Action":"output",` + pkg + `,"Output":"ok  \tm/p\t0.2s\n"}` + "\n" + `{"Action":"pass",` + pkg + `,"Elapsed":0.2}` + "\n"

	tests := map[string]struct {
		events      string
		wantOK      bool
		wantOut     string // what is shown while the tests run
		wantSummary string
	}{
		"a quiet pass": {
			events:      pass + ok,
			wantOK:      true,
			wantSummary: "unit: 1 passed, 0 failed, 0 skipped\nok  \tm/p\t0.2s\n",
		},
		"a slow pass gets a line": {
			events:      `{"Action":"pass",` + pkg + `,"Test":"TestA","Elapsed":12.34}` + "\n" + ok,
			wantOK:      true,
			wantOut:     "passed TestA (12.3s)\n",
			wantSummary: "unit: 1 passed, 0 failed, 0 skipped\nok  \tm/p\t0.2s\n",
		},
		"the time of subtests side by side is the longest": {
			events: `{"Action":"pass",` + pkg + `,"Test":"TestA/x","Elapsed":3}` + "\n" + `{"Action":"pass",` + pkg + `,"Test":"TestA/y","Elapsed":2}` + "\n" +
				pass + ok,
			wantOK:      true,
			wantOut:     "passed TestA (3.0s)\n",
			wantSummary: "unit: 1 passed, 0 failed, 0 skipped\nok  \tm/p\t0.2s\n",
		},
		"a skip is listed with its reason, a skipped subtest too": {
			events: pass +
				`{"Action":"output",` + pkg + `,"Test":"TestB/x","Output":"=== RUN   TestB/x\n"}` + "\n" +
				`{"Action":"output",` + pkg + `,"Test":"TestB/x","Output":"    b_test.go:3: needs Terraform 1.14\n"}` + "\n" +
				`{"Action":"output",` + pkg + `,"Test":"TestB/x","Output":"--- SKIP: TestB/x (0.00s)\n"}` + "\n" +
				`{"Action":"skip",` + pkg + `,"Test":"TestB/x","Elapsed":0}` + "\n" + ok,
			wantOK:      true,
			wantSummary: "unit: 1 passed, 0 failed, 1 skipped\n  skipped TestB/x: b_test.go:3: needs Terraform 1.14\nok  \tm/p\t0.2s\n",
		},
		"a failure shows its output and only its own": {
			events: `{"Action":"output",` + pkg + `,"Test":"TestA","Output":"quiet\n"}` + "\n" + pass +
				`{"Action":"output",` + pkg + `,"Test":"TestB","Output":"    b_test.go:3: boom\n"}` + "\n" +
				`{"Action":"fail",` + pkg + `,"Test":"TestB","Elapsed":0}` + "\n" +
				`{"Action":"output",` + pkg + `,"Output":"FAIL\n"}` + "\n" +
				`{"Action":"output",` + pkg + `,"Output":"FAIL\tm/p\t0.2s\n"}` + "\n" +
				`{"Action":"fail",` + pkg + `,"Elapsed":0.2}` + "\n",
			wantOut:     "    b_test.go:3: boom\nFAIL\n",
			wantSummary: "unit: 1 passed, 1 failed, 0 skipped\nFAIL\tm/p\t0.2s\n",
		},
		"a process that dies takes the words of its tests along": {
			events: `{"Action":"output",` + pkg + `,"Test":"TestA","Output":"=== RUN   TestA\n"}` + "\n" +
				`{"Action":"output",` + pkg + `,"Test":"TestB","Output":"=== RUN   TestB\n"}` + "\n" +
				`{"Action":"output",` + pkg + `,"Test":"TestB","Output":"panic: boom\n"}` + "\n" +
				`{"Action":"output",` + pkg + `,"Output":"FAIL\tm/p\t0.2s\n"}` + "\n" +
				`{"Action":"fail",` + pkg + `,"Elapsed":0.2}` + "\n",
			wantOut:     "TestB was not finished; its last words:\npanic: boom\n",
			wantSummary: "unit: 0 passed, 0 failed, 0 skipped\n  no test passed: that counts as a failure\nFAIL\tm/p\t0.2s\n",
		},
		"a build failure shows the compiler's words": {
			events: `{"ImportPath":"m/p","Action":"build-output","Output":"p.go:1: undefined: x\n"}` + "\n" +
				`{"Action":"output",` + pkg + `,"Output":"FAIL\tm/p [build failed]\n"}` + "\n" +
				`{"Action":"fail",` + pkg + `,"Elapsed":0,"FailedBuild":"m/p"}` + "\n",
			wantOut:     "p.go:1: undefined: x\n",
			wantSummary: "unit: 0 passed, 0 failed, 0 skipped\n  no test passed: that counts as a failure\nFAIL\tm/p [build failed]\n",
		},
		"nothing but skips is a failure": {
			events:      `{"Action":"skip",` + pkg + `,"Test":"TestA","Elapsed":0}` + "\n" + ok,
			wantSummary: "unit: 0 passed, 0 failed, 1 skipped\n  skipped TestA: \n  no test passed: that counts as a failure\nok  \tm/p\t0.2s\n",
		},
		"a package without tests is left out": {
			events: pass + ok +
				`{"Action":"output","Package":"m/q","Output":"?   \tm/q\t[no test files]\n"}` + "\n" +
				`{"Action":"skip","Package":"m/q","Elapsed":0}` + "\n",
			wantOK:      true,
			wantSummary: "unit: 1 passed, 0 failed, 0 skipped\nok  \tm/p\t0.2s\n",
		},
		"a line that is no event is shown": {
			events:      pass + ok + "warning: odd\n",
			wantOK:      true,
			wantOut:     "warning: odd\n",
			wantSummary: "unit: 1 passed, 0 failed, 0 skipped\nok  \tm/p\t0.2s\n",
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out strings.Builder
			got, err := follow(strings.NewReader(tc.events), &out)
			if err != nil {
				t.Fatal(err)
			}
			if got.ok() != tc.wantOK {
				t.Errorf("ok = %v, want %v", got.ok(), tc.wantOK)
			}
			if out.String() != tc.wantOut {
				t.Errorf("shown:\n%q\nwant:\n%q", out.String(), tc.wantOut)
			}
			got.Title = "unit"
			if s := got.summary(); s != tc.wantSummary {
				t.Errorf("summary:\n%q\nwant:\n%q", s, tc.wantSummary)
			}
		})
	}
}
