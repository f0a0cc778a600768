# service@server[,server…]; `kamal-proxy list` on the server names the services
terraform import kamal_proxy_route.web 'shop-web@10.0.0.1,10.0.0.2'
