package provider

import (
	"context"
	"net/url"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/function"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

func call(t *testing.T, f function.Function, args ...attr.Value) (string, *function.FuncError) {
	t.Helper()
	resp := &function.RunResponse{Result: function.NewResultData(types.StringUnknown())}
	f.Run(context.Background(), function.RunRequest{Arguments: function.NewArgumentsData(args)}, resp)
	if resp.Error != nil {
		return "", resp.Error
	}
	return resp.Result.Value().(types.String).ValueString(), nil
}

func FuzzURLsCarryAnyPassword(f *testing.F) {
	for _, p := range []string{"", "secret", "p@ss:w/rd?#[]", "%41", " +&=;,$!'()*\"\\", "pässwörd\n", "\x00\xff"} {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, password string) {
		pg, err := call(t, postgresURL{}, types.StringValue("app"), types.StringValue(password), types.StringValue("shop-db"), types.Int64Value(5432), types.StringValue("shop/prod"))
		if err != nil {
			t.Fatal(err)
		}
		rd, err := call(t, redisURL{}, types.StringValue(password), types.StringValue("::1"), types.Int64Value(6379), types.Int64Value(2))
		if err != nil {
			t.Fatal(err)
		}
		for text, want := range map[string][3]string{pg: {"app", "shop-db:5432", "/shop/prod"}, rd: {"", "[::1]:6379", "/2"}} {
			u, err := url.Parse(text)
			if err != nil {
				t.Fatalf("%q: %v", text, err)
			}
			if got, _ := u.User.Password(); got != password || u.User.Username() != want[0] || u.Host != want[1] || u.Path != want[2] {
				t.Errorf("%q reads back as %q, %q, %q, %q", text, u.User.Username(), got, u.Host, u.Path)
			}
		}
	})
}

func TestURLsOfBadPartsAreRefused(t *testing.T) {
	for _, c := range []struct {
		host string
		port int64
		want string
	}{{"", 5432, "no host"}, {"a/b", 5432, "no host"}, {"a:b", 5432, "no host"}, {"db", 0, "no port"}, {"db", 65536, "no port"}} {
		_, err := call(t, postgresURL{}, types.StringValue("app"), types.StringValue("s"), types.StringValue(c.host), types.Int64Value(c.port), types.StringValue("d"))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("host %q, port %d: %v", c.host, c.port, err)
		}
	}
}
