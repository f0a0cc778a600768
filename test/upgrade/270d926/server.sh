# What the build 270d926 did to a fresh server. Written by command make: not to be edited.
set -e
dir() { mkdir -p "$3" && chmod "$1" "$3" && chown "$2" "$3"; }             # MODE OWNER PATH
file() { install -D -m "$1" /dev/null "$3" && cat >"$3" && chown "$2" "$3"; } # the same, content on its input
whole() { printf '%s' "$(cat)" | file "$@"; }                               # the same, without a newline at its end

dir 755 0:0 /etc/docker
file 644 0:0 /etc/docker/daemon.json <<'END'
{
  "log-opts": {
    "max-size": "20m",
    "max-file": "2"
  },
  "live-restore": true,
  "registry-mirrors": [
    "https://mirror.example.com"
  ],
  "insecure-registries": [
    "registry.example.com:5000"
  ],
  "max-concurrent-downloads": 5,
  "userland-proxy": false
}
END
dir 700 0:0 /etc/kamal-firewall
file 600 0:0 /etc/kamal-firewall/load <<'END'
# Written by kamal_firewall of terraform-provider-kamal; an apply puts it back.
export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
dir=/etc/kamal-firewall

fw_save() {
  if [ "$2" = legacy ]; then grep -qsx "${3:-filter}" "/proc/net/${1%tables}_tables_names" || return 0; fi
  if command -v "$1-$2-save" >/dev/null 2>&1; then "$1-$2-save" -t "${3:-filter}" 2>/dev/null
  elif [ "$2" = "$(fw_own "$1")" ]; then "$1-save" -t "${3:-filter}" 2>/dev/null; fi
}
fw_own() { case $("$1" -V 2>/dev/null) in *legacy*) echo legacy;; *) echo nft;; esac; }
fw_kind() {
  command -v "$1" >/dev/null 2>&1 || return 1
  case $(fw_own "$1") in nft) set -- "$1" nft legacy;; *) set -- "$1" legacy nft;; esac
  if fw_save "$1" "$2" | grep -q '^:DOCKER-USER '; then echo "$2"
  elif fw_save "$1" "$3" | grep -q '^:DOCKER-USER '; then echo "$3"
  else return 1; fi
}

mark='-m comment --comment kamal-firewall'
restore() { # PROGRAM KIND [OPTION]
  r=$1-$2-restore
  command -v "$r" >/dev/null 2>&1 || r=$1-restore
  "$r" --noflush --wait 10 $3
}
rules() { echo "$dir/rules.v$(case $1 in ip6tables) echo 6;; *) echo 4;; esac)$2"; }
jumps() { sed -n "s/^-A \($1 .*-j $2\)\$/-D \1/p"; } # those in chain $1 to chain $2, as deletions

# clear PROGRAM KIND TABLE CHAIN: our chains and the jumps to them go.
clear() {
  s=$(fw_save "$1" "$2" "$3")
  case $s in *":KAMAL-FW "*) ;; *) return 0;; esac
  {
    echo "*$3"
    printf '%s\n' "$s" | jumps "$4" KAMAL-FW
    printf '%s\n' '-F KAMAL-FW' '-X KAMAL-FW'
    case $s in *":KAMAL-FW-ALLOW "*) printf '%s\n' '-F KAMAL-FW-ALLOW' '-X KAMAL-FW-ALLOW';; esac
    echo COMMIT
  } | restore "$1" "$2"
}

late() { # PROGRAM KIND
  s=$(fw_save "$1" "$2")
  {
    echo '*filter'
    cat "$(rules "$1")"
    ours=$(printf '%s\n' "$s" | jumps DOCKER-USER KAMAL-FW)
    first=$(printf '%s\n' "$s" | sed -n 's/^-A \(DOCKER-USER .*\)/-D \1/p' | head -n 1)
    if [ -z "$ours" ] || [ "$ours" != "$first" ]; then
      [ -z "$ours" ] || printf '%s\n' "$ours"
      echo "-I DOCKER-USER 1 $mark -j KAMAL-FW"
    fi
    # Docker puts this jump there itself; some versions forget it, and it can be flushed.
    before=$(printf '%s\n' "$s" | grep -e '^-A FORWARD .*-j ACCEPT$' -e '^-A FORWARD .*-j DOCKER' | grep -v 'DOCKER-ISOLATION-STAGE-1$' | head -n 1)
    if [ "$before" != '-A FORWARD -j DOCKER-USER' ]; then
      printf '%s\n' "$s" | jumps FORWARD DOCKER-USER
      echo '-I FORWARD 1 -j DOCKER-USER'
    fi
    echo COMMIT
  } | restore "$1" "$2"
}

