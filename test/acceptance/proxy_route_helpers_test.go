package acceptance

import (
	"testing"

	"github.com/kamal-terraform/terraform-provider-kamal/test/byhand"
	"github.com/kamal-terraform/terraform-provider-kamal/test/testbed"
)

// What the engine tier's tests use too.
var (
	proxyCLI    = byhand.ProxyCLI
	proxyEntry  = byhand.ProxyEntry
	proxyState  = byhand.ProxyState
	wantPort    = byhand.WantPort
	containerID = byhand.ProxyID
	wantVersion = byhand.WantVersion
	wantStatus  = byhand.WantStatus
	visit       = byhand.Visit
	selfSigned  = byhand.SelfSigned
)

// bootProxy starts kamal-proxy as Kamal does, with root as its SSH user.
func bootProxy(t *testing.T, s *testbed.Server) {
	t.Helper()
	byhand.BootProxy(t, bed(t), s)
}

// runRole starts a container of a role of the app shop as Kamal does, and returns its id.
func runRole(t *testing.T, s *testbed.Server, role, version string) string {
	t.Helper()
	return byhand.RunRole(t, bed(t), s, role, version)
}
