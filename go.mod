module github.com/kamal-terraform/terraform-provider-kamal

go 1.26.0
