terraform {
  required_version = ">= 1.11"
  required_providers {
    kamal = {
      source = "kamal-terraform/kamal"
    }
  }
}

provider "kamal" {
  ssh = { user = "root", private_key_file = "~/.ssh/id_ed25519" }
  registries = {
    (var.registry) = { username = var.registry_username, password = var.registry_password }
  }
}

variable "registry" {
  description = "The registry of the app's image, as in ghcr.io."
  type        = string
}

variable "registry_username" {
  type = string
}

variable "registry_password" {
  description = "May be a short-lived token: a registry's log-in is never a change in a plan."
  type        = string
  ephemeral   = true
}