early() { # PROGRAM KIND
  {
    echo '*mangle'
    cat "$(rules "$1")"
    fw_save "$1" "$2" mangle | jumps FORWARD KAMAL-FW
    echo "-I FORWARD 1 $mark -j KAMAL-FW"
    echo COMMIT
  } | restore "$1" "$2"
}

again() { # COMMAND…: up to five times
  n=0
  until "$@"; do n=$((n + 1)); [ $n -lt 5 ] || return 1; sleep 0.2; done
}

exec 9>/run/kamal-firewall.lock && flock 9 || exit
failed=0
for p in iptables ip6tables; do
  command -v $p >/dev/null 2>&1 || continue
  case $1 in
  check)
    k=$(fw_kind $p) || continue
    { echo '*filter'; cat "$(rules $p .new)"; echo COMMIT; } | restore $p "$k" --test || failed=1;;
  early)
    # Without Docker's own rules for IPv6 there is nothing of it to guard.
    again early $p "$(fw_own $p)" || [ $p = ip6tables ] || failed=1;;
  late)
    k=$(fw_kind $p) || { [ $p = ip6tables ] || { echo 'there is no chain DOCKER-USER' >&2; failed=1; }; continue; }
    again late $p "$k" || { failed=1; continue; }
    for o in nft legacy; do
      again clear $p $o mangle FORWARD || failed=1
      [ $o = "$k" ] || again clear $p $o filter DOCKER-USER || failed=1
    done;;
  remove)
    for o in nft legacy; do
      again clear $p $o mangle FORWARD || failed=1
      again clear $p $o filter DOCKER-USER || failed=1
    done;;
  esac
done
exit $failed
END
file 600 0:0 /etc/kamal-firewall/rules.v4 <<'END'
:KAMAL-FW - [0:0]
:KAMAL-FW-ALLOW - [0:0]
-A KAMAL-FW -m conntrack --ctstate ESTABLISHED,RELATED -j RETURN
-A KAMAL-FW -i eth0 -m conntrack --ctstate DNAT --ctdir ORIGINAL -j KAMAL-FW-ALLOW
-A KAMAL-FW-ALLOW -m conntrack --ctorigdst 127.0.0.0/8 -j DROP
-A KAMAL-FW-ALLOW -p tcp -m conntrack --ctorigdstport 80 -j RETURN
-A KAMAL-FW-ALLOW -p tcp -m conntrack --ctorigdstport 443 -j RETURN
-A KAMAL-FW-ALLOW -s 198.51.100.0/24 -p udp -m conntrack --ctorigdstport 8000:8100 -j RETURN
-A KAMAL-FW-ALLOW -s 203.0.113.7/32 -p udp -m conntrack --ctorigdstport 8000:8100 -j RETURN
-A KAMAL-FW-ALLOW -j DROP
END
file 600 0:0 /etc/kamal-firewall/rules.v6 <<'END'
:KAMAL-FW - [0:0]
:KAMAL-FW-ALLOW - [0:0]
-A KAMAL-FW -m conntrack --ctstate ESTABLISHED,RELATED -j RETURN
-A KAMAL-FW -i eth0 -m conntrack --ctstate DNAT --ctdir ORIGINAL -j KAMAL-FW-ALLOW
-A KAMAL-FW-ALLOW -p tcp -m conntrack --ctorigdstport 80 -j RETURN
-A KAMAL-FW-ALLOW -p tcp -m conntrack --ctorigdstport 443 -j RETURN
-A KAMAL-FW-ALLOW -s 2001:db8::/32 -p udp -m conntrack --ctorigdstport 8000:8100 -j RETURN
-A KAMAL-FW-ALLOW -j DROP
END
file 600 0:0 /etc/kamal-firewall/spec.json <<'END'
{"allow":[{"port":"80"},{"port":"443","description":"HTTPS"},{"port":"8000-8100","protocol":"udp","sources":["198.51.100.0/24","2001:db8::/32","203.0.113.7"]}]}
END
file 644 0:0 /etc/systemd/system/kamal-firewall-early.service <<'END'
# Written by kamal_firewall of terraform-provider-kamal.
[Unit]
Description=Firewall for the ports that Docker publishes, while Docker starts
After=network-pre.target nftables.service netfilter-persistent.service ufw.service
Before=docker.service

