# The role decides what is served, the route how visitors reach it.
resource "kamal_proxy_route" "web" {
  target  = kamal_app_role.web.proxy
  servers = kamal_app_role.web.servers
  hosts   = ["shop.example.com", "www.shop.example.com"]

  canonical_host = "shop.example.com"
  tls            = { acme = true } # on a single server; on several see below
}

# Another role below a path of the same host. It takes its TLS from the route
# above, and gets the requests without the prefix: /api/orders as /orders.
resource "kamal_proxy_route" "api" {
  target        = kamal_app_role.api.proxy
  servers       = kamal_app_role.api.servers
  hosts         = ["shop.example.com"]
  path_prefixes = ["/api"]
}

# Several servers behind a load balancer, with a certificate of your own. The
# private key is in no state: give it as an ephemeral value.
variable "admin_key" {
  type      = string
  ephemeral = true
}

resource "kamal_proxy_route" "admin" {
  target  = kamal_app_role.admin.proxy
  servers = kamal_app_role.admin.servers
  hosts   = ["admin.example.com"]

  tls = {
    certificate_pem = file("${path.module}/admin.pem")
    private_key_pem = var.admin_key
  }
  response_timeout = "60s"
  buffering        = { max_request_body = 10485760 }

  # Uncomment to show a maintenance page.
  # maintenance = { message = "Back at 5 pm." }
}

# A container that is no role, such as an accessory: its service is its name.
resource "kamal_proxy_route" "search" {
  target = {
    service     = "shop-search"
    app_port    = 7700
    healthcheck = { path = "/health" }
  }
  servers = ["10.0.0.3"]
  hosts   = ["search.example.com"]
}
