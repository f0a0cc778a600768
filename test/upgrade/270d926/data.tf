# Data sources are read while planning, so that they need a server.
data "kamal_server" "web" { server = kamal_server.web.server }
data "kamal_exposed_ports" "web" { server = kamal_firewall.web.server }
