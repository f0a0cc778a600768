import {
  to = kamal_proxy.web
  identity = {
    server = "10.0.0.1"
  }
}
