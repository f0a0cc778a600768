variable "database_password" {
  type      = string
  ephemeral = true
}

resource "kamal_app_role" "web" {
  service  = "shop"
  servers  = ["203.0.113.10"]
  image    = "registry.example.com/shop:v42"
  app_port = 3000
  secrets = {
    DATABASE_URL = provider::kamal::postgres_url("shop", var.database_password, "shop-db", 5432, "shop_production")
  }
}
