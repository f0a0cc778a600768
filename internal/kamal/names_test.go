package kamal

import "testing"

var (
	web     = Role{Service: "shop", Role: "web"}
	staging = Role{Service: "shop", Role: "web", Destination: "staging"}
)

func TestNamesAreKamals(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ got, want string }{
		{web.App(), "shop"},
		{staging.App(), "shop-staging"},
		{web.Prefix(), "shop-web"},
		{staging.Prefix(), "shop-web-staging"},
		{web.ContainerName("v1"), "shop-web-v1"},
		{staging.ContainerName("v1"), "shop-web-staging-v1"},
		{web.LatestTag(), "latest"},
		{staging.LatestTag(), "latest-staging"},
		{RoleEnvFile(staging), ".kamal/apps/shop-staging/env/roles/web.env"},
		{LockDir("shop-staging"), ".kamal/lock-shop-staging"},
		{AuditLog("shop-staging"), ".kamal/shop-staging-audit.log"},
		{web.Version("shop-web-v1"), "v1"},
		{web.Version("shop-web-v1_replaced_0123456789abcdef"), "v1"},
		{staging.Version("shop-web-staging-2.0-rc1"), "2.0-rc1"},
		{Hostname("10.0.0.1", "0123456789ab"), "10.0.0.1-0123456789ab"},
		{Hostname("a-very-long-name-of-a-server-that-goes-on-and-on-and.example.com", "0123456789ab"), "a-very-long-name-of-a-server-that-goes-on-and-on-an-0123456789ab"},
		{Hostname("a-name-with-a-dot-where-it-is-cut-off-at-51-chars.r.example.com", "0123456789ab"), "a-name-with-a-dot-where-it-is-cut-off-at-51-chars.r-0123456789ab"},
		{Hostname("a-name-with-a-dot-where-it-is-cut-off-at-51-charsr.example.com", "0123456789ab"), "a-name-with-a-dot-where-it-is-cut-off-at-51-charsr-0123456789ab"},
		{Hostname("fd00::1%eth0", "0123456789ab"), "fd00--1-eth0-0123456789ab"},
	} {
		if tt.got != tt.want {
			t.Errorf("%q, want %q", tt.got, tt.want)
		}
	}
	if n := len(Hostname("a-very-long-name-of-a-server-that-goes-on-and-on-and.example.com", "0123456789ab")); n != 64 {
		t.Errorf("a hostname of %d characters: the kernel takes 64", n)
	}
}

func TestRoleOwnsItsContainersOnly(t *testing.T) {
	t.Parallel()
	labels := func(service, role, destination string) map[string]string {
		return map[string]string{"service": service, "role": role, "destination": destination}
	}
	for name, tt := range map[string]struct {
		role   Role
		name   string
		labels map[string]string
		want   bool
	}{
		"its own":                       {web, "shop-web-v1", labels("shop", "web", ""), true},
		"one that was replaced":         {web, "shop-web-v1_replaced_0123456789abcdef", labels("shop", "web", ""), true},
		"of a destination":              {staging, "shop-web-staging-v1", labels("shop", "web", "staging"), true},
		"another destination":           {web, "shop-web-staging-v1", labels("shop", "web", "staging"), false},
		"without the destination label": {web, "shop-web-v1", map[string]string{"service": "shop", "role": "web"}, false},
		"another role":                  {web, "shop-jobs-v1", labels("shop", "jobs", ""), false},
		"another service":               {web, "shop-web-v1", labels("shop2", "web", ""), false},
		"another name":                  {web, "canary", labels("shop", "web", ""), false},
		"no labels":                     {web, "shop-web-exec-v1-abcdef", nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := tt.role.Owns(tt.name, tt.labels); got != tt.want {
				t.Errorf("owns: %t", got)
			}
		})
	}
}

func TestNamePattern(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"shop", "Shop_2", "a-b", "1"} {
		if !NamePattern.MatchString(name) {
			t.Errorf("%q is refused", name)
		}
	}
	for _, name := range []string{"", "-a", "_a", "a b", "a.b", "a/b", "a\n", "é"} {
		if NamePattern.MatchString(name) {
			t.Errorf("%q is accepted", name)
		}
	}
}
