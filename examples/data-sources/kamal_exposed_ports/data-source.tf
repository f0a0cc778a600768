data "kamal_exposed_ports" "web" {
  server = kamal_firewall.web.server
}

# Fails the check when anything but the web is open to everybody.
check "only_the_web_is_open" {
  assert {
    condition     = length(setsubtract(data.kamal_exposed_ports.web.open, ["80/tcp", "443/tcp"])) == 0
    error_message = "Open to the world: ${join(", ", data.kamal_exposed_ports.web.open)}"
  }
}
