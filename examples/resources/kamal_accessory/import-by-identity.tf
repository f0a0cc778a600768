import {
  to = kamal_accessory.db
  identity = {
    service = "shop"
    name    = "db"
    server  = "10.0.0.3"
  }
}