[Service]
Type=oneshot
ExecStart=/bin/sh /etc/kamal-firewall/load early

[Install]
WantedBy=docker.service
END
file 644 0:0 /etc/systemd/system/kamal-firewall.service <<'END'
# Written by kamal_firewall of terraform-provider-kamal.
[Unit]
Description=Firewall for the ports that Docker publishes
After=docker.service
PartOf=docker.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh /etc/kamal-firewall/load late

[Install]
WantedBy=docker.service
END
dir 755 0:0 /root/.kamal
dir 755 0:0 /root/.kamal/apps
dir 755 0:0 /root/.kamal/apps/shop
dir 755 0:0 /root/.kamal/apps/shop-staging
dir 755 0:0 /root/.kamal/apps/shop-staging/env
dir 755 0:0 /root/.kamal/apps/shop-staging/env/roles
file 600 0:0 /root/.kamal/apps/shop-staging/env/roles/web.env <<'END'

END
dir 755 0:0 /root/.kamal/apps/shop/env
dir 755 0:0 /root/.kamal/apps/shop/env/accessories
file 600 0:0 /root/.kamal/apps/shop/env/accessories/db.env <<'END'
PASSWORD=not-a-secret
END
file 600 0:0 /root/.kamal/apps/shop/env/accessories/search.env <<'END'

END
dir 755 0:0 /root/.kamal/apps/shop/env/roles
file 600 0:0 /root/.kamal/apps/shop/env/roles/jobs.env <<'END'
PASSWORD=not-a-secret
END
file 600 0:0 /root/.kamal/apps/shop/env/roles/web.env <<'END'
KEY=not-a-secret\nin two lines
PASSWORD=not-a-secret
name.with.dots=not-a-secret
END
dir 700 0:0 /root/.kamal/apps/shop/secrets
dir 755 0:0 /root/.kamal/apps/shop/secrets/accessory-db.121d91ddddfa8f77
whole 444 0:0 /root/.kamal/apps/shop/secrets/accessory-db.121d91ddddfa8f77/TOKEN <<'END'
not-a-secret as a file
END
dir 755 0:0 /root/.kamal/apps/shop/secrets/accessory-db.a8a2b1c000f15b73
file 600 999:0 /root/.kamal/apps/shop/secrets/accessory-db.a8a2b1c000f15b73/2,0600,999 <<'END'
not-a-secret in a file
END
dir 755 0:0 /root/.kamal/apps/shop/secrets/role-web.5b6355e35023cc58
whole 444 0:0 /root/.kamal/apps/shop/secrets/role-web.5b6355e35023cc58/TOKEN <<'END'
not-a-secret as a file
END
dir 755 0:0 /root/.kamal/apps/shop/secrets/role-web.9a57acee09bb6baa
whole 444 0:0 /root/.kamal/apps/shop/secrets/role-web.9a57acee09bb6baa/TOKEN <<'END'
not-a-secret as a file
END
whole 644 0:0 /root/.kamal/lock.flock <<'END'

