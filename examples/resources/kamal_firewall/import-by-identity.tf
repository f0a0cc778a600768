import {
  to = kamal_firewall.web
  identity = {
    server = "10.0.0.1"
  }
}
