terraform {
  required_version = ">= 1.11"
  required_providers {
    kamal = {
      source = "kamal-terraform/kamal"
    }
  }
}

provider "kamal" {
  ssh = {
    private_key_file = var.ssh_private_key_file
    known_hosts      = var.ssh_known_hosts
  }
  registries = {
    (var.registry) = { username = var.registry_username, password = var.registry_password }
  }
}

# Docker, where it is missing, and Kamal's network.
resource "kamal_server" "web" {
  for_each = toset(var.servers)
  server   = each.key
}

# kamal-proxy, on ports 80 and 443 of each server.
resource "kamal_proxy" "web" {
  for_each = kamal_server.web
  server   = each.value.server
  image    = var.proxy_image
}

# The app. A new image replaces the containers, one server after the other, and
# only once the new one answers its health check.
resource "kamal_app_role" "web" {
  service     = "shop"
  role        = "web"
  servers     = [for address in var.servers : kamal_proxy.web[address].server]
  image       = "${var.registry}/app:${var.release}"
  app_port    = 3000
  healthcheck = { path = "/up" }
  boot        = { limit = 1, on_failure = "rollback" }
}

# What the proxies do with requests. A change here restarts no container.
resource "kamal_proxy_route" "web" {
  target  = kamal_app_role.web.proxy
  servers = kamal_app_role.web.servers
  hosts   = var.hosts
}
