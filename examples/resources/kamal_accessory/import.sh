# service/name@server
terraform import kamal_accessory.db 'shop/db@10.0.0.3'