END
dir 755 0:0 /root/.kamal/proxy
dir 755 0:0 /root/.kamal/proxy/apps-config
dir 755 0:0 /root/.kamal/proxy/apps-config/shop
dir 755 0:0 /root/.kamal/proxy/apps-config/shop/tls
dir 755 0:0 /root/.kamal/proxy/apps-config/shop/tls/web
file 644 0:0 /root/.kamal/proxy/apps-config/shop/tls/web/cert.pem <<'END'
-----BEGIN CERTIFICATE-----
MIIBwjCCAWigAwIBAgIUL2dwHUYme7hH94wqzPJAaAnrlJIwCgYIKoZIzj0EAwIw
GzEZMBcGA1UEAwwQc2hvcC5leGFtcGxlLmNvbTAgFw0yNjExMjcxMjI0MTBaGA8y
MTI2MTEwMzEyMjQxMFowGzEZMBcGA1UEAwwQc2hvcC5leGFtcGxlLmNvbTBZMBMG
ByqGSM49AgEGCCqGSM49AwEHA0IABB4za5SIx1+Iabx5Khua8u9+gl8JeyQYnaTT
lhUUx/3R6Th4/2I5A7ocH7LlBtTiozN/jHMUDy2RsK8ClNzdzROjgYcwgYQwHQYD
VR0OBBYEFE/wH3mVBsWCTmBq0yeUB+zEhThAMB8GA1UdIwQYMBaAFE/wH3mVBsWC
TmBq0yeUB+zEhThAMA8GA1UdEwEB/wQFMAMBAf8wMQYDVR0RBCowKIIQc2hvcC5l
eGFtcGxlLmNvbYIUd3d3LnNob3AuZXhhbXBsZS5jb20wCgYIKoZIzj0EAwIDSAAw
RQIhAJ/i2nGgh8Wl2bSv0/2wwLxHLvvHy/9Ja6y+x9WsfJlUAiA4kH3zoBxdFIXz
69uD7LXX23rKNHamiX3pA0JecufYtg==
-----END CERTIFICATE-----
END
file 400 1000:1000 /root/.kamal/proxy/apps-config/shop/tls/web/key.pem <<'END'
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgF56XBz08PIUBVlGA
a/eJSNz5tZjZ2TM6uGSA4ZCOTlihRANCAAQeM2uUiMdfiGm8eSobmvLvfoJfCXsk
GJ2k05YVFMf90ek4eP9iOQO6HB+y5QbU4qMzf4xzFA8tkbCvApTc3c0T
-----END PRIVATE KEY-----
END
file 644 0:0 /root/.kamal/shop-audit.log <<'END'
[2026-11-27T13:27:06Z] [root@workstation] [jobs] Booted app version v1
[2026-11-27T13:27:20Z] [root@workstation] [search] Booted accessory search
[2026-11-27T13:27:33Z] [root@workstation] [db] Booted accessory db
[2026-11-27T13:27:42Z] [root@workstation] [migrate] Ran task migrate
[2026-11-27T13:27:50Z] [root@workstation] [seed] Ran task seed
[2026-11-27T13:27:59Z] [root@workstation] [web] Booted app version v1
[2026-11-27T13:28:39Z] [root@workstation] [db] Booted accessory db
[2026-11-27T13:28:47Z] [root@workstation] [migrate] Ran task migrate
[2026-11-27T13:28:55Z] [root@workstation] [web] Booted app version v2
END
file 644 0:0 /root/.kamal/shop-staging-audit.log <<'END'
[2026-11-27T13:27:04Z] [root@workstation] [staging] [web] Booted app version v1
END
dir 755 0:0 /root/.kamal/terraform
file 600 0:0 /root/.kamal/terraform/accessory.shop-db.json <<'END'
{"kind":"accessory","name":"shop-db","state":"owned","run":"7b3183bee67f8ec1","by":"root@workstation","at":"2026-11-27T13:28:39.026949409Z","created":["directory /root/shop-db/conf","directory /srv/logs","volume shop-data"]}
END
file 600 0:0 /root/.kamal/terraform/accessory.shop-search.json <<'END'
{"kind":"accessory","name":"shop-search","state":"owned","run":"42eccf854e430825","by":"root@workstation","at":"2026-11-27T13:27:20.007882404Z"}
END
whole 644 0:0 /root/.kamal/terraform/proxy.flock <<'END'

