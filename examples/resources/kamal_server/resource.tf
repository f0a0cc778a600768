# Docker is installed where it is missing, and set up.
resource "kamal_server" "web" {
  for_each = toset(["10.0.0.1", "10.0.0.2"])

  server = each.key
}

# A server that just came into being: it is waited for while it boots.
resource "kamal_server" "worker" {
  server = "root@${hcloud_server.worker.ipv4_address}"

  docker = {
    log_max_size = "50m"
    log_max_file = 5

    # Docker from its own repository, in place of the distribution's packages.
    install_script = file("get-docker.sh")

    registry_mirrors = ["https://mirror.example.com"]
    daemon_json      = jsonencode({ default-address-pools = [{ base = "10.99.0.0/16", size = 24 }] })
  }

  swap = { size = "2g" }
}
