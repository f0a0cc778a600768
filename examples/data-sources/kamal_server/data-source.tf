data "kamal_server" "web" {
  server = "203.0.113.10"
}

check "room" {
  assert {
    condition     = data.kamal_server.web.disk_free > 5 * 1024 * 1024 * 1024
    error_message = "Less than 5 GiB are free on ${data.kamal_server.web.server}."
  }
}
