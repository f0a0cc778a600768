package acceptance

import (
	"fmt"
	"strings"
	"testing"
)

// TestTaskImport takes over tasks whose command has run elsewhere or by hand:
// it is not run for that, and from then on when its triggers change.
func TestTaskImport(t *testing.T) {
	t.Parallel()
	s := bed(t).Warm(t, oldest)
	for service, identity := range map[string]bool{"byid": false, "byidentity": true} {
		w := newTask(t, s, service)
		w.Write("main.tf", taskTriggeredBy(service, "PASSWORD"))
		if identity {
			w.Write("import.tf", fmt.Sprintf("import {\n  to = kamal_task.migrate\n  identity = {\n    service = %q\n    name = \"migrate\"\n    server = %q\n  }\n}\n", service, s.Address))
		} else {
			w.ImportFails(migrate, "migrate@"+s.Address, "service/name@server")
			w.Import(migrate, service+"/migrate@"+s.Address)
		}
		p := w.Plan()
		if got := p.Actions(migrate); got != "update" || len(w.Calls()) != 0 {
			t.Errorf("%s: the plan after the import is %q, with the calls %v", service, got, w.Calls())
		}
		w.Apply(p.File)
		if got := runs(t, s, service); got != "" {
			t.Errorf("%s: taking it over ran the command: %q", service, got)
		}
		if st := w.State(migrate); st["ran_at"] != nil || dig(st, "secret_digests", "PASSWORD") == nil {
			t.Errorf("%s: state: %v", service, st)
		}
		for n, change := range []string{"TF_VAR_password", "TF_VAR_release"} {
			w.Setenv(change, "another one")
			w.Apply()
			if got := strings.Count(runs(t, s, service), "begin"); got != n+1 {
				t.Errorf("%s: %d runs after another %s", service, got, change)
			}
		}
	}
}
