# The id is the server, as the resource names it. Nothing is restarted.
terraform import kamal_proxy.web 10.0.0.1
