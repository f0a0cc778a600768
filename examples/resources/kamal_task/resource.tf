variable "release" {
  type = string
}

variable "database_url" {
  type      = string
  ephemeral = true
}

# Migrations: run before each new version of the app is deployed, and only then.
resource "kamal_task" "migrate" {
  server   = kamal_server.web.server
  service  = "shop"
  name     = "migrate"
  image    = "registry.example.com/shop:${var.release}"
  command  = ["bin/rails", "db:migrate"]
  env      = { RAILS_ENV = "production" }
  secrets  = { DATABASE_URL = var.database_url }
  timeout  = "10m"
  triggers = { release = var.release }
}

resource "kamal_app_role" "web" {
  service = "shop"
  servers = [kamal_server.web.server]
  image   = "registry.example.com/shop:${var.release}"
  secrets = { DATABASE_URL = var.database_url }

  # A migration that fails keeps the old version.
  depends_on = [kamal_task.migrate]
}

# Seeds: once for each machine, so that a server made anew gets them too, and
# again when the password that they set has changed.
resource "kamal_task" "seed" {
  server           = kamal_server.web.server
  service          = "shop"
  name             = "seed"
  image            = kamal_task.migrate.image
  command          = ["bin/rails", "db:seed"]
  secrets          = { DATABASE_URL = var.database_url, ADMIN_PASSWORD = var.admin_password }
  secrets_as_files = ["ADMIN_PASSWORD"] # /run/secrets/ADMIN_PASSWORD
  secret_triggers  = ["ADMIN_PASSWORD"]
  triggers         = { machine = kamal_server.web.machine_id }
  depends_on       = [kamal_task.migrate]
}

variable "admin_password" {
  type      = string
  ephemeral = true
}
