# Every resource of the provider, with most of what each can have, and once with as little as each can
# have. What is secret here is so in name only.
terraform {
  required_providers {
    kamal = { source = "example.com/kamal-terraform/kamal" }
  }
}

variable "server" { default = "192.0.2.10" }
variable "registry" { default = "192.0.2.20:5000" }
variable "release" { default = "v2" }
variable "password" {
  default   = "not-a-secret"
  ephemeral = true
}

resource "kamal_server" "web" {
  server = var.server
  docker = {
    log_max_size        = "20m"
    log_max_file        = 2
    live_restore        = true
    registry_mirrors    = ["https://mirror.example.com"]
    insecure_registries = ["registry.example.com:5000"]
    daemon_json         = jsonencode({ "userland-proxy" = false, "max-concurrent-downloads" = 5 })
  }
  timeouts { create = "10m" }
}

resource "kamal_firewall" "web" {
  server = kamal_server.web.server
  allow = [
    { port = "80" },
    { port = "443", description = "HTTPS" },
    { port = "8000-8100", protocol = "udp", sources = ["198.51.100.0/24", "2001:db8::/32", "203.0.113.7"] },
  ]
}

resource "kamal_proxy" "web" {
  server         = kamal_firewall.web.server
  image          = "${var.registry}/basecamp/kamal-proxy"
  bind_addresses = [var.server, "127.0.0.1"]
  metrics_port   = 9090
  log_max_size   = "5m"
  debug          = true
}

# Created means ready: what follows can use it.
resource "kamal_accessory" "db" {
  server           = kamal_proxy.web.server
  service          = "shop"
  name             = "db"
  image            = "${var.registry}/app:withhealth"
  command          = ["app", "server", "with every attribute"]
  env              = { MOOD = "calm", RELEASE = var.release }
  secrets          = { PASSWORD = var.password, TOKEN = "${var.password} as a file" }
  secrets_as_files = ["TOKEN"]
  ports            = ["5432:3000", "0.0.0.0:8053:53/udp"]
  volumes          = ["shop-data:/data", "/srv/shop:/srv:ro"]
  directories      = ["conf:/conf", "/srv/logs:/logs"]
  files = [
    { path = "/etc/db.cnf", content = "mood = calm\n" },
    { path = "/etc/owned.cnf", content = "no newline at its end", mode = "0640", owner = "999:998" },
    { path = "/etc/db.key", secret_content = "${var.password} in a file\n", mode = "0600", owner = "999" },
  ]
  labels  = { team = "shop" }
  logging = { driver = "local", options = { max-file = "2" } }
  memory  = "128m"
  cpus    = 0.5
  options = {
    shm_size     = "96m"
    ulimits      = { nofile = "4096:8192", nproc = "512" }
    user         = "0:0"
    init         = true
    read_only    = true
    cap_add      = ["SYS_NICE"]
    cap_drop     = ["NET_RAW"]
    sysctls      = { "net.core.somaxconn" = "512" }
    tmpfs        = { "/scratch" = "size=1m", "/spare" = "" }
    add_hosts    = ["mail:10.0.0.9"]
    security_opt = ["no-new-privileges"]
    restart      = "always"
  }
  healthcheck    = { command = ["app", "healthcheck"] }
  stop_timeout   = "3s"
  deploy_timeout = "90s"
  delete_data    = true
}

resource "kamal_accessory" "search" {
  server      = kamal_proxy.web.server
  service     = "shop"
  name        = "search"
  image       = "${var.registry}/app:v3"
  app_port    = 3000
  healthcheck = { port = 3000 }
}

resource "kamal_task" "migrate" {
  server           = kamal_accessory.db.server
  service          = "shop"
  name             = "migrate"
  image            = "${var.registry}/app:${var.release}"
  command          = ["app", "env", "MOOD"]
  env              = { MOOD = "calm" }
  secrets          = { PASSWORD = var.password, TOKEN = "${var.password} as a file" }
  secrets_as_files = ["TOKEN"]
  secret_triggers  = ["PASSWORD"]
  triggers         = { release = var.release }
  volumes          = ["shop-data:/data"]
  timeout          = "5m"
}

resource "kamal_task" "seed" {
  server  = kamal_accessory.db.server
  service = "shop"
  name    = "seed"
  image   = "${var.registry}/app:v1"
  command = ["app", "exit", "0"]
}

resource "kamal_app_role" "web" {
  depends_on = [kamal_task.migrate]

  service = "shop"
  servers = [kamal_proxy.web.server]
  image   = "${var.registry}/app:${var.release}"
  pull    = "always"
  command = ["app", "server"]
  env = {
    DATABASE_URL = provider::kamal::postgres_url("shop", "p@ss/w:rd", "shop-db", 5432, "shop")
    REDIS_URL    = provider::kamal::redis_url("", "shop-redis", 6379, 0)
  }
  secrets           = { PASSWORD = var.password, KEY = "${var.password}\nin two lines", "name.with.dots" = var.password, TOKEN = "${var.password} as a file" }
  secrets_as_files  = ["TOKEN"]
  app_port          = 3000
  healthcheck       = { path = "/up", interval = "500ms", timeout = "3s" }
  verify            = ["app", "get", "http://127.0.0.1:3000/up"]
  volumes           = ["shop-storage:/storage", "/srv/shop:/srv:ro"]
  labels            = { team = "shop" }
  logging           = { driver = "json-file", options = { max-size = "1m", max-file = "2" } }
  memory            = "256m"
  cpus              = 0.75
  stop_timeout      = "5s"
  deploy_timeout    = "1m"
  drain_timeout     = "3s"
  boot              = { limit = 1, wait = "1s", on_failure = "halt" }
  retain_containers = 2
}

resource "kamal_app_role" "jobs" {
  service         = "shop"
  role            = "jobs"
  servers         = ["root@${kamal_proxy.web.server}:22"]
  image           = "${var.registry}/app:v1"
  command         = ["app", "worker"]
  secrets         = { PASSWORD = var.password }
  secrets_version = "1"
  readiness_delay = "1s"
}

resource "kamal_app_role" "staging" {
  service     = "shop"
  destination = "staging"
  servers     = [kamal_proxy.web.server]
  image       = "${var.registry}/app:v1"
  app_port    = 3000
}

resource "kamal_proxy_route" "web" {
  target           = kamal_app_role.web.proxy
  servers          = kamal_app_role.web.servers
  hosts            = ["shop.example.com", "www.shop.example.com"]
  tls              = { certificate_pem = local.certificate, private_key_pem = local.private_key, redirect = false }
  canonical_host   = "shop.example.com"
  forward_headers  = true
  response_timeout = "1m"
  buffering        = { requests = true, responses = false, memory = 65536, max_request_body = 1048576 }
  log_headers      = { request = ["X-Request-Id"], response = ["Content-Type"] }
}

resource "kamal_proxy_route" "staging" {
  target            = kamal_app_role.staging.proxy
  servers           = kamal_app_role.staging.servers
  hosts             = ["shop.example.com"]
  path_prefixes     = ["/staging", "/next"]
  strip_path_prefix = false
  maintenance       = { message = "Back at noon" }
}

resource "kamal_proxy_route" "search" {
  target  = kamal_accessory.search.proxy
  servers = [kamal_accessory.search.server]
  hosts   = ["search.example.com"]
  tls     = { acme = true, staging = true }
}