END
file 600 0:0 /root/.kamal/terraform/proxy.kamal-proxy.json <<'END'
{"kind":"proxy","name":"kamal-proxy","state":"owned","run":"42eccf854e430825","by":"root@workstation","at":"2026-11-27T13:26:31.139545529Z"}
END
file 600 0:0 /root/.kamal/terraform/role.shop-jobs.json <<'END'
{"kind":"role","name":"shop-jobs","state":"owned","run":"42eccf854e430825","by":"root@workstation","at":"2026-11-27T13:27:06.389348338Z"}
END
file 600 0:0 /root/.kamal/terraform/role.shop-web-staging.json <<'END'
{"kind":"role","name":"shop-web-staging","state":"owned","run":"42eccf854e430825","by":"root@workstation","at":"2026-11-27T13:27:04.478939958Z"}
END
file 600 0:0 /root/.kamal/terraform/role.shop-web.json <<'END'
{"kind":"role","name":"shop-web","state":"owned","run":"42eccf854e430825","by":"root@workstation","at":"2026-11-27T13:27:59.122263261Z"}
END
file 600 0:0 /root/.kamal/terraform/route.shop-search.json <<'END'
{"kind":"route","name":"shop-search","state":"owned","run":"956b46e876bbea44","by":"root@workstation","at":"2026-11-27T13:27:30.138541459Z"}
END
file 600 0:0 /root/.kamal/terraform/route.shop-web-staging.json <<'END'
{"kind":"route","name":"shop-web-staging","state":"owned","run":"d495ca27176402ac","by":"root@workstation","at":"2026-11-27T13:27:14.860097092Z"}
END
file 600 0:0 /root/.kamal/terraform/route.shop-web.json <<'END'
{"kind":"route","name":"shop-web","state":"owned","run":"0b1129f81d4c81a0","by":"root@workstation","at":"2026-11-27T13:28:03.28339329Z"}
END
dir 755 0:0 /root/shop-db
dir 755 0:0 /root/shop-db/conf
dir 755 0:0 /root/shop-db/files
dir 755 0:0 /root/shop-db/files/11aebdd25585
dir 755 0:0 /root/shop-db/files/11aebdd25585/etc
whole 640 999:998 /root/shop-db/files/11aebdd25585/etc/owned.cnf <<'END'
no newline at its end
END
dir 755 0:0 /root/shop-db/files/f6248348fa4b
dir 755 0:0 /root/shop-db/files/f6248348fa4b/etc
file 644 0:0 /root/shop-db/files/f6248348fa4b/etc/db.cnf <<'END'
mood = calm
END
dir 755 0:0 /srv/logs
dir 755 0:0 /srv/shop

