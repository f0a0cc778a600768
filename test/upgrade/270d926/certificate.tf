# For shop.example.com and www.shop.example.com, until 2126, and known to nobody: a certificate of
# this test alone.
locals {
  certificate = <<-PEM
    -----BEGIN CERTIFICATE-----
    MIIBwjCCAWigAwIBAgIUL2dwHUYme7hH94wqzPJAaAnrlJIwCgYIKoZIzj0EAwIw
    GzEZMBcGA1UEAwwQc2hvcC5leGFtcGxlLmNvbTAgFw0yNjExMjcxMjI0MTBaGA8y
    MTI2MTEwMzEyMjQxMFowGzEZMBcGA1UEAwwQc2hvcC5leGFtcGxlLmNvbTBZMBMG
    ByqGSM49AgEGCCqGSM49AwEHA0IABB4za5SIx1+Iabx5Khua8u9+gl8JeyQYnaTT
    lhUUx/3R6Th4/2I5A7ocH7LlBtTiozN/jHMUDy2RsK8ClNzdzROjgYcwgYQwHQYD
    VR0OBBYEFE/wH3mVBsWCTmBq0yeUB+zEhThAMB8GA1UdIwQYMBaAFE/wH3mVBsWC
    TmBq0yeUB+zEhThAMA8GA1UdEwEB/wQFMAMBAf8wMQYDVR0RBCowKIIQc2hvcC5l
    eGFtcGxlLmNvbYIUd3d3LnNob3AuZXhhbXBsZS5jb20wCgYIKoZIzj0EAwIDSAAw
    RQIhAJ/i2nGgh8Wl2bSv0/2wwLxHLvvHy/9Ja6y+x9WsfJlUAiA4kH3zoBxdFIXz
    69uD7LXX23rKNHamiX3pA0JecufYtg==
    -----END CERTIFICATE-----
  PEM
  private_key = <<-PEM
    -----BEGIN PRIVATE KEY-----
    MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgF56XBz08PIUBVlGA
    a/eJSNz5tZjZ2TM6uGSA4ZCOTlihRANCAAQeM2uUiMdfiGm8eSobmvLvfoJfCXsk
    GJ2k05YVFMf90ek4eP9iOQO6HB+y5QbU4qMzf4xzFA8tkbCvApTc3c0T
    -----END PRIVATE KEY-----
  PEM
}
