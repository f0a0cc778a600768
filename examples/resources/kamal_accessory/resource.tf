variable "db_password" {
  type      = string
  ephemeral = true
}

# Postgres for the app. Its containers reach it as shop-db:5432 over the
# network kamal; the port is for you, through an SSH tunnel: it is bound to
# 127.0.0.1 on the server.
resource "kamal_accessory" "db" {
  server      = kamal_server.db.server
  service     = "shop"
  name        = "db"
  image       = "postgres:17.2"
  env         = { POSTGRES_USER = "shop" }
  secrets     = { POSTGRES_PASSWORD = var.db_password }
  ports       = ["5432:5432"]
  volumes     = ["shop-db:/var/lib/postgresql/data"]
  files       = [{ path = "/docker-entrypoint-initdb.d/init.sql", content = file("${path.module}/init.sql") }]
  memory      = "1g"
  options     = { shm_size = "256m" }
  healthcheck = { command = ["pg_isready", "-h", "127.0.0.1", "-U", "shop"] }
}

# Redis, ready when its port takes connections.
resource "kamal_accessory" "redis" {
  server      = kamal_server.db.server
  service     = "shop"
  name        = "redis"
  image       = "redis:7.4"
  command     = ["redis-server", "--appendonly", "yes"]
  directories = ["data:/data"] # ~/shop-redis/data on the server
  healthcheck = { port = 6379 }
}

# A search engine that visitors reach through kamal-proxy.
resource "kamal_accessory" "search" {
  server            = kamal_server.db.server
  service           = "shop"
  name              = "search"
  image             = "getmeili/meilisearch:v1.12"
  volumes           = ["shop-search:/meili_data"]
  app_port          = 7700
  proxy_healthcheck = { path = "/health" }
}

resource "kamal_proxy_route" "search" {
  target  = kamal_accessory.search.proxy
  servers = [kamal_accessory.search.server]
  hosts   = ["search.example.com"]
}
