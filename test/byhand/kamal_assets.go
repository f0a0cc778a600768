package byhand

import (
	"testing"

	"github.com/kamal-terraform/terraform-provider-kamal/test/testbed"
)

// KamalDeploy is what `kamal deploy` of 2.12 does on a server for shop's role
// web with `asset_path: /public/assets`: assets, container, switch, clean-up.
// kamal-proxy runs already.
func KamalDeploy(t testing.TB, b *testbed.Bed, s *testbed.Server, version string) {
	t.Helper()
	s.LogIn(t)
	s.SSH(t, `set -e
version=`+version+` image=`+b.Image("app:"+version)+` name=shop-web-`+version+`
assets=.kamal/apps/shop/assets
docker pull --quiet $image >/dev/null
mkdir -p $assets/extracted/web-$version && docker container rm shop-web-assets 2> /dev/null || true && docker container create --name shop-web-assets $image >/dev/null && docker container cp -L shop-web-assets:/public/assets/. $assets/extracted/web-$version && docker container rm shop-web-assets >/dev/null
running=$(docker ps --quiet --filter label=service=shop --filter label=role=web --filter status=running --latest)
old=$([ -z "$running" ] || docker inspect --format '{{.Name}}' $running | sed 's,^/shop-web-,,; s,_replaced_.*,,')
set +e
mkdir -p $assets/volumes/web-$version ; cp -rnT $assets/extracted/web-$version $assets/volumes/web-$version
if [ -n "$old" ]; then
  cp -rnT $assets/extracted/web-$version $assets/volumes/web-$old || true ; cp -rnT $assets/extracted/web-$old $assets/volumes/web-$version || true
fi
set -e
! docker container inspect $name >/dev/null 2>&1 || docker rename $name ${name}_replaced_$(od -An -N8 -tx1 /dev/urandom | tr -d ' ')
mkdir -p .kamal/apps/shop/env/roles; echo > .kamal/apps/shop/env/roles/web.env
new=$(docker run --detach --restart unless-stopped --name $name --network kamal --hostname `+s.Address+`-0123456789ab \
  --env KAMAL_CONTAINER_NAME="$name" --env KAMAL_VERSION="$version" --env KAMAL_HOST="`+s.Address+`" \
  --env-file .kamal/apps/shop/env/roles/web.env --log-opt max-size="10m" --volume $PWD/$assets/volumes/web-$version:/public/assets \
  --label service="shop" --label role="web" --label destination $image)
docker exec kamal-proxy kamal-proxy deploy shop-web --target="$(echo $new | cut -c 1-12):3000" --host=shop.example.com
[ -z "$running" ] || docker stop $running >/dev/null
find $assets/extracted -maxdepth 1 -name 'web-*' ! -name web-$version -exec rm -rf "{}" +
find $assets/volumes -maxdepth 1 -name 'web-*' ! -name web-$version -exec rm -rf "{}" +`)
}
