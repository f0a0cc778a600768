# The world reaches the proxy, the office reaches the database, and nobody the rest.
resource "kamal_firewall" "web" {
  server = kamal_server.web.server

  allow = [
    { port = "80" },
    { port = "443" },
    {
      port        = "5432"
      sources     = ["198.51.100.0/24", "2001:db8:17::/48"]
      description = "Postgres, for the office"
    },
  ]
}
