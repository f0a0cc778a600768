# Dumps the database, keeps two weeks of dumps, and is ready once the first one
# is there: an apply that succeeds has shown that dumps can be made.
resource "kamal_accessory" "backup" {
  server  = kamal_accessory.db.server
  service = "shop"
  name    = "backup"
  image   = kamal_accessory.db.image
  command = ["sh", "-c", <<-EOT
    trap 'exit 0' TERM INT
    while :; do
      dump=/backups/$(date -u +%Y%m%dT%H%M%SZ).dump
      if pg_dump --format=custom --file="$dump.part" && mv "$dump.part" "$dump"; then
        echo "made $dump"
        find /backups -name '*.dump*' -mtime +14 -delete
        wait=$EVERY
      else
        rm -f "$dump.part"
        wait=60
      fi
      sleep "$wait" &
      wait $!
    done
    EOT
  ]
  env         = { PGHOST = "shop-db", PGUSER = "postgres", PGDATABASE = "shop", EVERY = tostring(var.backup_seconds) }
  secrets     = { PGPASSWORD = var.postgres_password }
  volumes     = ["shop-backups:/backups"]
  healthcheck = { command = ["sh", "-c", "ls /backups/*.dump"] }

  depends_on = [kamal_task.migrate]
}

# Goes back to a dump: all or nothing, in one transaction.
resource "kamal_task" "restore" {
  count = var.restore == null ? 0 : 1

  server   = kamal_accessory.db.server
  service  = "shop"
  name     = "restore"
  image    = kamal_accessory.db.image
  command  = ["sh", "-c", "exec pg_restore --dbname=shop --clean --if-exists --single-transaction --exit-on-error \"/backups/$DUMP\""]
  env      = { PGHOST = "shop-db", PGUSER = "postgres", DUMP = coalesce(var.restore, "none") }
  secrets  = { PGPASSWORD = var.postgres_password }
  volumes  = ["shop-backups:/backups:ro"]
  triggers = { dump = coalesce(var.restore, "none") }
}
