package acceptance

import (
	"regexp"
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/providerserver"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/statecheck"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/provider"
)

// Functions need no server and keep nothing between processes, so that
// terraform-plugin-testing, which serves the provider in this process, will do.
func TestFunctionsUnderTheCLI(t *testing.T) {
	story(t)
	s := acceptance(t)
	t.Setenv("TF_ACC_TERRAFORM_PATH", s.cli.path)
	if s.cli.name == "tofu" {
		t.Setenv("TF_ACC_PROVIDER_HOST", "registry.opentofu.org")
	}
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: map[string]func() (tfprotov6.ProviderServer, error){
			"kamal": providerserver.NewProtocol6WithError(provider.New("test")()),
		},
		Steps: []resource.TestStep{
			{
				Config: `
output "postgres" { value = provider::kamal::postgres_url("shop", "p@ss/w:rd", "shop-db", 5432, "shop") }
output "redis" { value = provider::kamal::redis_url("", "::1", 6379, 1) }
output "hidden" {
  value     = provider::kamal::redis_url(sensitive("secret"), "shop-redis", 6379, 0)
  sensitive = true
}`,
				ConfigStateChecks: []statecheck.StateCheck{
					statecheck.ExpectKnownOutputValue("postgres", knownvalue.StringExact("postgresql://shop:p%40ss%2Fw%3Ard@shop-db:5432/shop")),
					statecheck.ExpectKnownOutputValue("redis", knownvalue.StringExact("redis://[::1]:6379/1")),
				},
				ConfigPlanChecks: resource.ConfigPlanChecks{PostApplyPostRefresh: []plancheck.PlanCheck{plancheck.ExpectEmptyPlan()}},
			},
			{
				Config:      `output "bad" { value = provider::kamal::postgres_url("shop", "", "shop-db", 70000, "shop") }`,
				ExpectError: regexp.MustCompile(`70000\s+is\s+no\s+port`),
			},
		},
	})
}