systemctl reset-failed docker
systemctl restart docker
docker network create kamal >/dev/null
systemctl daemon-reload
systemctl enable --quiet kamal-firewall.service kamal-firewall-early.service
systemctl reset-failed kamal-firewall.service kamal-firewall-early.service
systemctl start kamal-firewall.service
docker pull -q 192.0.2.20:5000/basecamp/kamal-proxy:v0.9.2 >/dev/null
docker rm --force kamal-proxy-new >/dev/null
kamal_proxy=$(docker create --restart unless-stopped --name kamal-proxy-new --network kamal --log-opt max-size=5m --volume kamal-proxy-config:/home/kamal-proxy/.config/kamal-proxy --volume /root/.kamal/proxy/apps-config:/home/kamal-proxy/.apps-config --publish 192.0.2.10:80:80 --publish 127.0.0.1:80:80 --publish 192.0.2.10:443:443 --publish 127.0.0.1:443:443 --expose 9090 192.0.2.20:5000/basecamp/kamal-proxy:v0.9.2 kamal-proxy run --metrics-port 9090 --debug)
docker rename kamal-proxy-new kamal-proxy >/dev/null
docker start kamal-proxy >/dev/null
docker pull -q 192.0.2.20:5000/app:v1 >/dev/null
docker pull -q 192.0.2.20:5000/app:v1 >/dev/null
shop_web_staging_v1=$(docker run --detach --restart unless-stopped --name shop-web-staging-v1 --network kamal --hostname 192.0.2.10-ecf79dc6c68e --env KAMAL_CONTAINER_NAME=shop-web-staging-v1 --env KAMAL_DESTINATION=staging --env KAMAL_HOST=192.0.2.10 --env KAMAL_VERSION=v1 --log-driver json-file --log-opt max-size=10m --label destination=staging --label kamal-terraform.run=42eccf854e430825 --label role=web --label service=shop 192.0.2.20:5000/app:v1)
shop_jobs_v1=$(docker run --detach --restart unless-stopped --name shop-jobs-v1 --network kamal --hostname 192.0.2.10-6ce41b63f07a --env KAMAL_CONTAINER_NAME=shop-jobs-v1 --env KAMAL_HOST=192.0.2.10 --env KAMAL_VERSION=v1 --env PASSWORD=not-a-secret --log-driver json-file --log-opt max-size=10m --label destination= --label kamal-terraform.run=42eccf854e430825 --label role=jobs --label service=shop 192.0.2.20:5000/app:v1 app worker)
docker tag 192.0.2.20:5000/app:v1 192.0.2.20:5000/app:latest-staging >/dev/null
docker tag 192.0.2.20:5000/app:v1 192.0.2.20:5000/app:latest >/dev/null
docker pull -q 192.0.2.20:5000/app:v3 >/dev/null
shop_search=$(docker create --restart no --name shop-search_next_5e04c2e5a542c939 --network kamal --env KAMAL_HOST=192.0.2.10 --log-driver json-file --log-opt max-size=10m --label kamal-terraform.run=42eccf854e430825 --label service=shop-search 192.0.2.20:5000/app:v3)
docker rename shop-search_next_5e04c2e5a542c939 shop-search >/dev/null
docker update --restart unless-stopped shop-search >/dev/null
docker start shop-search >/dev/null
docker exec kamal-proxy kamal-proxy deploy shop-web-staging --target="${shop_web_staging_v1:0:12}":3000 --deploy-timeout=30s --drain-timeout=30s --health-check-path=/up --health-check-port=0 --health-check-interval=1s --health-check-timeout=5s --host=shop.example.com --path-prefix=/staging --path-prefix=/next --strip-path-prefix=false --tls-staging=false --writer-affinity-timeout=1s --read-target-websockets=false --target-timeout=30s --buffer-requests=true --buffer-responses=true --buffer-memory=1048576 --max-request-body=0 --max-response-body=0 --log-request-header=Cache-Control --log-request-header=Last-Modified --log-request-header=User-Agent --forward-headers=true --scope-cookie-paths=false >/dev/null
docker exec kamal-proxy kamal-proxy stop shop-web-staging --drain-timeout=30s '--message=Back at noon' >/dev/null
docker pull -q 192.0.2.20:5000/app:withhealth >/dev/null
docker exec kamal-proxy kamal-proxy deploy shop-search --target="${shop_search:0:12}":3000 --deploy-timeout=1m0s --drain-timeout=30s --health-check-path=/up --health-check-port=0 --health-check-interval=1s --health-check-timeout=5s --host=search.example.com --path-prefix=/ --strip-path-prefix=true --tls=true --tls-redirect=true --tls-staging=true --writer-affinity-timeout=1s --read-target-websockets=false --target-timeout=30s --buffer-requests=true --buffer-responses=true --buffer-memory=1048576 --max-request-body=0 --max-response-body=0 --log-request-header=Cache-Control --log-request-header=Last-Modified --log-request-header=User-Agent --forward-headers=false --scope-cookie-paths=false >/dev/null
docker pull -q 192.0.2.20:5000/app:v1 >/dev/null
shop_web_v1=$(docker run --env name.with.dots=not-a-secret --detach --restart unless-stopped --name shop-web-v1 --network kamal --hostname 192.0.2.10-0a99c81ad95f --env DATABASE_URL=postgresql://shop:p%40ss%2Fw%3Ard@shop-db:5432/shop --env KAMAL_CONTAINER_NAME=shop-web-v1 --env KAMAL_HOST=192.0.2.10 --env KAMAL_VERSION=v1 --env REDIS_URL=redis://shop-redis:6379/0 --env TOKEN_FILE=/run/secrets/TOKEN --env 'KEY=not-a-secret
in two lines' --env PASSWORD=not-a-secret --log-driver json-file --log-opt max-file=2 --log-opt max-size=1m --volume shop-storage:/storage --volume /srv/shop:/srv:ro --volume /root/.kamal/apps/shop/secrets/role-web.5b6355e35023cc58:/run/secrets:ro --label destination= --label kamal-terraform.run=42eccf854e430825 --label role=web --label service=shop --label team=shop --memory 268435456 --cpus 0.75 192.0.2.20:5000/app:v1 app server)
docker tag 192.0.2.20:5000/app:v1 192.0.2.20:5000/app:latest >/dev/null
docker exec kamal-proxy kamal-proxy deploy shop-web --target="${shop_web_v1:0:12}":3000 --deploy-timeout=1m0s --drain-timeout=3s --health-check-path=/up --health-check-port=0 --health-check-interval=500ms --health-check-timeout=3s --host=shop.example.com --host=www.shop.example.com --path-prefix=/ --strip-path-prefix=true --tls=true --tls-redirect=false --tls-staging=false --tls-certificate-path=/home/kamal-proxy/.apps-config/shop/tls/web/cert.pem --tls-private-key-path=/home/kamal-proxy/.apps-config/shop/tls/web/key.pem --canonical-host=shop.example.com --writer-affinity-timeout=1s --read-target-websockets=false --target-timeout=1m0s --buffer-requests=true --buffer-responses=false --buffer-memory=65536 --max-request-body=1048576 --max-response-body=0 --log-request-header=X-Request-Id --log-response-header=Content-Type --forward-headers=true --scope-cookie-paths=false >/dev/null
shop_db=$(docker create --restart no --name shop-db_next_d490b5f5e0b31858 --network kamal --env KAMAL_HOST=192.0.2.10 --env MOOD=calm --env RELEASE=v2 --env TOKEN_FILE=/run/secrets/TOKEN --env PASSWORD=not-a-secret --log-driver local --log-opt max-file=2 --volume shop-data:/data --volume /srv/shop:/srv:ro --volume /root/shop-db/conf:/conf --volume /srv/logs:/logs --volume /root/shop-db/files/f6248348fa4b/etc/db.cnf:/etc/db.cnf --volume /root/shop-db/files/11aebdd25585/etc/owned.cnf:/etc/owned.cnf --volume /root/.kamal/apps/shop/secrets/accessory-db.121d91ddddfa8f77:/run/secrets:ro --volume /root/.kamal/apps/shop/secrets/accessory-db.a8a2b1c000f15b73/2,0600,999:/etc/db.key --publish 127.0.0.1:5432:3000 --publish 0.0.0.0:8053:53/udp --label kamal-terraform.run=7b3183bee67f8ec1 --label service=shop-db --label team=shop --memory 134217728 --cpus 0.5 --shm-size 100663296 --ulimit nofile=4096:8192 --ulimit nproc=512 --user 0:0 --init --read-only --cap-add SYS_NICE --cap-drop NET_RAW --sysctl net.core.somaxconn=512 --tmpfs /scratch:size=1m --tmpfs /spare --add-host mail:10.0.0.9 --security-opt no-new-privileges 192.0.2.20:5000/app:withhealth app server 'with every attribute')
docker rename shop-db_next_d490b5f5e0b31858 shop-db >/dev/null
docker update --restart always shop-db >/dev/null
docker start shop-db >/dev/null
docker pull -q 192.0.2.20:5000/app:v2 >/dev/null
docker pull -q 192.0.2.20:5000/app:v2 >/dev/null
shop_web_v2=$(docker run --env name.with.dots=not-a-secret --detach --restart unless-stopped --name shop-web-v2 --network kamal --hostname 192.0.2.10-f992a893b28e --env DATABASE_URL=postgresql://shop:p%40ss%2Fw%3Ard@shop-db:5432/shop --env KAMAL_CONTAINER_NAME=shop-web-v2 --env KAMAL_HOST=192.0.2.10 --env KAMAL_VERSION=v2 --env REDIS_URL=redis://shop-redis:6379/0 --env TOKEN_FILE=/run/secrets/TOKEN --env 'KEY=not-a-secret
in two lines' --env PASSWORD=not-a-secret --log-driver json-file --log-opt max-file=2 --log-opt max-size=1m --volume shop-storage:/storage --volume /srv/shop:/srv:ro --volume /root/.kamal/apps/shop/secrets/role-web.9a57acee09bb6baa:/run/secrets:ro --label destination= --label kamal-terraform.run=7b3183bee67f8ec1 --label role=web --label service=shop --label team=shop --memory 268435456 --cpus 0.75 192.0.2.20:5000/app:v2 app server)
docker exec kamal-proxy kamal-proxy deploy shop-web --target="${shop_web_v2:0:12}":3000 --deploy-timeout=1m0s --drain-timeout=3s --health-check-path=/up --health-check-port=0 --health-check-interval=500ms --health-check-timeout=3s --host=shop.example.com --host=www.shop.example.com --path-prefix=/ --strip-path-prefix=true --tls=true --tls-redirect=false --tls-staging=false --tls-certificate-path=/home/kamal-proxy/.apps-config/shop/tls/web/cert.pem --tls-private-key-path=/home/kamal-proxy/.apps-config/shop/tls/web/key.pem --tls-acme-cache-path=/home/kamal-proxy/.config/kamal-proxy/certs --canonical-host=shop.example.com --writer-affinity-timeout=1s --read-target-websockets=false --target-timeout=1m0s --buffer-requests=true --buffer-responses=false --buffer-memory=65536 --max-request-body=1048576 --max-response-body=0 --log-request-header=X-Request-Id --log-response-header=Content-Type --forward-headers=true --scope-cookie-paths=false >/dev/null
docker stop -t 5 "$shop_web_v1" >/dev/null
docker tag 192.0.2.20:5000/app:v2 192.0.2.20:5000/app:latest >/dev/null
