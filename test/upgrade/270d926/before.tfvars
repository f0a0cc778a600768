release = "v1"
