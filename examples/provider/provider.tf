terraform {
  required_version = ">= 1.11"
  required_providers {
    kamal = {
      source = "kamal-terraform/kamal"
    }
  }
}

variable "ssh_private_key" {
  type      = string
  ephemeral = true
}

variable "registry_password" {
  type      = string
  ephemeral = true
}

provider "kamal" {
  ssh = {
    user        = "root"
    private_key = var.ssh_private_key
    known_hosts = file("${path.module}/known_hosts")
  }

  registries = {
    "registry.example.com" = {
      username = "deploy"
      password = var.registry_password
    }
  }
}
