package byhand

import (
	"fmt"
	"strings"
	"testing"

	"github.com/kamal-terraform/terraform-provider-kamal/test/testbed"
)

// KamalRun is what `kamal deploy` runs for shop's role web, version v1, on a
// server whose address is its host; before stands what follows the options.
func KamalRun(b *testbed.Bed, s *testbed.Server, name, more string) string {
	return `mkdir -p .kamal/apps/shop/env/roles; echo > .kamal/apps/shop/env/roles/web.env
docker network inspect kamal >/dev/null 2>&1 || docker network create kamal
docker run --detach --restart unless-stopped --name ` + name + ` --network kamal --hostname ` + s.Address + `-0123456789ab \
  --env KAMAL_CONTAINER_NAME="` + name + `" --env KAMAL_VERSION="v1" --env KAMAL_HOST="` + s.Address + `" \
  --env-file .kamal/apps/shop/env/roles/web.env --log-opt max-size="10m" \
  --label service="shop" --label role="web" --label destination ` + more + ` ` + b.Image("app:v1")
}

// BootProxy starts kamal-proxy as Kamal does, with root as its SSH user.
func BootProxy(t testing.TB, b *testbed.Bed, s *testbed.Server) {
	t.Helper()
	BootProxyAs(t, b, s, "root")
}

// BootProxyAs starts kamal-proxy with files of an SSH user.
func BootProxyAs(t testing.TB, b *testbed.Bed, s *testbed.Server, user string) {
	t.Helper()
	s.LogIn(t)
	s.SSH(t, `cd ~`+user+`
		docker network inspect kamal >/dev/null 2>&1 || docker network create kamal >/dev/null
		mkdir -p .kamal/proxy/apps-config; chown -R `+user+` .kamal
		docker run --name kamal-proxy --network kamal --detach --restart unless-stopped \
			--volume kamal-proxy-config:/home/kamal-proxy/.config/kamal-proxy \
			--volume $PWD/.kamal/proxy/apps-config:/home/kamal-proxy/.apps-config \
			--publish 80:80 --publish 443:443 --log-opt max-size=10m `+b.Image("basecamp/kamal-proxy:v0.9.2")+` >/dev/null 2>&1
		n=0; until docker exec kamal-proxy kamal-proxy list >/dev/null 2>&1; do n=$((n+1)); [ $n -lt 300 ] || exit 1; sleep 0.1; done`)
}

// RouteWeb boots kamal-proxy as Kamal does and deploys the running container
// of shop-web, with options that a swap has to keep.
func RouteWeb(t testing.TB, b *testbed.Bed, s *testbed.Server) {
	t.Helper()
	BootProxy(t, b, s)
	s.SSH(t, `id=$(docker ps --quiet --filter name='^shop-web-')
docker exec kamal-proxy kamal-proxy deploy shop-web --target="$id:3000" --host=shop.example.com --target-timeout=17s --buffer-requests --log-request-header=User-Agent`)
}

// RunRole starts a container of a role of the app shop as Kamal does, and
// returns the first 12 digits of its id.
func RunRole(t testing.TB, b *testbed.Bed, s *testbed.Server, role, version string) string {
	t.Helper()
	return strings.TrimSpace(s.SSH(t, fmt.Sprintf(`docker run --detach --restart unless-stopped --name shop-%s-%s --network kamal \
		--label service=shop --label role=%s --label destination %s 2>/dev/null`, role, version, role, b.Image("app:"+version))))[:12]
}

// Serve runs an app of the testbed and a route to it, as somebody would without
// this provider.
func Serve(t testing.TB, b *testbed.Bed, s *testbed.Server, service string) {
	t.Helper()
	r := b.Registry
	s.SSH(t, fmt.Sprintf(`printf %%s %s | docker login --username %s --password-stdin %s >/dev/null 2>&1
		docker run --detach --restart unless-stopped --network kamal --name %s-app %s >/dev/null; docker logout %s >/dev/null
		docker exec kamal-proxy kamal-proxy deploy %s --target $(docker inspect --format '{{slice .Id 0 12}}' %s-app):3000`,
		r.Password, r.Username, r.Address, service, b.Image("app:v1"), r.Address, service, service))
}
