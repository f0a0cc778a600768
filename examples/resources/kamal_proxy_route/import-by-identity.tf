import {
  to = kamal_proxy_route.web
  identity = {
    service = "shop-web"
    servers = ["10.0.0.1", "10.0.0.2"]
  }
}
