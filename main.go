// Command terraform-provider-kamal serves the provider to Terraform and OpenTofu.
package main

import (
	"context"
	"flag"
	"log"
	"os"

	"github.com/hashicorp/terraform-plugin-framework/providerserver"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/provider"
)

// version is set by the build.
var version = "dev"

func main() {
	debug := flag.Bool("debug", false, "serve to a debugger such as delve")
	flag.Parse()
	for name, level := range provider.LogLevels(os.Getenv) {
		if err := os.Setenv(name, level); err != nil {
			log.Fatal(err)
		}
	}
	err := providerserver.Serve(context.Background(), provider.New(version), providerserver.ServeOpts{
		Address: "registry.terraform.io/kamal-terraform/kamal",
		Debug:   *debug,
	})
	if err != nil {
		log.Fatal(err)
	}
}
