variable "release" {
  type = string
}

# Neither plan nor state holds it: ephemeral, and given as TF_VAR_master_key.
variable "master_key" {
  type      = string
  ephemeral = true
}

# The web role, on two servers one after the other. A new version is a new tag;
# the old tag again goes back to the old version, without a pull.
resource "kamal_app_role" "web" {
  service     = "shop"
  servers     = ["10.0.0.1", "10.0.0.2"]
  image       = "registry.example.com/shop:${var.release}"
  env         = { RAILS_ENV = "production" }
  secrets     = { RAILS_MASTER_KEY = var.master_key }
  app_port    = 3000
  healthcheck = { path = "/up" }
  boot        = { limit = 1 }
}

# A role without a port: jobs from the same image, with another command.
resource "kamal_app_role" "jobs" {
  service         = "shop"
  role            = "jobs"
  servers         = ["10.0.0.1"]
  image           = "registry.example.com/shop:${var.release}"
  command         = ["bin/jobs"]
  env             = { RAILS_ENV = "production" }
  secrets         = { RAILS_MASTER_KEY = var.master_key }
  readiness_delay = "10s"
  stop_timeout    = "2m" # what a job may take to end
}

# Another destination of the app, beside the first on the same server.
resource "kamal_app_role" "staging" {
  service     = "shop"
  destination = "staging"
  servers     = ["10.0.0.1"]
  image       = "registry.example.com/shop:${var.release}"
  app_port    = 3000
  memory      = "512m"
}
