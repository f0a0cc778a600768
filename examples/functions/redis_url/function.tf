output "redis" {
  value = provider::kamal::redis_url("", "shop-redis", 6379, 0)
}
