// Command terraform-provider-kamal serves the provider to Terraform and OpenTofu.
package main

func main() {}
