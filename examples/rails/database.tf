resource "kamal_accessory" "db" {
  server           = kamal_server.web.server
  service          = "shop"
  name             = "db" # other containers reach it as shop-db; no port is published
  image            = var.postgres_image
  env              = { POSTGRES_DB = "shop" }
  secrets          = { POSTGRES_PASSWORD = var.postgres_password }
  secrets_as_files = ["POSTGRES_PASSWORD"] # as POSTGRES_PASSWORD_FILE, which docker inspect doesn't show
  volumes          = ["shop-db:/var/lib/postgresql/data"]
  options          = { shm_size = "256m" }
  # While the image makes the database, it listens on no address.
  healthcheck = { command = ["pg_isready", "--host", "127.0.0.1", "--username", "postgres"] }
}

resource "kamal_accessory" "redis" {
  server      = kamal_server.web.server
  service     = "shop"
  name        = "redis"
  image       = var.redis_image
  command     = ["redis-server", "/etc/redis.conf"]
  volumes     = ["shop-redis:/data"]
  healthcheck = { port = 6379 }
  files = [{
    path           = "/etc/redis.conf"
    secret_content = "appendonly yes\nprotected-mode no\ndir /data\nrequirepass \"${replace(replace(var.redis_password, "\\", "\\\\"), "\"", "\\\"")}\"\n"
  }]
}

# The user that the app logs in as, and its password: made where it is missing,
# and set anew when the name or the password changes. Users come and go; what
# they make belongs to the role shop, which all of them are.
resource "kamal_task" "database_user" {
  server  = kamal_accessory.db.server
  service = "shop"
  name    = "database-user"
  image   = kamal_accessory.db.image
  command = ["sh", "-c", <<-EOT
    exec psql --set ON_ERROR_STOP=1 <<'SQL'
    \getenv user APP_USER
    \getenv password APP_PASSWORD
    SELECT 'CREATE ROLE shop NOLOGIN' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'shop') \gexec
    ALTER DATABASE shop OWNER TO shop;
    SELECT format('CREATE ROLE %I IN ROLE shop', :'user') WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'user') \gexec
    ALTER ROLE :"user" LOGIN PASSWORD :'password';
    ALTER ROLE :"user" SET role TO shop;
    SQL
    EOT
  ]
  env = {
    PGHOST     = "shop-db"
    PGUSER     = "postgres"
    PGDATABASE = "shop"
    APP_USER   = var.database_user
  }
  secrets         = { PGPASSWORD = var.postgres_password, APP_PASSWORD = var.database_password }
  secret_triggers = ["APP_PASSWORD"]
  triggers        = { user = var.database_user, machine = kamal_accessory.db.machine_id }
}

locals {
  # Whatever is in a password, the URL is right.
  database_url = provider::kamal::postgres_url(var.database_user, var.database_password, "shop-db", 5432, "shop")
  redis_url    = provider::kamal::redis_url(var.redis_password, "shop-redis", 6379, 0)
}
