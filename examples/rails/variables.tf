variable "server" {
  description = "Address of the server."
  type        = string
}

variable "image" {
  description = "The app's image, without its tag."
  type        = string
}

variable "release" {
  description = "The version of the app: the image's tag."
  type        = string
}

variable "hosts" {
  description = "Domain names of the app."
  type        = list(string)
}

variable "migrate_command" {
  type    = list(string)
  default = ["bin/rails", "db:migrate"]
}

variable "job_command" {
  type    = list(string)
  default = ["bin/jobs"]
}

variable "env" {
  description = "Variables of the app that are no secrets."
  type        = map(string)
  default     = { RAILS_ENV = "production" }
}

variable "postgres_image" {
  description = "A new minor version opens the data of the one before. A new major version does not: dump and restore."
  type        = string
  default     = "postgres:17.2"
}

variable "redis_image" {
  type    = string
  default = "redis:7.4"
}

variable "proxy_image" {
  description = "kamal-proxy's image, without its tag."
  type        = string
  default     = "basecamp/kamal-proxy"
}

variable "backup_seconds" {
  description = "Time between two dumps of the database."
  type        = number
  default     = 86400
}

variable "restore" {
  description = "Name of a dump in the volume shop-backups to go back to, as in 20261125T030000Z.dump. None: nothing is restored."
  type        = string
  default     = null
}

# Secrets. Ephemeral and without a default: they are in no state and no plan. Give
# them in the environment (TF_VAR_…), or take them from an ephemeral resource.

variable "postgres_password" {
  description = "Of the superuser, set when the database is made."
  type        = string
  ephemeral   = true
}

variable "database_user" {
  description = "The user that the app logs in as. To rotate its password without a failed request, name another user and give that one's password: see the README."
  type        = string
  default     = "shop_blue"
}

variable "database_password" {
  description = "Of database_user."
  type        = string
  ephemeral   = true
}

variable "redis_password" {
  type      = string
  ephemeral = true
}

variable "secret_key_base" {
  type      = string
  ephemeral = true
}
