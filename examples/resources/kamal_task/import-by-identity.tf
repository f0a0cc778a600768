import {
  to = kamal_task.migrate
  identity = {
    service = "shop"
    name    = "migrate"
    server  = "10.0.0.1"
  }
}
