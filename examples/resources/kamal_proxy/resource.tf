resource "kamal_server" "web" {
  for_each = toset(["10.0.0.1", "10.0.0.2"])

  server = each.key
}

# kamal-proxy on each of them, as Kamal boots it.
resource "kamal_proxy" "web" {
  for_each = kamal_server.web

  server = each.value.server
}

# Beside another web server, on ports and an address of its own.
resource "kamal_proxy" "beside_nginx" {
  server         = "10.0.0.3"
  http_port      = 8080
  https_port     = 8443
  bind_addresses = ["127.0.0.1"]
  metrics_port   = 9090
}
