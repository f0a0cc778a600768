package testbed

import (
	"strings"
	"testing"
	"time"
)

// shopScript starts what an app with a database needs. The password's file is
// root's alone, and its characters are such that URLs and shells mangle them.
const shopScript = `
	docker network create kamal >/dev/null
	(umask 077; echo 's3cr%40t $x!' >/root/password; echo 'postgres://shop:s3cr%2540t%20$x!@db/shop_production' >/root/url)
	chown 1000 /root/url
	pull() { docker pull --quiet $registry/$1 >/dev/null; }
	pull postgres:15.1; pull postgres:15.2; pull redis:7; pull shop:v1
	db() {
		docker run --detach --name db --network kamal --volume db:/var/lib/postgresql/data --volume /root/password:/run/password:ro \
			--env POSTGRES_USER=shop --env POSTGRES_DB=shop_production --env POSTGRES_PASSWORD_FILE=/run/password $registry/postgres:$1 >/dev/null
	}
	shop() {
		docker run --network kamal --volume /root/url:/run/url:ro --env DATABASE_URL_FILE=/run/url --env REDIS_URL=redis://queue/0 "$@"
	}
	retry() {
		for i in $(seq 150); do if "$@" >/dev/null 2>&1; then return; fi; sleep 0.1; done
		echo "not in time: $*" >&2
		docker logs db >&2
		exit 1
	}
`

func TestShopRunsOnPostgresAndRedis(t *testing.T) {
	b := open(t)
	s := b.Server(t, Debian12)
	s.LogIn(t)
	script := "registry=" + b.Registry.Address + shopScript

	start := time.Now()
	out := s.SSH(t, script+`
		db 15.1
		docker run --detach --name queue --network kamal $registry/redis:7 >/dev/null
		shop --rm $registry/shop:v1 shop migrate | tail -n 1
		shop --detach --name web --publish 3000:3000 $registry/shop:v1 >/dev/null
		shop --detach --name worker $registry/shop:v1 shop worker >/dev/null
		retry curl --fail --silent 127.0.0.1:3000/up
		curl --silent --data note=hello 127.0.0.1:3000/orders
		processed() { curl --silent 127.0.0.1:3000/orders/1 | grep '"processed_by":"v1"'; }
		retry processed
		curl --silent 127.0.0.1:3000/orders/1 | grep --only-matching '"note":"[a-z]*"'`)
	want := "migrate v1: done, the schema is at 1\n{\"id\":1}\n\"note\":\"hello\""
	if out != want {
		t.Errorf("got %q, want %q", out, want)
	}
	t.Logf("pulls, boot and an order took %s", time.Since(start).Round(time.Millisecond))

	// Backups as accessories make them: by a shell of the same image.
	out = s.SSH(t, `
		sh="docker run --rm --network kamal --volume backups:/backups --volume /root/password:/run/password:ro `+b.Image("postgres:15.1")+` sh -ec"
		login='export PGHOST=db PGUSER=shop PGPASSWORD="$(cat /run/password)";'
		$sh "$login"' pg_isready --quiet; pg_dump shop_production | gzip >/backups/$(date +%F).sql.gz; find /backups -name "*.gz" -mtime +7 -exec rm {} +; sleep 0'
		$sh "$login"' createdb restored; gunzip <$(ls /backups/*.gz) | psql --quiet --set ON_ERROR_STOP=1 restored >/dev/null; psql -Atc "SELECT note, processed_by FROM orders" restored'`)
	if want := "hello|v1"; out != want {
		t.Errorf("restored from the backup: %q, want %q", out, want)
	}

	// A failed upgrade leaves the data alone, and the next one has them.
	out, err := s.Run(t.Context(), "docker stop db >/dev/null; docker run --rm --volume db:/var/lib/postgresql/data "+b.Image("postgres:broken"))
	if err == nil || !strings.Contains(err.Error(), "FATAL: ") {
		t.Errorf("postgres:broken: %q, %v; want FATAL", out, err)
	}
	out = s.SSH(t, strings.Replace(script, "docker network create", "docker network inspect", 1)+`
		docker rm db >/dev/null
		db 15.2
		retry curl --fail --silent 127.0.0.1:3000/up
		docker exec db psql --username shop --tuples-only --no-align --command 'SELECT note, processed_by FROM orders' shop_production
		docker stop db web worker queue >/dev/null
		docker inspect --format '{{.Name}} {{.State.ExitCode}}' db web worker queue`)
	if want := "hello|v1\n/db 0\n/web 0\n/worker 0\n/queue 0"; out != want {
		t.Errorf("15.1's data under 15.2, then a stop: %q, want %q", out, want)
	}
}
