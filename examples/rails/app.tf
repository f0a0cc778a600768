resource "kamal_server" "web" {
  server = var.server
}

resource "kamal_proxy" "web" {
  server = kamal_server.web.server
  image  = var.proxy_image
}

# Before any role runs a new version, its migrations have run: once.
resource "kamal_task" "migrate" {
  server   = kamal_server.web.server
  service  = "shop"
  name     = "migrate"
  image    = "${var.image}:${var.release}"
  command  = var.migrate_command
  env      = var.env
  secrets  = { DATABASE_URL = local.database_url, REDIS_URL = local.redis_url, SECRET_KEY_BASE = var.secret_key_base }
  triggers = { release = var.release, machine = kamal_server.web.machine_id }

  depends_on = [kamal_task.database_user, kamal_accessory.redis]
}

resource "kamal_app_role" "web" {
  service     = "shop"
  role        = "web"
  servers     = [kamal_proxy.web.server]
  image       = "${var.image}:${var.release}"
  env         = var.env
  secrets     = { DATABASE_URL = local.database_url, REDIS_URL = local.redis_url, SECRET_KEY_BASE = var.secret_key_base }
  app_port    = 3000
  healthcheck = { path = "/up" }

  depends_on = [kamal_task.migrate] # a migration that fails keeps the old version
}

resource "kamal_app_role" "job" {
  service         = "shop"
  role            = "job"
  servers         = [kamal_server.web.server]
  image           = "${var.image}:${var.release}"
  command         = var.job_command
  env             = var.env
  secrets         = { DATABASE_URL = local.database_url, REDIS_URL = local.redis_url, SECRET_KEY_BASE = var.secret_key_base }
  readiness_delay = "2s"

  depends_on = [kamal_task.migrate]
}

resource "kamal_proxy_route" "web" {
  target  = kamal_app_role.web.proxy
  servers = kamal_app_role.web.servers
  hosts   = var.hosts
  # tls   = { acme = true } # once the names lead here
}
