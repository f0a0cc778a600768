import {
  to = kamal_app_role.web
  identity = {
    service = "shop"
    role    = "web"
    servers = ["10.0.0.1", "10.0.0.2"]
  }
}
