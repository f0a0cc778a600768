variable "servers" {
  description = "Addresses of the servers, in the order in which they get a new version."
  type        = list(string)
}

variable "ssh_private_key_file" {
  description = "Private key that root accepts on the servers."
  type        = string
}

variable "ssh_known_hosts" {
  description = "A known_hosts file with the servers' host keys, or its content."
  type        = string
}

variable "registry" {
  description = "The image registry: host, or host:port."
  type        = string
}

variable "registry_username" {
  type = string
}

variable "registry_password" {
  description = "Set it by TF_VAR_registry_password: an ephemeral variable is in no plan and no state."
  type        = string
  ephemeral   = true
}

variable "proxy_image" {
  description = "kamal-proxy's image, without a tag."
  type        = string
  default     = "basecamp/kamal-proxy"
}

variable "release" {
  description = "Tag of the app's image: the version to run."
  type        = string
}

variable "hosts" {
  description = "Domain names at which the app answers."
  type        = list(string)
  default     = ["shop.example.com"]
}
