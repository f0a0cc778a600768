# Included by GNUmakefile. TESTBED=name chooses another bed.
.PHONY: testbed-up testbed-down testbed-status

testbed-up: ## Start real servers and a registry on this machine (root, Debian 12 or 13)
	./test/testbed/prepare.sh
	go run ./test/testbed/cmd/testbed up

testbed-down: ## Remove them; cached images stay
	go run ./test/testbed/cmd/testbed down

testbed-status: ## How to reach them
	@go run ./test/testbed/cmd/testbed status
