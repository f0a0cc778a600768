# service/role[/destination]@server[,server…]; nothing is restarted
terraform import kamal_app_role.web 'shop/web@10.0.0.1,10.0.0.2'
