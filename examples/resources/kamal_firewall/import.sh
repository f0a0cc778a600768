# The id is the server, as the resource names it.
terraform import kamal_firewall.web 10.0.0.1
