module github.com/kamal-terraform/terraform-provider-kamal/tools/docker-proxy

go 1.26.3

tool github.com/moby/moby/v2/cmd/docker-proxy

require (
	github.com/containerd/log v0.2.0 // indirect
	github.com/ishidawataru/sctp v0.0.0-20251114114122-19ddcbc6aae2 // indirect
	github.com/moby/moby/v2 v2.0.0-beta.24 // indirect
	github.com/sirupsen/logrus v1.10.2 // indirect
	golang.org/x/net v0.59.0 // indirect
	golang.org/x/sys v0.48.0 // indirect
)
