# service/name@server
terraform import kamal_task.migrate 'shop/migrate@10.0.0.1'
