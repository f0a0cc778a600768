import {
  to = kamal_server.web
  identity = {
    server = "10.0.0.1"
  }
}
